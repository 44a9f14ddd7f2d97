/** Removing snapshots: the file first, then what drivers have left outside it. In this order nothing is ever listed of which a
 *  part is gone: killed in between, what is outside belongs to no file, and the namespace's next `create` deletes it. The
 *  other way round a snapshot would still be listed, would pass `verify`, and could not be restored. */
import { isOutcome, UserError, withEffect } from "./base/errors.ts";
import type { Reporter } from "./base/reporter.ts";
import { type Described, describeSnapshots, findSnapshots } from "./catalog.ts";
import { type Discard, discarding } from "./outside.ts";
import { type Scope, withLock } from "./storages.ts";
import type { Store } from "./stores/store.ts";

/** What removing is told. */
export interface RemoveScope {
  /** Whose snapshots may be removed; undefined: whoever's, for a directory of which nobody said it. */
  readonly namespace: string | undefined;
  /** Absent for a directory: nothing is outside its files, and a file that is being read stays readable, so that there is
   *  nothing to be locked. */
  readonly cluster: Scope | undefined;
  readonly reporter: Reporter;
  readonly signal: AbortSignal;
}

export interface Removal {
  readonly snapshot: Described;
  readonly removed: boolean;
  /** Why it was not, or what of it stays outside the file. */
  readonly problems: readonly string[];
}

/** Removes the snapshots of these dates.
 *  @param confirm is shown them before anything is changed; throws to refuse.
 *  @throws UserError `refused` for a snapshot of another namespace, `busy` when the namespace is locked. */
export async function remove(
  dates: readonly string[],
  scope: RemoveScope,
  store: Store,
  confirm: (snapshots: readonly Described[]) => Promise<void>,
): Promise<readonly Removal[]> {
  return await orNothingRemoved(async () => {
    const entries = await findSnapshots(store, dates, scope.signal);
    const snapshots = await describeSnapshots(store, entries, scope.signal);
    for (const each of snapshots) refuseForeign(each, scope);
    await confirm(snapshots);
    return await whileLocked(scope, "delete", (locked, confirmLock) =>
      removeEach(snapshots, { scope: locked, confirmLock }, store),
    );
  });
}

/** What ends before the first removal says that there was none; what ends later says itself what was removed. */
export async function orNothingRemoved<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw withEffect(error, "nothing was removed");
  }
}

/** Holds the namespace's lock, unless it is a directory.
 *  @param work is given what throws UserError `busy` when the lock is not held any more. */
export async function whileLocked<T>(
  scope: RemoveScope,
  purpose: string,
  work: (locked: RemoveScope, confirmLock: () => Promise<void>) => Promise<T>,
): Promise<T> {
  if (scope.cluster === undefined) return await work(scope, async () => {});
  return await withLock(scope.cluster, purpose, (locked, lock) =>
    work({ ...scope, cluster: locked, signal: locked.signal }, () => lock.confirm()),
  );
}

/** Removes them one after the other. A store that refuses one, because it is locked or write-protected, does not stop the
 *  others; a store that fails does. */
export async function removeEach(
  snapshots: readonly Described[],
  { scope, confirmLock }: { readonly scope: RemoveScope; readonly confirmLock: () => Promise<void> },
  store: Store,
): Promise<readonly Removal[]> {
  const discard = scope.cluster === undefined ? nothingOutside : discarding(scope.cluster);
  const removals: Removal[] = [];
  let unclear = "";
  try {
    for (const snapshot of snapshots) {
      scope.signal.throwIfAborted();
      await confirmLock();
      unclear = `; ${snapshot.name} may be removed, too`; // when the answer is lost
      const refusal = await removeFile(snapshot, store, scope.signal);
      unclear = "";
      const problems = refusal === undefined ? await discard(snapshot) : [refusal.message];
      for (const problem of problems) scope.reporter.warning(problem);
      removals.push({ snapshot, removed: refusal === undefined, problems });
    }
    return removals;
  } catch (error) {
    const gone = removals.filter(({ removed }) => removed).map(({ snapshot }) => snapshot.name);
    throw withEffect(error, `removed before: ${gone.join(", ") || "nothing"}${unclear}`);
  }
}

const nothingOutside: Discard = async () => [];

async function removeFile({ fileName }: Described, store: Store, signal: AbortSignal): Promise<UserError | undefined> {
  try {
    await store.remove(fileName, signal);
    return undefined;
  } catch (error) {
    if (isOutcome(error, "not-found")) return undefined; // somebody was faster
    if (isOutcome(error, "credentials", "local-disk")) return error;
    throw error;
  }
}

/** A bucket may be shared by namespaces, and the lock is that of one. */
function refuseForeign({ manifest }: Described, { namespace }: RemoveScope): void {
  if (namespace === undefined || manifest === undefined || manifest.namespace === namespace) return;
  const says = `the snapshot ${manifest.name} is of namespace "${manifest.namespace}", not of "${namespace}"`;
  throw new UserError("refused", says, { hints: [`if that is meant: -n ${manifest.namespace}`] });
}
