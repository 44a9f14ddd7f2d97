/** `backup COMMAND`: the interface of the tool that this program replaces. Asks nothing: a restore prints its plan and acts. */
import { UserError } from "../base/errors.ts";
import { type OldCommand, oldCommands } from "../drivers/old-names.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { create } from "./create.ts";
import { clusterFlags, outputFlags, storageFlags, storeFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import { nearest } from "./nearest.ts";
import { directoryOf } from "./options.ts";
import { restoreCommand, restoreSnapshot } from "./restore.ts";

const { all: _all, storage: _storage, ...whatFlags } = storageFlags; // the command's name says which storages
const { local: _local, ...whereFlags } = storeFlags; // and whether it is S3 or a directory
const names = [...oldCommands.keys()];
const spec = {
  command: "backup <command>",
  describe: `The old tool's commands, such as ${names[0]}`,
  details: `Asks nothing: a restore proves the snapshot, prints its plan and acts. What is created in S3 is also left in --dir.

Commands:
${names.map((name) => `- ${name}`).join("\n")}`,
  positionals: { command: { type: "string", demandOption: true, describe: "One of the names above" } },
  groups: {
    Options: { "backup-date": { type: "string", describe: "The snapshot to restore: DD-MM-YYYY-hh-mm-ss, UTC" } },
    What: whatFlags,
    Where: whereFlags,
    Cluster: clusterFlags,
    Output: outputFlags,
  },
  examples: [
    ["backup --release-name-prefix kaa --namespace production-kaa create_s3_all_backups", "everything, into S3"],
    [
      "backup --release-name-prefix kaa --namespace stage-kaa --backup-date 12-02-2021-15-28-37 --source-namespace production-kaa restore_s3_all_backups",
      "a snapshot of production into stage",
    ],
  ],
  outcomes: restoreCommand.spec.outcomes,
} as const satisfies CommandSpec;

type OldFlags = ParsedOf<typeof spec>;

export const oldCommand = defineCommand(spec, runOld);

async function runOld(session: Session, parsed: OldFlags): Promise<number> {
  const command = oldCommands.get(parsed.command);
  if (command === undefined) {
    const [action = ""] = parsed.command.split("_");
    const meant = nearest(parsed.command, names);
    const alike = names.filter((name) => name.startsWith(`${action}_`));
    const hint = `commands: ${(alike.length > 0 ? alike : names).join(", ")}`;
    throw new UserError("usage", `there is no command "${parsed.command}"`, {
      hints: [meant === undefined ? hint : `did you mean ${meant}?`],
    });
  }
  // Nobody is asked, so nothing is guessed: the context's namespace may be any.
  if (!parsed.namespace) throw new UserError("usage", `${parsed.command} needs --namespace`);
  return command.action === "create"
    ? await createOld(session, parsed, command)
    : await restoreOld(session, parsed, command);
}

function whatOf({ storage }: OldCommand) {
  return { all: undefined, storage: storage === undefined ? undefined : [storage] };
}

async function createOld(session: Session, parsed: OldFlags, command: OldCommand): Promise<number> {
  if (parsed["backup-date"] !== undefined)
    throw new UserError("usage", `--backup-date has no meaning for ${parsed.command}`);
  if (parsed["source-namespace"] !== undefined)
    throw new UserError("usage", `--source-namespace has no meaning for ${parsed.command}`);
  const { dir, ...rest } = parsed;
  return await create(
    session,
    {
      ...rest,
      ...whatOf(command),
      local: command.local,
      dir: command.local ? dir : undefined,
      strict: undefined,
      "dry-run": undefined,
      report: undefined,
      "metrics-url": undefined,
      parallelism: undefined,
      compression: "auto",
      "compression-level": 3,
      "min-size-ratio": undefined,
    },
    command.local ? {} : { copyDirectory: directoryOf(parsed, session.io) },
  );
}

async function restoreOld(session: Session, parsed: OldFlags, command: OldCommand): Promise<number> {
  const date = parsed["backup-date"];
  if (!date) throw new UserError("usage", `${parsed.command} needs --backup-date DD-MM-YYYY-hh-mm-ss`);
  return await restoreSnapshot(session, {
    ...parsed,
    ...whatOf(command),
    local: command.local,
    date,
    yes: true,
    once: undefined,
    report: undefined,
    "dry-run": undefined,
  });
}
