/** A restore that is done once: what declares "this snapshot is to be restored" may be applied again and again. Which storages
 *  were restored is recorded in the namespace (record.ts), not in a Job, which goes. */
import { UserError, withEffect } from "./base/errors.ts";
import { withoutEnding } from "./catalog.ts";
import { isDriverName } from "./drivers/registry.ts";
import {
  type RestoredStorages,
  type RestoreRecord,
  readRestore,
  recordRestore,
  restoreKey,
  restoresName,
} from "./record.ts";
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

/** Restores what is asked for of this snapshot and was not restored into this namespace before, by the record. What failed, or
 *  was begun and never told its end, is done again: a restore may be repeated, for it begins by emptying its target. But not
 *  after a day: who has given up, or helped himself otherwise, works with that storage again. Which bucket the snapshot is in
 *  plays no part: one that moves is no other snapshot.
 *  @param work the restore of these storages, which must call `begin` as RestoreRequest says.
 *  @returns the record when there was nothing to do.
 *  @throws UserError as `work`; `refused` after that day. */
export async function restoreOnce(
  which: OnceRequest,
  scope: Pick<Scope, "cluster" | "namespace" | "reporter" | "signal">,
  work: (storages: OnceRequest["storages"], begin: NonNullable<RestoreRequest["begin"]>) => Promise<RestoreOutcome>,
): Promise<RestoreOutcome | RestoreRecord> {
  const { by } = which;
  const key = restoreKey(withoutEnding(which.date), which.sourceNamespace);
  /** What was restored before and is not touched by this restore; undefined until it has begun. */
  let kept: readonly string[] | undefined;

  const before = await readRestore(scope, key, scope.signal);
  if (before !== undefined && covers(before.storages, which)) return before;
  const wanted = missing(before?.storages ?? [], which);
  const record = (told: Pick<RestoreRecord, "state" | "outcome" | "storages">, signal: AbortSignal) =>
    recordRestore(scope, key, { ...told, tried: wanted, by, at: new Date() }, signal);
  if (before !== undefined) {
    if (isGivenUp(before, wanted)) throw givenUp(before, key, scope);
    scope.reporter.note(againText(before));
  }
  const begin = async (signal: AbortSignal) => {
    const now = await readRestore(scope, key, signal);
    if (now !== undefined && covers(now.storages, which)) throw new AlreadyRestored(now);
    const storages = [now?.storages ?? []].flat();
    if (wanted.some((each) => storages.includes(each)))
      throw new UserError("busy", `another restore of this snapshot, by ${now?.by}, has ended in the meantime`);
    await record({ state: "started", outcome: "ok", storages }, signal);
    kept = storages;
  };

  let outcome: RestoreOutcome;
  try {
    outcome = await work(wanted, begin);
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

function covers(restored: RestoredStorages, which: OnceRequest): boolean {
  return restored === "all" || missing(restored, which).length === 0;
}

function missing(restored: RestoredStorages, { storages }: OnceRequest): OnceRequest["storages"] {
  return storages.filter((each) => !restored.includes(each));
}

const givenUpMs = 24 * 3_600_000;

/** Whether a try of one of these has failed, or died, so long ago that nobody expects another. */
function isGivenUp({ state, at, tried }: RestoreRecord, wanted: OnceRequest["storages"]): boolean {
  if (state === "restored" || Date.now() - at.getTime() <= givenUpMs) return false;
  return tried === undefined || wanted.some((each) => tried.includes(each));
}

/** What was restored stays recorded: it has been used since, and must not be set back. */
function givenUp(record: RestoreRecord, key: string, { namespace }: Pick<Scope, "namespace">): UserError {
  const { state, outcome } = record;
  const storages = [record.storages].flat().filter((each) => isDriverName(each));
  const renewed: RestoreRecord = { state, outcome, storages, by: "hand", at: new Date() };
  const patch = JSON.stringify({ data: { [key]: JSON.stringify(renewed) } });
  return new UserError("refused", `${triedText(record)}: over a day ago, so it is not done again by itself`, {
    effect: "nothing was changed",
    hints: [
      `if what is missing is to be restored now: kubectl patch configmap -n ${namespace} ${restoresName} --type merge -p '${patch}'`,
    ],
  });
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

function againText(record: RestoreRecord): string {
  const { state, at, by, storages } = record;
  const done = [storages].flat().join(", ");
  if (state === "restored")
    return `of this snapshot only ${done} was restored, lastly by ${by} at ${at.toISOString()}: what is missing is restored now`;
  return `${triedText(record)}: ${done === "" ? "it is done again" : `all but ${done} is done again`}`;
}

function triedText({ state, at, by, outcome }: RestoreRecord): string {
  const when = `${by} at ${at.toISOString()}`;
  return state === "started"
    ? `this restore was begun by ${when}, and never told its end`
    : `this restore was tried by ${when}, and failed (${outcome})`;
}
