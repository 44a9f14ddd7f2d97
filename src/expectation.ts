/** How many bytes each dump will have, by the last snapshot: for progress, and to notice one that is much smaller. A driver's
 *  own estimate is that of the data on the server's disk, often several times as much as a compressed dump. */
import { messageOf } from "./base/errors.ts";
import type { PlannedTask } from "./base/reporter.ts";
import { type CatalogEntry, describeSnapshots, listSnapshots, readsAtOnce, type SnapshotContents } from "./catalog.ts";
import type { Instance } from "./drivers/driver.ts";
import type { Manifest } from "./snapshot/toc.ts";
import { type Failure, type Inspected, type Scope, storedBytes, taskName, taskOf } from "./storages.ts";
import type { Store } from "./stores/store.ts";

/** An estimate is not worth waiting for longer than this. */
const patienceMs = 5000;

/** More snapshots than this are not read for it: hourly ones of one storage, for some days. */
const mostRead = 200;

/** The snapshots there are, newest first; undefined when the store does not tell: whatever is wrong with the earlier ones must
 *  not keep the next one from being made. */
export async function earlierSnapshots(store: Store, scope: Scope): Promise<readonly CatalogEntry[] | undefined> {
  return await inTime(scope, (signal) => listSnapshots(store, signal));
}

/** What a dump was like in the newest snapshot that holds one. */
export interface LastDump {
  readonly snapshotName: string;
  readonly storage: string;
  readonly instance: string;
  /** After the pod's encoding, before this side's compression. */
  readonly bytes: number;
}

export interface LastDumps {
  /** By task. */
  readonly dumps: ReadonlyMap<string, LastDump>;
  /** What the newest complete snapshot holds; empty when there is none. */
  readonly complete: readonly LastDump[];
  /** False when not all could be read that may hold one. */
  readonly isSure: boolean;
}

/** Looks the instances up in the snapshots of this namespace: others may lie in the same bucket, and one may hold only some of
 *  the storages.
 *  @param earlier newest first. */
export async function lastDumps(
  earlier: readonly CatalogEntry[] | undefined,
  instances: readonly Instance[],
  store: Store,
  scope: Scope,
): Promise<LastDumps> {
  const dumps = new Map<string, LastDump>();
  let complete: readonly LastDump[] | undefined;
  let isSure = earlier !== undefined;
  const isFound = () => complete !== undefined && instances.every((each) => dumps.has(taskName(each)));
  const unknown = (why: unknown) => {
    isSure = false;
    tellUnknown(scope, why);
  };
  const learn = ({ fileName, manifest }: { readonly fileName: string; readonly manifest: SnapshotContents }) => {
    const found = manifest.instances.map((each) => ({
      ...named(each),
      snapshotName: manifest.name,
      bytes: storedBytes(each),
    }));
    const fresh = found.filter((each) => !dumps.has(taskOf(each)));
    if (fresh.length > 0) scope.reporter.detail(`expecting dumps as large as in ${fileName}`);
    for (const each of fresh) dumps.set(taskOf(each), each);
    if (manifest.complete) complete ??= found;
  };
  const look = async (signal: AbortSignal) => {
    const rest = [...(earlier ?? [])];
    for (let read = 0; rest.length > 0 && !isFound(); ) {
      if (read >= mostRead) {
        unknown(new Error(`the newest ${read} do not hold every storage`));
        break;
      }
      const entries = rest.splice(0, read === 0 ? 1 : readsAtOnce); // the newest often tells everything
      const described = await describeSnapshots(store, entries, signal);
      if (described.length < entries.length) unknown(new Error("one was removed meanwhile"));
      for (const each of described) {
        if (each.problem !== undefined) unknown(each.problem);
        else if (each.manifest.namespace === scope.namespace) learn(each);
      }
      read += entries.length;
    }
    return true;
  };
  const hasLooked = await inTime(scope, look);
  return { dumps, complete: complete ?? [], isSure: (isSure && hasLooked === true) || isFound() };
}

const named = ({ storage, instance }: { readonly storage: string; readonly instance: string }) => ({
  storage,
  instance,
});

/** Every instance, also those that cannot be dumped, with the bytes to expect. */
export function planTasks(
  { ready, failures }: { readonly ready: readonly Inspected[]; readonly failures: readonly Failure[] },
  last: LastDumps,
): readonly PlannedTask[] {
  const failed = failures.map((each) => ({ task: taskOf(each) }));
  const tasks = ready.map(({ driver, instance, inspection }) => {
    const task = taskName(instance);
    // Data that go into the bucket by themselves do not count in the last snapshot's streams.
    const lastBytes = driver.canUseDirectory ? last.dumps.get(task)?.bytes : undefined;
    return { task, expectedBytes: lastBytes ?? inspection.estimatedBytes };
  });
  return [...tasks, ...failed].sort((a, b) => (a.task < b.task ? -1 : 1));
}

/** A dump that is much smaller than the one before it, or a storage that there is no more: data may have gone unnoticed. */
export interface ShrunkDump {
  readonly storage: string;
  readonly instance: string;
  /** 0: it is there no more. */
  readonly bytes: number;
  readonly last: LastDump;
}

/** The dumps that have less than `ratio` times the bytes of the ones before. */
export function shrunkDumps(
  { instances }: Pick<Manifest, "instances">,
  { dumps }: LastDumps,
  ratio: number,
): readonly ShrunkDump[] {
  return instances.flatMap((entry) => {
    const last = dumps.get(taskOf(entry));
    const bytes = storedBytes(entry);
    return last === undefined || bytes >= last.bytes * ratio ? [] : [{ ...named(entry), bytes, last }];
  });
}

/** What the newest complete snapshot holds and nothing here is any more, of these storages. */
export function goneDumps(
  tasks: readonly PlannedTask[],
  { complete }: LastDumps,
  storages: readonly string[],
): readonly ShrunkDump[] {
  const there = new Set(tasks.map((each) => each.task));
  return complete
    .filter((each) => storages.includes(each.storage) && !there.has(taskOf(each)))
    .map((last) => ({ ...named(last), bytes: 0, last }));
}

async function inTime<T>(scope: Scope, look: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
  try {
    return await look(AbortSignal.any([scope.signal, AbortSignal.timeout(patienceMs)]));
  } catch (error) {
    scope.signal.throwIfAborted();
    tellUnknown(scope, error);
    return undefined;
  }
}

function tellUnknown({ reporter }: Scope, why: unknown): void {
  reporter.detail(`the last snapshot does not tell how large dumps are: ${messageOf(why)}`);
}
