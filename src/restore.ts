/** Restore: store -> snapshot -> drivers -> cluster. Everything that will be used is proved before anything is touched; the
 *  second pass reads the same pinned file and checks each segment again before passing it on. */
import { UserError, withEffect } from "./base/errors.ts";
import { withSnapshot } from "./catalog.ts";
import type { Backup, Context, Driver, Instance, RestorePlan, RestoreResult } from "./drivers/driver.ts";
import { matchInstance } from "./drivers/find.ts";
import { type DriverName, driverNames, isDriverName } from "./drivers/registry.ts";
import type { Snapshot } from "./snapshot/reader.ts";
import type { InstanceEntry, Manifest } from "./snapshot/toc.ts";
import {
  answered,
  asUserError,
  contextFor,
  type Failure,
  findStorages,
  noneFound,
  type Scope,
  storedBytes,
  summaryOf,
  taskName,
  withLock,
} from "./storages.ts";
import type { OpenFile, Store } from "./stores/store.ts";

export interface RestoreRequest {
  readonly date: string;
  /** The namespace that the snapshot must be of. */
  readonly sourceNamespace: string;
  readonly storages: readonly DriverName[];
  /** True when the storages were named one by one: each must then be in the snapshot. */
  readonly named: boolean;
  readonly dryRun: boolean;
  /** Shown the plan before anything is changed. Throws to refuse. */
  readonly confirm: (preview: RestorePreview) => Promise<void>;
  /** Called with the lock held, before anything is changed. Throws to refuse. */
  readonly begin?: (signal: AbortSignal) => Promise<void>;
}

/** One instance of the snapshot and where it goes. */
export interface PlannedInstance {
  readonly entry: InstanceEntry;
  readonly target: Instance;
  readonly plan: RestorePlan;
  /** As long as its dump took: the same bytes go the same way back. A guess, for what the engine does with them differs. */
  readonly estimatedMs: number;
}

export interface RestorePreview {
  readonly fileName: string;
  readonly manifest: Manifest;
  readonly namespace: string;
  readonly instances: readonly PlannedInstance[];
}

/** A number that was recorded at dump time and is another one now. */
export interface Difference {
  readonly task: string;
  readonly unit: string;
  readonly expected: number;
  readonly actual: number | undefined;
}

export interface RestoreOutcome {
  readonly preview: RestorePreview;
  readonly results: readonly ({ readonly task: string } & RestoreResult)[];
  readonly differences: readonly Difference[];
  readonly failures: readonly Failure[];
}

/** @throws UserError; `effect` says what was touched. */
export async function restore(request: RestoreRequest, scope: Scope, store: Store): Promise<RestoreOutcome> {
  try {
    return await proveAndRestore(request, scope, store);
  } catch (error) {
    // What has changed something says so itself.
    throw withEffect(error, nothingChanged(scope.namespace));
  }
}

const nothingChanged = (namespace: string) => `nothing was changed in namespace "${namespace}"`;

async function proveAndRestore(request: RestoreRequest, scope: Scope, store: Store): Promise<RestoreOutcome> {
  return await withSnapshot(store, request.date, scope.signal, async (snapshot, file) => {
    checkSource(snapshot.manifest, request);
    const entries = chooseEntries(snapshot.manifest, request);
    const jobs = await pairWithTargets(entries, snapshot, scope);
    await prove(snapshot, file, entries, { scope, whole: !request.named });
    const preview = await makePreview(jobs, snapshot.manifest, file.fileName, scope);
    if (request.dryRun) return { preview, results: [], differences: [], failures: [] };
    await request.confirm(preview);
    refuseObstacles(preview);
    const outcome = await withLock(scope, "restore", async (locked) => {
      await requireThere(file, locked.signal);
      await request.begin?.(locked.signal);
      return await restoreAll(jobs, locked);
    });
    return { preview, ...outcome };
  });
}

/** Until the lock was ours, a prune or delete may have taken the snapshot away: better noticed now than when a storage is half
 *  restored. @throws as `OpenFile.read`. */
async function requireThere(file: OpenFile, signal: AbortSignal): Promise<void> {
  for await (const _ of file.read(0, 1, signal));
}

interface Job {
  readonly entry: InstanceEntry;
  readonly driver: Driver;
  readonly target: Instance;
  readonly context: Context;
  readonly backup: Backup;
}

function checkSource(manifest: Manifest, request: RestoreRequest): void {
  if (manifest.namespace === request.sourceNamespace) return;
  const says = `the snapshot is of namespace "${manifest.namespace}", not of "${request.sourceNamespace}"`;
  throw new UserError("refused", says, { hints: [`if that is meant: --source-namespace ${manifest.namespace}`] });
}

function chooseEntries(manifest: Manifest, request: RestoreRequest): readonly InstanceEntry[] {
  const entries = manifest.instances.filter((each) => request.storages.some((name) => name === each.storage));
  if (request.named) {
    for (const name of request.storages) {
      if (entries.some((each) => each.storage === name)) continue;
      throw new UserError("not-found", `the snapshot holds no ${name}`, {
        hints: [`it holds: ${[...new Set(manifest.instances.map((each) => each.storage))].join(", ") || "nothing"}`],
      });
    }
  } else {
    const unknown = manifest.instances.find((each) => !isDriverName(each.storage));
    if (unknown !== undefined) {
      throw new UserError(
        "invalid-snapshot",
        `this program knows no storage "${unknown.storage}"; it knows ${driverNames.join(", ")}`,
      );
    }
  }
  if (entries.length === 0) throw new UserError("not-found", "the snapshot holds none of the wanted storages");
  return entries;
}

async function pairWithTargets(
  entries: readonly InstanceEntry[],
  snapshot: Snapshot,
  scope: Scope,
): Promise<readonly Job[]> {
  const names = [...new Set(entries.map((each) => each.storage))].filter(isDriverName);
  const found = await findStorages(scope, names);
  const taken = new Map<string, string>();
  return entries.map((entry) => {
    const here = found.find(({ driver }) => driver.storage === entry.storage);
    if (here === undefined) throw new Error(`no driver for ${entry.storage}`); // names come from the entries
    const { driver, instances } = here;
    if (instances.length === 0) throw noneFound(scope, driver);
    const onlyOne = entries.filter((each) => each.storage === entry.storage).length === 1;
    const target = matchInstance(entry.instance, snapshot.manifest.release, instances, onlyOne);
    if (target === undefined) {
      const candidates = instances.map((each) => each.name).join(", ");
      throw new UserError(
        "storage-not-ready",
        `which ${driver.title} is "${entry.instance}" to be restored to? There are ${candidates}`,
      );
    }
    const other = taken.get(taskName(target));
    if (other !== undefined) {
      const both = `"${other}" and "${entry.instance}"`;
      throw new UserError("storage-not-ready", `${both} would both be restored to ${driver.title} "${target.name}"`);
    }
    taken.set(taskName(target), entry.instance);
    return {
      entry,
      driver,
      target,
      context: { ...contextFor(scope, driver, target), snapshotName: snapshot.manifest.name },
      backup: backupOf(entry, snapshot, scope),
    };
  });
}

function backupOf(entry: InstanceEntry, snapshot: Snapshot, scope: Scope): Backup {
  const streams = entry.streams.map((stream) => ({
    ...stream,
    read: () => snapshot.readStream(entry, stream, scope.signal),
  }));
  return { serverVersion: entry.serverVersion, counts: entry.counts, facts: entry.facts, streams };
}

/** The first pass. */
async function prove(
  snapshot: Snapshot,
  file: OpenFile,
  entries: readonly InstanceEntry[],
  { scope, whole }: { readonly scope: Scope; readonly whole: boolean },
): Promise<void> {
  const { reporter, signal } = scope;
  const used = entries.flatMap((entry) => entry.streams.flatMap((stream) => stream.segments));
  const usedBytes = used.reduce((sum, segment) => sum + segment.length, 0);
  reporter.started("verify", { doing: `reading ${file.fileName}`, expectedBytes: whole ? file.sizeBytes : usedBytes });
  const onProgress = (bytes: number) => reporter.progressBytes("verify", bytes);
  if (whole) await snapshot.verifyAll(signal, onProgress);
  else await snapshot.verifyInstances(entries, signal, onProgress);
  reporter.finished("verify", "whole and unchanged");
}

async function makePreview(
  jobs: readonly Job[],
  manifest: Manifest,
  fileName: string,
  scope: Scope,
): Promise<RestorePreview> {
  const instances = await Promise.all(
    jobs.map(async ({ entry, driver, target, context, backup }) => {
      const ask = (signal: AbortSignal) => driver.plan(target, backup, { ...context, signal });
      const plan = await answered(scope.signal, ask).catch((error: unknown) => {
        throw asUserError(error).in(taskName(target));
      });
      const estimatedMs = Math.max(0, Date.parse(entry.finishedAt) - Date.parse(entry.startedAt));
      return { entry, target, plan, estimatedMs };
    }),
  );
  return { fileName, manifest, namespace: scope.namespace, instances };
}

/** @throws UserError `refused` naming them. A dry run only shows them. */
export function refuseObstacles({ instances, namespace }: RestorePreview): void {
  const obstacles = instances.flatMap(({ target, plan }) =>
    plan.obstacles.map((each) => `${taskName(target)}: ${each}`),
  );
  if (obstacles.length === 0) return;
  throw new UserError("refused", `the restore cannot work: ${obstacles.join("; ")}`, {
    effect: nothingChanged(namespace),
  });
}

/** For a driver that does not say itself how far it came. */
const unknownState = "its data may be incomplete until the restore is repeated";

/** Restores side by side; one that fails does not stop the others. */
async function restoreAll(jobs: readonly Job[], scope: Scope): Promise<Omit<RestoreOutcome, "preview">> {
  const results: ({ task: string } & RestoreResult)[] = [];
  const differences: Difference[] = [];
  const failures: Failure[] = [];
  scope.reporter.planned(
    jobs.map(({ entry, target }) => ({ task: taskName(target), expectedBytes: storedBytes(entry) })),
  );
  await Promise.all(
    jobs.map(async (job) => {
      const task = taskName(job.target);
      scope.reporter.started(task, { doing: "restoring" });
      try {
        const result = await job.driver.restore(job.target, withProgress(job, scope), {
          ...job.context,
          signal: scope.signal,
        });
        results.push({ task, ...result });
        differences.push(...compare(task, job.entry, result));
        for (const warning of result.warnings) scope.reporter.warning(`${task}: ${warning}`);
        scope.reporter.finished(task, summaryOf(result.counts));
      } catch (error) {
        const failure = asUserError(withEffect(asUserError(error), unknownState));
        scope.reporter.failed(task, failure);
        failures.push({ storage: job.target.storage, instance: job.target.name, error: failure });
      }
    }),
  );
  if (scope.signal.aborted) throw stoppedEarly(jobs, results, scope);
  return { results, differences, failures };
}

/** Why the run was stopped, with what that has done to the storages: those that were not finished hold neither what they
 *  held nor what the snapshot holds. */
function stoppedEarly(jobs: readonly Job[], results: readonly { readonly task: string }[], scope: Scope): UserError {
  const finished = results.map(({ task }) => task);
  const unfinished = jobs.map(({ target }) => taskName(target)).filter((task) => !finished.includes(task));
  const reason = asUserError(scope.signal.reason);
  const restored = finished.length === 0 ? "" : `; restored: ${finished.join(", ")}`;
  const effect =
    unfinished.length === 0
      ? `every storage was restored: ${finished.join(", ")}`
      : `in namespace "${scope.namespace}" these are partly restored and must be restored again: ${unfinished.join(", ")}${restored}`;
  return new UserError(reason.outcome, reason.message, { effect, hints: reason.hints, cause: reason.cause });
}

function withProgress({ entry, target, backup }: Job, { reporter }: Scope): Backup {
  let total = 0;
  const streams = backup.streams.map((stream) => ({
    ...stream,
    async *read() {
      for await (const chunk of stream.read()) {
        total += chunk.byteLength;
        reporter.progressBytes(taskName(target), Math.min(total, storedBytes(entry)));
        yield chunk;
      }
    },
  }));
  return { ...backup, streams };
}

function compare(task: string, entry: InstanceEntry, result: RestoreResult): readonly Difference[] {
  if (result.counts === undefined) return [];
  const counted = result.counts;
  return Object.entries(entry.counts).flatMap(([unit, expected]) => {
    const actual = counted[unit];
    return actual === expected ? [] : [{ task, unit, expected, actual }];
  });
}
