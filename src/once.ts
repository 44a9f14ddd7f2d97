/** A restore that is done once: what declares "this snapshot is to be restored" may be applied again and again. Which storages
 *  were restored is recorded in the namespace (record.ts), not in a Job, which goes. */
import { withEffect } from "./base/errors.ts";
import { withoutEnding } from "./catalog.ts";
import { type RestoredStorages, type RestoreRecord, readRestore, recordRestore, restoreKey } from "./record.ts";
import type { RestoreOutcome, RestoreRequest } from "./restore.ts";
import { asUserError, type Scope } from "./storages.ts";

/** What is to be restored once. */
export interface OnceRequest extends Pick<RestoreRequest, "date" | "sourceNamespace" | "storages" | "named"> {
  /** Who does it, for the record. */
  readonly by: string;
}

/** Thrown under the lock when another run has restored it in the meantime. */
class AlreadyRestored extends Error {
  readonly record: RestoreRecord;
  constructor(record: RestoreRecord) {
    super("already restored");
    this.record = record;
  }
}

const recordMs = 20_000;

/** Restores, unless the record says that all that is asked for of this snapshot was restored into this namespace. One that
 *  failed, or was begun and never told its end, is done again: a restore may be repeated, for it begins by emptying its
 *  target. Which bucket the snapshot is in plays no part: one that moves is no other snapshot.
 *  @param work the restore, which must call `begin` as RestoreRequest says.
 *  @returns the record when there was nothing to do. */
export async function restoreOnce(
  which: OnceRequest,
  scope: Pick<Scope, "cluster" | "namespace" | "reporter" | "signal">,
  work: (begin: NonNullable<RestoreRequest["begin"]>) => Promise<RestoreOutcome>,
): Promise<RestoreOutcome | RestoreRecord> {
  const { by } = which;
  const key = restoreKey(withoutEnding(which.date), which.sourceNamespace);
  const record = (told: Pick<RestoreRecord, "state" | "outcome" | "storages">, signal: AbortSignal) =>
    recordRestore(scope, key, { ...told, by, at: new Date() }, signal);
  /** What was restored before and is not touched by this restore; undefined until it has begun. */
  let kept: readonly string[] | undefined;

  const before = await readRestore(scope, key, scope.signal);
  if (before !== undefined && covers(before.storages, which)) return before;
  if (before !== undefined) scope.reporter.note(againText(before));
  const begin = async (signal: AbortSignal) => {
    const now = await readRestore(scope, key, signal);
    if (now !== undefined && covers(now.storages, which)) throw new AlreadyRestored(now);
    const storages = untouched(now?.storages ?? [], which);
    await record({ state: "started", outcome: "ok", storages }, signal);
    kept = storages;
  };

  let outcome: RestoreOutcome;
  try {
    outcome = await work(begin);
  } catch (error) {
    if (error instanceof AlreadyRestored) return error.record;
    // Also when the run was told to stop: the record needs a signal of its own.
    if (kept !== undefined) {
      const failed = { state: "failed", outcome: asUserError(error).outcome, storages: kept } as const;
      await record(failed, AbortSignal.timeout(recordMs)).catch(() => {});
    }
    throw error;
  }
  const [failure] = outcome.failures;
  const ended = {
    state: failure === undefined ? "restored" : "failed",
    outcome: failure?.error.outcome ?? "ok",
    storages: restoredBy(outcome, which, kept ?? []),
  } as const;
  await record(ended, AbortSignal.timeout(recordMs)).catch((error: unknown) => {
    const effect = "the restore has ended, but that could not be recorded: the next run restores again";
    throw withEffect(error, effect);
  });
  return outcome;
}

function covers(restored: RestoredStorages, { named, storages }: OnceRequest): boolean {
  if (restored === "all") return true;
  return named && storages.every((each) => restored.includes(each));
}

function untouched(restored: RestoredStorages, { named, storages }: OnceRequest): readonly string[] {
  if (restored === "all" || !named) return [];
  return restored.filter((each) => !storages.some((touched) => touched === each));
}

/** What holds the snapshot's data after a restore, with what held them before. */
function restoredBy(
  { preview, failures }: RestoreOutcome,
  { named }: OnceRequest,
  kept: readonly string[],
): RestoredStorages {
  if (!named && failures.length === 0) return "all";
  const done = preview.instances
    .map(({ entry }) => entry.storage)
    .filter((storage) => !failures.some((each) => each.storage === storage));
  const restored = [...new Set([...kept, ...done])].sort();
  return preview.manifest.instances.every(({ storage }) => restored.includes(storage)) ? "all" : restored;
}

function againText({ state, at, by, outcome, storages }: RestoreRecord): string {
  const when = `${by} at ${at.toISOString()}`;
  if (state === "restored")
    return `of this snapshot only ${[storages].flat().join(", ")} was restored, lastly by ${when}: what is asked for now is restored`;
  return state === "started"
    ? `this restore was begun by ${when}, and never told its end: it is done again`
    : `this restore was tried by ${when}, and failed (${outcome}): it is done again`;
}
