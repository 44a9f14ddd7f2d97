/** `storages`: what runs here and could be dumped. */
import { outcomes } from "../base/errors.ts";
import { type Failure, findStorages, inspectAll, taskName } from "../storages.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { clusterFlags, outputFlags, storageFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import { clusterOf, scopeOf, storagesOf } from "./options.ts";
import { printerFor, type Shown } from "./output.ts";
import { sizeText, tableText } from "./text.ts";

const spec = {
  command: "storages",
  describe: "Show the storages that run in the namespace",
  details: `Finds each storage as create would and asks it for its version, size and contents, with the credentials that create would use. Changes nothing.`,
  groups: { What: storageFlags, Cluster: clusterFlags, Output: outputFlags },
  examples: [
    ["storages -n production-kaa", "what runs, and whether it can be dumped"],
    ["storages -n production-kaa -o wide", "also what is worth a warning"],
  ],
  outcomes: ["not-found", "cluster", "forbidden", "storage-not-ready", "storage-failed", "stream-lost", "credentials"],
} as const satisfies CommandSpec;

export const storagesCommand = defineCommand(spec, storages);

async function storages(session: Session, parsed: ParsedOf<typeof spec>): Promise<number> {
  const { io, reporter } = session;
  const print = await printerFor(io, parsed.output);
  const chosen = await storagesOf(parsed, false, reporter);
  const scope = await scopeOf(session, await clusterOf(parsed, io, reporter), parsed);
  const inspected = await inspectAll(scope, await findStorages(scope, chosen.storages));
  print(shownStorages(inspected));
  const [first] = inspected.failures;
  return first === undefined ? outcomes.ok.code : first.error.exitCode;
}

/** What runs, and what could not be dumped. */
export function shownStorages({ ready, failures }: Awaited<ReturnType<typeof inspectAll>>): Shown {
  const rows = ready.map(({ instance, inspection }) => [
    taskName(instance),
    "Ready",
    inspection.serverVersion,
    sizeText(inspection.estimatedBytes),
    inspection.contents.join(", "),
    inspection.warnings.join("; "),
  ]);
  const failed = failures.map(({ storage, instance, error }) => [
    `${storage}/${instance}`,
    "Failed",
    "",
    "",
    error.message,
    "",
  ]);
  const all = [["STORAGE", "STATUS", "VERSION", "SIZE", "CONTENTS", "WARNINGS"], ...rows, ...failed];
  return {
    document: {
      storages: ready.map(({ instance, inspection }) => ({
        storage: instance.storage,
        instance: instance.name,
        ...inspection,
      })),
      failures: failures.map(shownFailure),
    },
    names: ready.map(({ instance }) => taskName(instance)),
    table: () => tableText(all.map((row) => row.slice(0, -1))),
    wide: () => tableText(all),
  };
}

/** A failure as documents show it. */
export function shownFailure({ storage, instance, error }: Failure): object {
  return { storage, instance, outcome: error.outcome, reason: error.message };
}
