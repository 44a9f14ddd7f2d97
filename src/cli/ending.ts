/** Why a run ended, as it is told to users: by `main` and by those who report on runs. */
import { isOutcome, messageOf, outcomeOr, UserError } from "../base/errors.ts";

/** @param failure what was thrown. A UserError, unless it is a defect. */
export function endOf(failure: unknown, signal: AbortSignal): unknown {
  return asToldToUsers(reasonOf(failure, signal));
}

/** Why a run ended: when it was told to stop, that is why, whatever broke in stopping; but what is left behind is said. */
function reasonOf(failure: unknown, { aborted, reason }: AbortSignal): unknown {
  if (!aborted || isOutcome(failure, "leftovers")) return failure;
  if (!(reason instanceof UserError)) return reason; // a defect has stopped it
  if (isOutcome(failure, reason.outcome)) return failure;
  const effect = failure instanceof UserError ? failure.effect : undefined;
  return effect === undefined ? reason : new UserError(reason.outcome, reason.message, { effect });
}

/** What no code below has expected, unless this process has run out of something. */
function asToldToUsers(failure: unknown): unknown {
  if (failure instanceof UserError || outcomeOr("internal", failure) === "internal") return failure;
  return new UserError("resources", messageOf(failure), {
    cause: failure,
    hints: ["allow more open files: ulimit -n"],
  });
}
