/** How many bytes each dump will have, by the last snapshot: for progress, and to notice one that is much smaller. A driver's
 *  own estimate is that of the data on the server's disk, often several times as much as a compressed dump. */
import { messageOf } from "./base/errors.ts";
import type { PlannedTask } from "./base/reporter.ts";
import { type CatalogEntry, describeSnapshots, listSnapshots } from "./catalog.ts";
import type { Manifest } from "./snapshot/toc.ts";
import { type Failure, type Inspected, type Scope, storedBytes, taskName } from "./storages.ts";
import type { Store } from "./stores/store.ts";

/** An estimate is not worth waiting for longer than this. */
const patienceMs = 5000;

/** The snapshots there are, newest first; none when the store does not tell: whatever is wrong with the earlier ones must
 *  not keep the next one from being made. */
export async function earlierSnapshots(store: Store, scope: Scope): Promise<readonly CatalogEntry[]> {
  return (await inTime(scope, (signal) => listSnapshots(store, signal))) ?? [];
}

/** What a dump was like in the newest snapshot that holds one. */
export interface LastDump {
  readonly snapshotName: string;
  /** After the pod's encoding, before this side's compression. */
  readonly bytes: number;
}

/** @param earlier newest first. When the newest is partial, what it lacks is looked up in the newest complete one.
 *  @returns by task; empty when there is no snapshot of this namespace; undefined when the store does not tell in time. */
export async function lastDumps(
  earlier: readonly CatalogEntry[],
  store: Store,
  scope: Scope,
): Promise<ReadonlyMap<string, LastDump> | undefined> {
  const newest = earlier.slice(0, 1);
  const complete = newest.every((each) => each.partial) ? earlier.filter((each) => !each.partial).slice(0, 1) : [];
  return await inTime(scope, async (signal) => {
    const last = new Map<string, LastDump>();
    for (const described of await describeSnapshots(store, [...complete, ...newest], signal)) {
      if (described.problem !== undefined) throw described.problem;
      if (described.manifest.namespace !== scope.namespace) continue;
      scope.reporter.detail(`expecting dumps as large as in ${described.fileName}`);
      for (const entry of described.manifest.instances) {
        const task = taskName({ ...entry, name: entry.instance });
        last.set(task, { snapshotName: described.name, bytes: storedBytes(entry) });
      }
    }
    return last;
  });
}

/** Every instance, also those that cannot be dumped, with the bytes to expect. */
export function planTasks(
  { ready, failures }: { readonly ready: readonly Inspected[]; readonly failures: readonly Failure[] },
  last: ReadonlyMap<string, LastDump>,
): readonly PlannedTask[] {
  const failed = failures.map(({ storage, instance }) => ({ task: taskName({ storage, name: instance }) }));
  const tasks = ready.map(({ driver, instance, inspection }) => {
    const task = taskName(instance);
    // Data that go into the bucket by themselves do not count in the last snapshot's streams.
    const lastBytes = driver.canUseDirectory ? last.get(task)?.bytes : undefined;
    return { task, expectedBytes: lastBytes ?? inspection.estimatedBytes };
  });
  return [...tasks, ...failed].sort((a, b) => (a.task < b.task ? -1 : 1));
}

/** A dump that is much smaller than the one before it: data may have gone unnoticed. */
export interface ShrunkDump {
  readonly storage: string;
  readonly instance: string;
  readonly bytes: number;
  readonly last: LastDump;
}

/** The dumps that have less than `ratio` times the bytes of the ones before. */
export function shrunkDumps(
  { instances }: Pick<Manifest, "instances">,
  last: ReadonlyMap<string, LastDump>,
  ratio: number,
): readonly ShrunkDump[] {
  return instances.flatMap((entry) => {
    const { storage, instance } = entry;
    const before = last.get(taskName({ storage, name: instance }));
    const bytes = storedBytes(entry);
    return before === undefined || bytes >= before.bytes * ratio ? [] : [{ storage, instance, bytes, last: before }];
  });
}

async function inTime<T>(scope: Scope, look: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
  try {
    return await look(AbortSignal.any([scope.signal, AbortSignal.timeout(patienceMs)]));
  } catch (error) {
    scope.signal.throwIfAborted();
    scope.reporter.detail(`the last snapshot does not tell how large dumps are: ${messageOf(error)}`);
    return undefined;
  }
}
