/** Restore: store -> snapshot -> drivers -> cluster. Everything that will be used is proved before anything is touched; the
 *  second pass reads the same pinned file and checks each segment again before passing it on. */
import { UserError } from "./base/errors.ts";
import { withSnapshot } from "./catalog.ts";
import type { Backup, Context, Driver, Instance, RestorePlan, RestoreResult } from "./drivers/driver.ts";
import { matchInstance } from "./drivers/find.ts";
import { type DriverName, driverNames, isDriverName } from "./drivers/registry.ts";
import type { Snapshot } from "./snapshot/reader.ts";
import type { InstanceEntry, Manifest } from "./snapshot/toc.ts";
import {
  asUserError,
  contextFor,
  type Failure,
  findStorages,
  noneFound,
  type Scope,
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
}

/** One instance of the snapshot and where it goes. */
export interface PlannedInstance {
  readonly entry: InstanceEntry;
  readonly target: Instance;
  readonly plan: RestorePlan;
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
  return await withSnapshot(store, request.date, scope.signal, async (snapshot, file) => {
    checkSource(snapshot.manifest, request, scope);
    const entries = chooseEntries(snapshot.manifest, request);
    const jobs = await pairWithTargets(entries, snapshot, scope);
    await prove(snapshot, file, entries, { scope, whole: !request.named });
    const preview = await makePreview(jobs, snapshot.manifest, file.fileName, scope);
    if (request.dryRun) return { preview, results: [], differences: [], failures: [] };
    await request.confirm(preview);
    refuseObstacles(preview);
    const outcome = await withLock(scope, "restore", (locked) => restoreAll(jobs, locked));
    return { preview, ...outcome };
  });
}

interface Job {
  readonly entry: InstanceEntry;
  readonly driver: Driver;
  readonly target: Instance;
  readonly context: Context;
  readonly backup: Backup;
}

function checkSource(manifest: Manifest, request: RestoreRequest, scope: Scope): void {
  if (manifest.namespace === request.sourceNamespace) return;
  const says = `the snapshot is of namespace "${manifest.namespace}", not of "${request.sourceNamespace}"`;
  throw new UserError("refused", says, {
    effect: `nothing was changed in namespace "${scope.namespace}"`,
    hints: [`if that is meant: --source-namespace ${manifest.namespace}`],
  });
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
      const plan = await driver.plan(target, backup, context).catch((error: unknown) => {
        throw asUserError(error).in(taskName(target));
      });
      return { entry, target, plan };
    }),
  );
  return { fileName, manifest, namespace: scope.namespace, instances };
}

function refuseObstacles({ instances, namespace }: RestorePreview): void {
  const obstacles = instances.flatMap(({ target, plan }) =>
    plan.obstacles.map((each) => `${taskName(target)}: ${each}`),
  );
  if (obstacles.length === 0) return;
  throw new UserError("refused", `the restore cannot work: ${obstacles.join("; ")}`, {
    effect: `nothing was changed in namespace "${namespace}"`,
  });
}

/** Restores side by side; one that fails does not stop the others. */
async function restoreAll(jobs: readonly Job[], scope: Scope): Promise<Omit<RestoreOutcome, "preview">> {
  const results: ({ task: string } & RestoreResult)[] = [];
  const differences: Difference[] = [];
  const failures: Failure[] = [];
  await Promise.all(
    jobs.map(async (job) => {
      const task = taskName(job.target);
      scope.reporter.started(task, { doing: "restoring", expectedBytes: storedBytes(job.entry) });
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
        const failure = asUserError(error);
        scope.reporter.failed(task, failure);
        failures.push({ storage: job.target.storage, instance: job.target.name, error: failure });
      }
    }),
  );
  scope.signal.throwIfAborted();
  return { results, differences, failures };
}

function storedBytes(entry: InstanceEntry): number {
  return entry.streams.reduce((sum, stream) => sum + stream.stored.bytes, 0);
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
  return Object.entries(entry.counts).flatMap(([unit, expected]) => {
    const actual = result.counts[unit];
    return actual === expected ? [] : [{ task, unit, expected, actual }];
  });
}
