/** A restore that is done once: what declares "this snapshot is to be restored" may be applied again and again. What was
 *  restored is recorded in the namespace (record.ts), not in a Job, which goes. */
import { withEffect } from "./base/errors.ts";
import { withoutEnding } from "./catalog.ts";
import { type RestoreRecord, readRestore, recordRestore, restoreKey } from "./record.ts";
import type { RestoreOutcome, RestoreRequest } from "./restore.ts";
import { asUserError, type Scope } from "./storages.ts";

/** Thrown under the lock when another run has restored it in the meantime. */
class AlreadyRestored extends Error {
  readonly record: RestoreRecord;
  constructor(record: RestoreRecord) {
    super("already restored");
    this.record = record;
  }
}

const recordMs = 20_000;

/** Restores, unless the record says that this snapshot was restored into this namespace. One that failed, or was begun and
 *  never told its end, is done again: a restore may be repeated, for it begins by emptying its target.
 *  @param which `by`: who does it, for the record.
 *  @param work the restore, which must call `begin` as RestoreRequest says.
 *  @returns the record when there was nothing to do. */
export async function restoreOnce(
  which: { readonly date: string; readonly sourceNamespace: string; readonly by: string },
  scope: Pick<Scope, "cluster" | "namespace" | "reporter" | "signal">,
  work: (begin: NonNullable<RestoreRequest["begin"]>) => Promise<RestoreOutcome>,
): Promise<RestoreOutcome | RestoreRecord> {
  const { by } = which;
  const key = restoreKey(withoutEnding(which.date), which.sourceNamespace);
  const record = (state: RestoreRecord["state"], outcome: RestoreRecord["outcome"], signal: AbortSignal) =>
    recordRestore(scope, key, { state, outcome, by, at: new Date() }, signal);
  let hasBegun = false;

  const before = await readRestore(scope, key, scope.signal);
  if (before?.state === "restored") return before;
  if (before !== undefined) scope.reporter.note(againText(before));
  const begin = async (signal: AbortSignal) => {
    const now = await readRestore(scope, key, signal);
    if (now?.state === "restored") throw new AlreadyRestored(now);
    await record("started", "ok", signal);
    hasBegun = true;
  };

  let outcome: RestoreOutcome;
  try {
    outcome = await work(begin);
  } catch (error) {
    if (error instanceof AlreadyRestored) return error.record;
    // Also when the run was told to stop: the record needs a signal of its own.
    if (hasBegun) await record("failed", asUserError(error).outcome, AbortSignal.timeout(recordMs)).catch(() => {});
    throw error;
  }
  const [failure] = outcome.failures;
  const state = failure === undefined ? "restored" : "failed";
  await record(state, failure?.error.outcome ?? "ok", AbortSignal.timeout(recordMs)).catch((error: unknown) => {
    const effect = "the restore has ended, but that could not be recorded: the next run restores again";
    throw withEffect(error, effect);
  });
  return outcome;
}

function againText({ state, at, by, outcome }: RestoreRecord): string {
  const when = `${by} at ${at.toISOString()}`;
  return state === "started"
    ? `this restore was begun by ${when}, and never told its end: it is done again`
    : `this restore was tried by ${when}, and failed (${outcome}): it is done again`;
}
