/** `backup COMMAND`: the interface of the tool that this program replaces. Asks nothing: a restore prints its plan and acts. */
import type { CommandModule } from "yargs";
import { UserError } from "../base/errors.ts";
import { type OldCommand, oldCommands } from "../drivers/old-names.ts";
import { create } from "./create.ts";
import type { Session } from "./main.ts";
import { clusterFlags, type Flags, outputFlags, storageFlags, storeFlags, withFlags } from "./options.ts";
import { restoreSnapshot } from "./restore.ts";

const { all: _all, storage: _storage, ...whatFlags } = storageFlags; // the command's name says which storages
const { local: _local, ...whereFlags } = storeFlags; // and whether it is S3 or a directory
const flags = {
  "backup-date": { type: "string", describe: "The snapshot to restore: DD-MM-YYYY-hh-mm-ss, UTC" },
} as const;

type OldFlags = Flags<
  typeof flags & typeof whatFlags & typeof whereFlags & typeof clusterFlags & typeof outputFlags
> & { command: string };

export function oldCommand(session: Session): CommandModule<object, OldFlags> {
  return {
    command: "backup <command>",
    describe: "The old tool's commands: create_s3_all_backups, restore_s3_all_backups, …",
    builder: (yargs) =>
      withFlags(
        withFlags(
          withFlags(withFlags(yargs.options(flags), "What", whatFlags), "Where", whereFlags),
          "Cluster",
          clusterFlags,
        ),
        "Output",
        outputFlags,
      )
        .positional("command", { type: "string", demandOption: true, describe: "One of the names below" })
        .epilogue(`Commands:\n${[...oldCommands.keys()].map((name) => `  ${name}`).join("\n")}`),
    handler: (parsed) => session.run(parsed, () => runOld(session, parsed)),
  };
}

async function runOld(session: Session, parsed: OldFlags): Promise<number> {
  const command = oldCommands.get(parsed.command);
  if (command === undefined) {
    const [action = ""] = parsed.command.split("_");
    const alike = [...oldCommands.keys()].filter((name) => name.startsWith(`${action}_`));
    throw new UserError("usage", `there is no command "${parsed.command}"`, {
      hints: [`commands: ${(alike.length > 0 ? alike : [...oldCommands.keys()]).join(", ")}`],
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
      compression: "auto",
      "compression-level": 3,
    },
    command.local ? {} : { copyDirectory: dir ?? "backup" },
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
    "dry-run": undefined,
  });
}
