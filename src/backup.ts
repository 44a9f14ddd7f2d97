/** Backup: cluster -> drivers -> snapshot -> store. Open this file first.
 *
 *  Dumps run side by side and stream into one archive, which streams into the store; nothing waits on a disk. A dump that
 *  fails is tried again. One that keeps failing cannot be left out of a file whose name already says "complete", so the
 *  run begins anew without it, as a partial snapshot (docs/decisions/0004). */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { isOutcome, messageOf, UserError, withEffect } from "./base/errors.ts";
import type { PlannedTask } from "./base/reporter.ts";
import { lastDate, parseSnapshotName, snapshotFileName, snapshotName } from "./base/snapshot-name.ts";
import { listSnapshots } from "./catalog.ts";
import type { Instance } from "./drivers/driver.ts";
import { findInstances, releaseOf } from "./drivers/find.ts";
import type { DriverName } from "./drivers/registry.ts";
import {
  earlierSnapshots,
  goneDumps,
  type LastDumps,
  lastDumps,
  planTasks,
  type ShrunkDump,
  shrunkDumps,
} from "./expectation.ts";
import { type PruneOutcome, pruneAfterBackup } from "./prune.ts";
import type { Retention } from "./retention.ts";
import type { Header, Manifest } from "./snapshot/toc.ts";
import { type Dump, type SnapshotOutput, type StreamSource, writeSnapshot } from "./snapshot/writer.ts";
import {
  asUserError,
  type Failure,
  findStorages,
  type Inspected,
  inspectAll,
  noneFound,
  type Scope,
  summaryOf,
  taskName,
  taskOf,
  withLock,
} from "./storages.ts";
import type { Store } from "./stores/store.ts";

export interface BackupPlan {
  readonly storages: readonly DriverName[];
  /** True when the storages were named one by one: each must then be there. */
  readonly named: boolean;
  /** Publish nothing unless everything worked. */
  readonly strict: boolean;
  /** zlib's level for what the pods do not compress themselves. */
  readonly compressionLevel: number;
  /** Storages dumped at once; 3 when left out. */
  readonly parallelism?: number;
  readonly tool: Header["tool"];
  readonly retry: RetryPlan;
  /** What of the older snapshots is kept once a complete one is there; all when left out (docs/decisions/0015). */
  readonly retention?: Retention;
  /** A dump with less than this part of the bytes of the one before is told, and then nothing is pruned; none when left out. */
  readonly minSizeRatio?: number;
}

export interface BackupResult {
  readonly fileName: string;
  readonly location: string;
  readonly sizeBytes: number;
  readonly manifest: Manifest;
  /** Storages that are not in the snapshot; empty when it is complete. */
  readonly failures: readonly Failure[];
  /** Dumps that are much smaller than the ones before, and storages that there are no more. */
  readonly shrunk: readonly ShrunkDump[];
  /** What became of older snapshots, when the plan has a retention, the snapshot is complete and nothing in it has shrunk. */
  readonly pruned?: PruneOutcome | UserError;
}

/** How a dump that fails is tried again. */
export interface RetryPlan {
  readonly attempts: number;
  readonly pauseMs: number;
  /** How long each further attempt waits for a ready pod. */
  readonly readyMs: number;
}

export const defaultRetry: RetryPlan = { attempts: 3, pauseMs: 2000, readyMs: 60_000 };
const dumpsSideBySide = 3;
/** A name is a second. With a clock that stands still the last attempt is refused by the store. */
const namesToTry = 3;
const nothingPublished = "no snapshot was published; earlier snapshots are unchanged";

/** @throws UserError of the first failure when nothing could be published; `effect` says so. */
export async function backup(plan: BackupPlan, scope: Scope, store: Store): Promise<BackupResult> {
  try {
    return await dumpLocked(plan, scope, store);
  } catch (error) {
    // The store has promised it: what save() throws has published nothing. Nor has anything before it.
    throw withEffect(error, nothingPublished);
  }
}

async function dumpLocked(plan: BackupPlan, scope: Scope, store: Store): Promise<BackupResult> {
  let name = nameOfRun(new Date());
  const looked = await lookAround(plan, scope);
  for (let attempt = 1; ; attempt++) {
    const isLast = attempt === namesToTry;
    const result = await withLock(scope, `create ${name}`, async (locked, lock) => {
      if (attempt === 1) await store.prepare(locked.signal);
      if (lock.abandoned !== undefined) await discardUnfinished(lock.abandoned, locked, store);
      const earlier = await earlierSnapshots(store, locked);
      if (!isLast && earlier?.some((each) => each.name === name)) return undefined;
      const instances = looked.ready.map((each) => each.instance);
      const last = await lastDumps(earlier, instances, store, locked);
      const planned = planTasks(looked, last);
      return await dumpAll({ plan, scope: locked, store, name, planned, last, confirmLock: lock.confirm }, looked);
    });
    if (result !== undefined) return result;
    // An earlier run began in this very second, and has ended.
    await pause(1000 - (Date.now() % 1000), undefined, { signal: scope.signal });
    name = nameOfRun(new Date());
  }
}

async function dumpAll(run: Run, { ready, failures }: Looked): Promise<BackupResult> {
  const { plan, scope, store, name, planned, last, confirmLock } = run;
  scope.reporter.planned(planned);
  for (const { storage, instance, error } of failures) scope.reporter.failed(`${storage}/${instance}`, error);
  const publishedNames = async () => new Set((await listSnapshots(store, scope.signal)).map((each) => each.name));
  const named = ready.map((each) => ({ ...each, context: { ...each.context, snapshotName: name, publishedNames } }));
  const result = await dumpUntilPublished(run, named, failures);
  const isWhole = result.failures.length === 0 && result.shrunk.length === 0;
  const mayHaveShrunk = plan.minSizeRatio !== undefined && !last.isSure;
  if (plan.retention === undefined || !isWhole || mayHaveShrunk) return result;
  return { ...result, pruned: await pruneAfterBackup(plan.retention, { locked: scope, confirmLock }, store) };
}

/** @throws UserError `refused` for a date that the entries of an archive cannot have. */
function nameOfRun(startedAt: Date): string {
  if (startedAt < lastDate && startedAt.getTime() >= 0) return snapshotName(startedAt);
  const says = `the clock of this machine says ${startedAt.toISOString()}, and no snapshot can be of that date`;
  throw new UserError("refused", says, { hints: ["set the clock, then run it again"] });
}

/** The run whose lock this one has taken over is dead, or will find out before it publishes: what it has left goes now. */
async function discardUnfinished(purpose: string, { reporter, signal }: Scope, store: Store): Promise<void> {
  const [, name = ""] = /^create (.*)$/.exec(purpose) ?? [];
  if (parseSnapshotName(name) === undefined) return;
  try {
    for (const partial of [false, true]) await store.discardUnfinished(snapshotFileName(name, { partial }), signal);
  } catch (error) {
    signal.throwIfAborted();
    reporter.warning(`what a killed run has left is still there: ${messageOf(error)}`);
  }
}

interface Looked {
  readonly ready: readonly Inspected[];
  readonly failures: readonly Failure[];
}

/** Which instances can be dumped, and which cannot and why. */
async function lookAround(plan: BackupPlan, scope: Scope): Promise<Looked> {
  const found = await findStorages(scope, plan.storages);
  for (const { driver, instances } of found) {
    if (instances.length > 0) continue;
    if (plan.named) throw noneFound(scope, driver);
    scope.reporter.note(`no ${driver.title} runs in namespace "${scope.namespace}"`);
  }
  if (found.every(({ instances }) => instances.length === 0)) {
    throw new UserError("storage-not-ready", `nothing to back up in namespace "${scope.namespace}"`, {
      hints: ["is it the right namespace and context?"],
    });
  }
  return await inspectPatiently(plan, scope, await inspectAll(scope, found));
}

/** Looks again at what failed for a reason that may pass: an election, a pod that is being replaced. */
async function inspectPatiently({ storages, retry }: BackupPlan, scope: Scope, first: Looked): Promise<Looked> {
  let looked = first;
  for (let attempt = 1; attempt < retry.attempts; attempt++) {
    const passing = new Set(looked.failures.filter(({ error }) => mayPass(error)).map(taskOf));
    if (passing.size === 0) break;
    await pause(retry.pauseMs * attempt, undefined, { signal: scope.signal });
    const found = (await findStorages(scope, storages)).map((each) => ({
      ...each,
      instances: each.instances.filter((instance) => passing.has(taskName(instance))),
    }));
    const again = await inspectAll(scope, found);
    const seen = new Set([...again.ready.map(({ instance }) => taskName(instance)), ...again.failures.map(taskOf)]);
    const rest = looked.failures.filter((each) => !seen.has(taskOf(each)));
    looked = { ready: [...looked.ready, ...again.ready], failures: [...rest, ...again.failures] };
  }
  return looked;
}

/** Whether trying again may help. */
function mayPass(error: UserError): boolean {
  return isOutcome(error, "stream-lost", "storage-failed", "storage-not-ready", "cluster");
}

interface Run {
  readonly plan: BackupPlan;
  readonly scope: Scope;
  readonly store: Store;
  readonly name: string;
  readonly planned: readonly PlannedTask[];
  readonly last: LastDumps;
  readonly confirmLock: () => Promise<void>;
}

async function dumpUntilPublished(
  run: Run,
  ready: readonly Inspected[],
  failures: readonly Failure[],
): Promise<BackupResult> {
  const [first] = failures;
  if (first !== undefined && (run.plan.strict || ready.length === 0))
    throw first.error.in(`${first.storage}/${first.instance}`);
  try {
    return await publish(run, ready, failures);
  } catch (error) {
    if (!(error instanceof DumpFailed)) throw error;
    const { reporter } = run.scope;
    reporter.failed(taskName(error.inspected.instance), error.failure.error);
    const rest = ready.filter((each) => each !== error.inspected);
    if (rest.length > 0 && !run.plan.strict) {
      reporter.warning("beginning again without it: the snapshot will be partial");
      reporter.planned(run.planned.filter(({ task }) => rest.some(({ instance }) => taskName(instance) === task)));
    }
    return await dumpUntilPublished(run, rest, [...failures, error.failure]);
  }
}

/** One pass: dump, write, save. What a failed pass has left outside the archive is discarded. */
async function publish(run: Run, ready: readonly Inspected[], failures: readonly Failure[]): Promise<BackupResult> {
  const { plan, scope, store, name, confirmLock: beforePublish } = run;
  const header = headerOf(run, ready);
  const fileName = snapshotFileName(name, { partial: failures.length > 0 });
  let manifest: Manifest | undefined;

  const dumps = ready.map((each) => dumpOf(each, scope, plan.retry));
  const archive = writeSnapshot({
    header,
    dumps,
    clusterVersion: await scope.cluster.version(scope.signal),
    concurrency: plan.parallelism ?? dumpsSideBySide,
    limits: limitsOf(scope),
    compressionLevel: plan.compressionLevel,
    failures: failures.map(({ storage, instance, error }) => ({ storage, instance, reason: error.message })),
    signal: scope.signal,
    onManifest: (written) => {
      manifest = written;
    },
  });
  try {
    const { sizeBytes } = await store.save({
      fileName,
      runId: header.runId,
      archive,
      expectedBytes: archiveBytes(run, ready),
      signal: scope.signal,
      beforePublish,
    });
    if (manifest === undefined) throw new Error("the store took an archive without a manifest");
    return {
      fileName,
      location: store.location,
      sizeBytes,
      manifest,
      failures,
      shrunk: shrunkIn(manifest, run, ready),
    };
  } catch (error) {
    await discardAll(run, ready);
    throw error;
  }
}

/** What the archive will have, at most: what goes into the bucket by itself is no part of it. */
function archiveBytes({ planned }: Run, ready: readonly Inspected[]): number {
  const expected = new Map(planned.map(({ task, expectedBytes }) => [task, expectedBytes ?? 0]));
  return ready
    .filter(({ driver }) => driver.canUseDirectory)
    .reduce((sum, { instance }) => sum + (expected.get(taskName(instance)) ?? 0), 0);
}

/** What is much smaller than before, when the plan asks, or there no more, when all storages were asked for. */
function shrunkIn(
  { instances }: Manifest,
  { plan, scope, last, planned }: Run,
  ready: readonly Inspected[],
): readonly ShrunkDump[] {
  const gone = plan.named || scope.releasePrefix !== "" ? [] : goneDumps(planned, last, plan.storages);
  if (plan.minSizeRatio === undefined) return gone;
  if (!last.isSure)
    scope.reporter.warning("whether a dump has become much smaller is not known: the last snapshots do not tell");
  // Of what goes into the bucket by itself the snapshot knows no size.
  const apart = new Set<string>(
    ready.filter(({ driver }) => !driver.canUseDirectory).map(({ driver }) => driver.storage),
  );
  const compared = instances.filter(({ storage }) => !apart.has(storage));
  return [...gone, ...shrunkDumps({ instances: compared }, last, plan.minSizeRatio)];
}

const discardMs = 60_000;

/** Deletes what the dumps have left outside the archive. Only when the store surely holds no snapshot of this name: an
 *  error while publishing does not prove that. What stays is deleted by the next run. */
async function discardAll({ scope, store, name }: Run, inspected: readonly Inspected[]): Promise<void> {
  const signal = AbortSignal.timeout(discardMs);
  const leaving = inspected.filter(({ driver }) => driver.discard !== undefined);
  if (leaving.length === 0) return;
  try {
    const published = await listSnapshots(store, signal);
    if (published.some((each) => each.name === name)) return;
    for (const { driver, instance, context } of leaving)
      await driver.discard?.(instance, undefined, { ...context, signal });
  } catch (error) {
    scope.reporter.warning(`what the run left outside the snapshot is deleted by the next run: ${messageOf(error)}`);
  }
}

/** How many instances of a storage are dumped at once, for those of which the configuration says it. */
function limitsOf({ overrides = {} }: Scope): Readonly<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(overrides).flatMap(([storage, { parallelism }]) =>
      parallelism === undefined ? [] : [[storage, parallelism] as const],
    ),
  );
}

function headerOf({ plan, scope, name }: Run, ready: readonly Inspected[]): Header {
  const releases = ready.flatMap(({ instance }) => instance.pods.map(releaseOf)).filter((each) => each !== "");
  return {
    formatVersion: 1,
    runId: randomUUID(),
    name,
    namespace: scope.namespace,
    release: releases[0] ?? scope.releasePrefix,
    tool: plan.tool,
  };
}

/** A dump that has failed for good. */
class DumpFailed extends Error {
  readonly inspected: Inspected;
  readonly failure: Failure;

  constructor(inspected: Inspected, error: UserError) {
    super(error.message, { cause: error });
    this.inspected = inspected;
    this.failure = { storage: inspected.instance.storage, instance: inspected.instance.name, error };
  }
}

/** One instance's dump, tried again when trying may help. */
function dumpOf(inspected: Inspected, scope: Scope, retry: RetryPlan): Dump {
  const { driver, instance, context, inspection } = inspected;
  const task = taskName(instance);
  return {
    storage: driver.storage,
    instance: instance.name,
    async run(output, signal) {
      scope.reporter.started(task, { doing: "dumping" });
      const progress = (bytes: number) => scope.reporter.progressBytes(task, bytes);
      let current = instance;
      for (let attempt = 1; ; attempt++) {
        const counted = countingOutput(output, progress, (name, encoding) =>
          scope.reporter.detail(`${task}: stream "${name}", encoding ${encoding}`),
        );
        try {
          if (attempt > 1) current = await foundAgain(inspected, { ...scope, signal }, retry);
          const result = await driver.dump(current, counted.output, { ...context, signal, progress });
          scope.reporter.finished(task, summaryOf(result.counts));
          return { serverVersion: inspection.serverVersion, ...result };
        } catch (error) {
          signal.throwIfAborted();
          const failure = asUserError(error);
          if (!mayPass(failure) || attempt === retry.attempts) throw new DumpFailed(inspected, failure);
          scope.reporter.warning(`${task}: attempt ${attempt} failed: ${failure.message}`);
          await pause(retry.pauseMs, undefined, { signal });
          output.restart();
        }
      }
    },
  };
}

/** The instance with the pods it has now: what failed may have been a pod that is being replaced. Waits for one to be ready.
 *  @throws UserError `storage-not-ready` when it has none for too long. */
async function foundAgain({ driver, instance }: Inspected, scope: Scope, retry: RetryPlan): Promise<Instance> {
  const { cluster, namespace, releasePrefix, signal } = scope;
  const lastMs = performance.now() + retry.readyMs;
  for (;;) {
    const found = findInstances(driver, await cluster.listPods(namespace, signal), releasePrefix);
    const same = found.find((each) => each.name === instance.name);
    const isLast = performance.now() >= lastMs;
    if (same !== undefined && (isLast || same.pods.some((pod) => pod.ready))) return { ...instance, pods: same.pods };
    if (isLast) throw new UserError("storage-not-ready", `"${instance.name}" has no pods any more`);
    await pause(retry.pauseMs, undefined, { signal });
  }
}

function countingOutput(
  output: SnapshotOutput,
  onBytes: (total: number) => void,
  onStream: (name: string, encoding: StreamSource["encoding"]) => void,
): { readonly output: SnapshotOutput } {
  let total = 0;
  return {
    output: {
      ...output,
      stream: (name, source) => {
        onStream(name, source.encoding);
        const bytes = (async function* () {
          for await (const chunk of source.bytes) {
            total += chunk.byteLength;
            onBytes(total);
            yield chunk;
          }
        })();
        return output.stream(name, { ...source, bytes });
      },
    },
  };
}
