/** `create`: flags -> plan -> backup(). */
import { type BackupResult, backup, defaultRetry } from "../backup.ts";
import { messageOf, outcomes, UserError } from "../base/errors.ts";
import type { DriverName } from "../drivers/registry.ts";
import type { Retention } from "../retention.ts";
import { findStorages, inspectAll, type Scope } from "../storages.ts";
import type { Store } from "../stores/store.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { clusterFlags, outputFlags, podOutcomes, someStorages, storageFlags, storeFlags } from "./flags.ts";
import { keepFlags, retentionIfGiven, summaryOfPruned, tellPruned } from "./keep.ts";
import type { Session } from "./main.ts";
import { clusterOf, scopeOf, storagesOf, storeOf } from "./options.ts";
import { type Print, printerFor, type Shown } from "./output.ts";
import { metricsFlags, reportFlags, runReportOf, shrunkText } from "./report.ts";
import { shownFailure, shownStorages } from "./storages.ts";
import { sizeText } from "./text.ts";

const flags = {
  strict: { type: "boolean", describe: "Publish nothing unless every storage was dumped" },
  "dry-run": { type: "boolean", describe: "Look at every storage, dump nothing" },
  parallelism: { type: "number", describe: "Storages dumped side by side, 1 to 7 (default: 3)" },
  compression: {
    choices: ["auto", "pod", "client"] as const,
    default: "auto" as const,
    describe: "Who compresses: the pod, or the client, which is this program (auto: the pod if it can)",
  },
  "compression-level": { type: "number", default: 3, describe: "zlib's level, 1 to 9, when this side compresses" },
  "min-size-ratio": {
    type: "number",
    describe: "Exit with 3, and prune nothing, when a dump has less than this part of the last one's bytes: 0.5",
  },
} as const;

const { "source-namespace": _source, ...whereFlags } = storeFlags; // what is created is of the namespace itself

const spec = {
  command: "create",
  describe: "Back up storages into one snapshot",
  details: `Finds the storages in the namespace, dumps each out of its pod, and publishes one file named by the time in UTC. A storage that
cannot be dumped is missing from the snapshot, which is then called partial (exit code 3); with --strict nothing is published.
Until a snapshot is whole it does not appear.`,
  groups: {
    What: storageFlags,
    "Where to": whereFlags,
    Options: { ...flags, ...reportFlags, ...metricsFlags },
    "Prune afterwards, by the rules of prune: keep": keepFlags,
    Cluster: clusterFlags,
    Output: outputFlags,
  },
  examples: [
    ["create -n production-kaa", "everything, into s3://storage-backup--production-kaa"],
    [`create -n production-kaa --storage ${someStorages} --local --dir /var/backup`, "two storages, into a directory"],
    ["create -n production-kaa --keep-last 14", "then remove what prune --keep-last 14 would"],
    ["create -n production-kaa --dry-run", "look at what would be dumped"],
  ],
  outcomes: ["attention", ...podOutcomes, "busy", "credentials", "object-store", "local-disk", "deadline", "leftovers"],
} as const satisfies CommandSpec;

type CreateFlags = Omit<ParsedOf<typeof spec>, keyof typeof keepFlags>;

export const createCommand = defineCommand(spec, async (session, parsed) => {
  const retention = retentionIfGiven(parsed);
  return await create(session, parsed, retention === undefined ? {} : { retention });
});

/** @param options.copyDirectory leave a copy of what goes to S3 there.
 *  @param options.retention remove the older snapshots that it does not keep, once a complete one is there. When one of the
 *  two fails, the snapshot stays and the exit code is `attention`. */
export async function create(
  session: Session,
  parsed: CreateFlags,
  options: { readonly copyDirectory?: string; readonly retention?: Retention } = {},
): Promise<number> {
  const { io, reporter } = session;
  const level = parsed["compression-level"];
  if (!Number.isInteger(level) || level < 1 || level > 9)
    throw new UserError("usage", "--compression-level is a number from 1 to 9");
  const { parallelism } = parsed;
  if (parallelism !== undefined && !(Number.isInteger(parallelism) && parallelism >= 1 && parallelism <= 7))
    throw new UserError("usage", "--parallelism is a number from 1 to 7");
  const ratio = parsed["min-size-ratio"];
  if (ratio !== undefined && !(ratio > 0 && ratio <= 1))
    throw new UserError("usage", "--min-size-ratio is a number above 0, up to 1");
  const print = await printerFor(io, parsed.output);
  const chosen = await storagesOf(parsed, parsed.local === true, reporter);
  const cluster = await clusterOf(parsed, io, reporter);
  const scopeFor = () => scopeOf(session, cluster, parsed, { compression: parsed.compression });
  if (parsed["dry-run"] === true) return await dryRun(print, await scopeFor(), chosen.storages);
  const report = await runReportOf(session, cluster, parsed);
  try {
    const scope = await scopeFor();
    const store = await storeOf(parsed, scope.namespace, io, reporter);
    const { target, copyOutcome } = await withCopy(session, store, options.copyDirectory);
    const plan = {
      ...chosen,
      strict: parsed.strict === true,
      compressionLevel: level,
      ...(parallelism !== undefined && { parallelism }),
      tool: session.tool,
      retry: defaultRetry,
      ...(options.retention !== undefined && { retention: options.retention }),
      ...(ratio !== undefined && { minSizeRatio: ratio }),
    };
    const result = await backup(plan, scope, target);
    reporter.stop();
    print(shownBackup(result));
    for (const { storage, instance, error } of result.failures)
      reporter.warning(`not in the snapshot: ${storage}/${instance}: ${error.message}`);
    for (const each of result.shrunk) reporter.warning(shrunkText(each));
    const { pruned } = result;
    if (pruned !== undefined) tellPruned(pruned, reporter);
    else if (options.retention !== undefined)
      reporter.note(
        `nothing was pruned, for ${result.failures.length > 0 ? "the snapshot is partial" : "a dump has shrunk, or may have"}`,
      );
    const isPruned = pruned === undefined || summaryOfPruned(pruned).problems.length === 0;
    const isWhole = result.failures.length === 0 && result.shrunk.length === 0;
    const isClean = isWhole && copyOutcome() === "none failed" && isPruned;
    const isTold = await report.published(result, isClean ? "ok" : "attention");
    return outcomes[isClean && isTold ? "ok" : "attention"].code;
  } catch (error) {
    await report.failed(error);
    throw error;
  }
}

/** What was made. */
export function shownBackup(result: BackupResult): Shown {
  const { manifest, fileName, sizeBytes, failures, shrunk, location, pruned } = result;
  const { name, complete } = manifest;
  return {
    document: {
      name,
      fileName,
      location,
      sizeBytes,
      complete,
      storages: manifest.instances.map(({ storage, instance, counts, warnings }) => ({
        storage,
        instance,
        counts,
        warnings,
      })),
      failures: failures.map(shownFailure),
      shrunk: shrunk.map(({ storage, instance, bytes, last }) => {
        return { storage, instance, bytes, lastBytes: last.bytes, lastName: last.snapshotName };
      }),
      ...(pruned !== undefined && { pruned: prunedOf(pruned) }),
    },
    names: [name],
    table: () => `${complete ? "created" : "created PARTIAL"} ${location}/${fileName} (${sizeText(sizeBytes)})\n`,
  };
}

function prunedOf(pruned: NonNullable<BackupResult["pruned"]>) {
  const { removed, problems } = summaryOfPruned(pruned);
  return { removed, problems };
}

/** The store, and what became of the copy that it leaves in `directory`. */
async function withCopy(
  { io, reporter }: Session,
  store: Store,
  directory: string | undefined,
): Promise<{ readonly target: Store; readonly copyOutcome: () => "none failed" | "failed" }> {
  if (directory === undefined) return { target: store, copyOutcome: () => "none failed" };
  let hasFailed = false;
  const { copyingStore } = await import("../stores/copying.ts");
  const copy = await storeOf({ local: true, dir: directory }, "", io, reporter);
  const target = copyingStore(store, copy, (error) => {
    hasFailed = true;
    reporter.warning(`no copy in ${copy.location}: ${messageOf(error)}`);
  });
  return { target, copyOutcome: () => (hasFailed ? "failed" : "none failed") };
}

async function dryRun(print: Print, scope: Scope, storages: readonly DriverName[]): Promise<number> {
  const inspected = await inspectAll(scope, await findStorages(scope, storages));
  print(shownStorages(inspected));
  const [first] = inspected.failures;
  if (first !== undefined) throw first.error.in(`${first.storage}/${first.instance}`);
  return outcomes.ok.code;
}
