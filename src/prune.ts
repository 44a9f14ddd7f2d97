/** Prune: removes the snapshots of a namespace that no rule keeps (retention.ts), and nothing on a doubt. */
import { UserError } from "./base/errors.ts";
import { clockToleranceMs, type Described, describeSnapshots, isOfFuture, listSnapshots } from "./catalog.ts";
import { orNothingRemoved, type Removal, type RemoveScope, removeEach, whileLocked } from "./remove.ts";
import { decide, type Reason, type Retention } from "./retention.ts";
import { asUserError, type Scope } from "./storages.ts";
import type { Store } from "./stores/store.ts";

export interface PruneRequest {
  readonly retention: Retention;
  /** Only what would be done. */
  readonly dryRun: boolean;
}

export interface PruneScope extends RemoveScope {
  readonly namespace: string;
}

export interface Decision {
  readonly snapshot: Described;
  /** Why it stays; none: it goes. */
  readonly reasons: readonly (Reason | "future" | "unreadable" | "foreign")[];
}

export interface PruneOutcome {
  readonly decisions: readonly Decision[];
  /** Empty in a dry run. */
  readonly removals: readonly Removal[];
}

/** What is published after the beginning is never touched: dates later than that are not judged.
 *  @throws UserError `refused` when clocks are too far apart to judge by dates. */
export async function prune(
  { retention, dryRun }: PruneRequest,
  scope: PruneScope,
  store: Store,
): Promise<PruneOutcome> {
  const now = new Date();
  return await orNothingRemoved(async () => {
    // Looking needs no lock, and no right to take it.
    if (dryRun) return { decisions: await decisionsFor(retention, scope, store, now), removals: [] };
    return await whileLocked(scope, "prune", async (locked, confirmLock) =>
      pruneLocked(retention, { ...locked, namespace: scope.namespace, confirmLock, now }, store),
    );
  });
}

/** Prunes while the lock of the run that has just published a snapshot is still held: no other run gets in between. Never
 *  throws, for the snapshot is there whatever becomes of older ones. */
export async function pruneAfterBackup(
  retention: Retention,
  { locked, confirmLock }: { readonly locked: Scope; readonly confirmLock: () => Promise<void> },
  store: Store,
): Promise<PruneOutcome | UserError> {
  const { namespace, reporter, signal } = locked;
  const scope = { cluster: locked, namespace, reporter, signal, confirmLock, now: new Date() };
  try {
    return await orNothingRemoved(() => pruneLocked(retention, scope, store));
  } catch (error) {
    return asUserError(error);
  }
}

async function pruneLocked(
  retention: Retention,
  scope: PruneScope & { readonly confirmLock: () => Promise<void>; readonly now: Date },
  store: Store,
): Promise<PruneOutcome> {
  const decisions = await decisionsFor(retention, scope, store, scope.now);
  const doomed = decisions.filter(({ reasons }) => reasons.length === 0).map(({ snapshot }) => snapshot);
  const { confirmLock } = scope;
  return { decisions, removals: await removeEach(doomed.toReversed(), { scope, confirmLock }, store) };
}

async function decisionsFor(
  retention: Retention,
  { namespace, signal }: PruneScope,
  store: Store,
  now: Date,
): Promise<readonly Decision[]> {
  const entries = await listSnapshots(store, signal);
  requireClock(store);
  return decideAll(await describeSnapshots(store, entries, signal), { namespace, retention, now });
}

function requireClock(store: Store): void {
  const aheadMs = store.clockAheadMs() ?? 0;
  if (Math.abs(aheadMs) <= clockToleranceMs) return;
  const minutes = Math.round(Math.abs(aheadMs) / 60_000);
  const state = `${minutes} minutes ${aheadMs > 0 ? "ahead of" : "behind"} that of ${store.location}`;
  throw new UserError("refused", `cannot judge snapshots by their dates: the clock of this machine is ${state}`, {
    hints: ["set the clock, then run it again"],
  });
}

/** Newest first. Only what can be read and is of this namespace is judged; the rest stays, and plays no part. */
function decideAll(
  snapshots: readonly Described[],
  { retention, now, namespace }: { readonly retention: Retention; readonly now: Date; readonly namespace: string },
): readonly Decision[] {
  const judged = snapshots.flatMap((snapshot) => {
    const { manifest, startedAt, partial } = snapshot;
    if (manifest?.namespace !== namespace) return [];
    const holds = manifest.instances.map(({ storage, instance }) => `${storage}/${instance}`);
    return [{ snapshot, startedAt, partial, holds }];
  });
  const reasons = decide(judged, retention, now);
  const reasonsOf = new Map(judged.map(({ snapshot }, index) => [snapshot, reasons[index] ?? []]));
  return snapshots.map((snapshot) => {
    if (snapshot.manifest === undefined) return { snapshot, reasons: ["unreadable"] };
    if (isOfFuture(snapshot, now)) return { snapshot, reasons: ["future"] };
    return { snapshot, reasons: reasonsOf.get(snapshot) ?? ["foreign"] };
  });
}
