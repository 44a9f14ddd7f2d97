/** How many bytes each dump will have, for progress: as many as in the last snapshot. A driver's own estimate is that of
 *  the data on the server's disk, often several times as much as a compressed dump. */
import { messageOf } from "./base/errors.ts";
import type { PlannedTask } from "./base/reporter.ts";
import { type CatalogEntry, describeSnapshots, listSnapshots } from "./catalog.ts";
import { type Failure, type Inspected, type Scope, storedBytes, taskName } from "./storages.ts";
import type { Store } from "./stores/store.ts";

/** An estimate is not worth waiting for longer than this. */
const patienceMs = 5000;

/** The snapshots there are, newest first; none when the store does not tell: whatever is wrong with the earlier ones must
 *  not keep the next one from being made. */
export async function earlierSnapshots(store: Store, scope: Scope): Promise<readonly CatalogEntry[]> {
  return (await inTime(scope, (signal) => listSnapshots(store, signal))) ?? [];
}

/** Every instance, also those that cannot be dumped, with the bytes to expect.
 *  @param earlier newest first. */
export async function planTasks(
  { ready, failures }: { readonly ready: readonly Inspected[]; readonly failures: readonly Failure[] },
  earlier: readonly CatalogEntry[],
  store: Store,
  scope: Scope,
): Promise<readonly PlannedTask[]> {
  const last = (await inTime(scope, (signal) => bytesInLast(earlier, store, { ...scope, signal }))) ?? new Map();
  const failed = failures.map(({ storage, instance }) => ({ task: taskName({ storage, name: instance }) }));
  const tasks = ready.map(({ driver, instance, inspection }) => {
    const task = taskName(instance);
    // Data that go into the bucket by themselves do not count in the last snapshot's streams.
    const lastBytes = driver.canUseDirectory ? last.get(task) : undefined;
    return { task, expectedBytes: lastBytes ?? inspection.estimatedBytes };
  });
  return [...tasks, ...failed].sort((a, b) => (a.task < b.task ? -1 : 1));
}

/** @returns bytes by task; empty when there is no snapshot of this namespace. */
async function bytesInLast(
  earlier: readonly CatalogEntry[],
  store: Store,
  scope: Scope,
): Promise<ReadonlyMap<string, number>> {
  const [last] = await describeSnapshots(store, earlier.slice(0, 1), scope.signal);
  if (last?.problem !== undefined) throw last.problem;
  if (last?.manifest.namespace !== scope.namespace) return new Map();
  scope.reporter.detail(`expecting dumps as large as in ${last.fileName}`);
  return new Map(
    last.manifest.instances.map((entry) => [taskName({ ...entry, name: entry.instance }), storedBytes(entry)]),
  );
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
