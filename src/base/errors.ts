/** Every way this program can end: the one table from which code, documentation and tests take exit codes.
 *  Codes are stable for ever and never reused. `retry` says what a scheduler may do with the failed run. */
export const outcomes = {
  ok: { code: 0, meaning: "complete and verified", retry: "no" },
  internal: { code: 1, meaning: "a defect in this program", retry: "no" },
  usage: { code: 2, meaning: "wrong flags, configuration, names or dates", retry: "no" },
  attention: { code: 3, meaning: "ended, but something needs a look: a partial snapshot, a failed copy", retry: "no" },
  "invalid-snapshot": { code: 4, meaning: "the snapshot is damaged, cut, hostile or of a newer format", retry: "no" },
  "not-found": { code: 5, meaning: "no such snapshot, namespace or directory", retry: "no" },
  cluster: { code: 6, meaning: "the Kubernetes API cannot be reached or speaks no supported protocol", retry: "yes" },
  forbidden: { code: 7, meaning: "Kubernetes refused it; the missing RBAC rule is printed", retry: "no" },
  "storage-not-ready": { code: 8, meaning: "a pod is missing, ambiguous or lacks a tool", retry: "once" },
  "storage-failed": { code: 9, meaning: "a dump or restore command failed or its output is incomplete", retry: "once" },
  "stream-lost": { code: 10, meaning: "the connection to a pod was lost before the result", retry: "yes" },
  busy: { code: 11, meaning: "locked by another run, or the snapshot's name is taken", retry: "later" },
  credentials: {
    code: 12,
    meaning: "credentials are wrong, missing or expired, or the bucket is somebody else's",
    retry: "no",
  },
  "object-store": { code: 13, meaning: "S3 failed", retry: "yes" },
  "local-disk": { code: 14, meaning: "the directory is full, read-only or failing", retry: "no" },
  refused: { code: 16, meaning: "refused as unsafe: not confirmed, wrong namespace", retry: "no" },
  deadline: { code: 17, meaning: "a time or size ceiling was reached", retry: "yes" },
  leftovers: { code: 18, meaning: "cleaning up failed; what is left is listed", retry: "no" },
  resources: { code: 20, meaning: "out of memory or file descriptors", retry: "no" },
  "hung-up": { code: 129, meaning: "stopped by SIGHUP, cleaned up", retry: "policy" },
  interrupted: { code: 130, meaning: "stopped by Ctrl-C or at a prompt, cleaned up", retry: "policy" },
  terminated: { code: 143, meaning: "stopped by SIGTERM, cleaned up", retry: "policy" },
} as const satisfies Record<string, { code: number; meaning: string; retry: string }>;

export type Outcome = keyof typeof outcomes;

/** What an error may carry beyond its one-line message. */
export interface ErrorFacts {
  /** What the failure did to data: "no snapshot was published; earlier snapshots are unchanged". */
  readonly effect?: string;
  /** What to try, one suggestion a line. Drivers state facts; hints that name flags are added in cli/. */
  readonly hints?: readonly string[];
  /** The underlying error, or the remote side's own words (already redacted where they enter). */
  readonly cause?: unknown;
  /** "postgresql/kaa-postgresql" when the failure belongs to one instance. */
  readonly instance?: string;
}

/** An error an operator can act on. Anything else that reaches the top is reported as `internal`. */
export class UserError extends Error {
  readonly outcome: Outcome;
  readonly effect: string | undefined;
  readonly hints: readonly string[];
  readonly instance: string | undefined;

  constructor(outcome: Outcome, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = "UserError";
    this.outcome = outcome;
    this.effect = facts.effect;
    this.hints = facts.hints ?? [];
    this.instance = facts.instance;
  }

  /** The same error with the place where it happened in front of its message. */
  in(place: string): UserError {
    return new UserError(this.outcome, `${place}: ${this.message}`, {
      hints: this.hints,
      cause: this.cause,
      ...(this.effect !== undefined && { effect: this.effect }),
      ...(this.instance !== undefined && { instance: this.instance }),
    });
  }

  get exitCode(): number {
    return outcomes[this.outcome].code;
  }
}

/** True for a UserError of one of the given outcomes. */
export function isOutcome(error: unknown, ...wanted: readonly Outcome[]): error is UserError {
  return error instanceof UserError && wanted.includes(error.outcome);
}

/** The same error, saying what it did to data unless it says so already. What is no UserError stays as it is. */
export function withEffect(error: unknown, effect: string): unknown {
  if (!(error instanceof UserError) || error.effect !== undefined) return error;
  return new UserError(error.outcome, error.message, {
    hints: error.hints,
    cause: error.cause,
    effect,
    ...(error.instance !== undefined && { instance: error.instance }),
  });
}

/** `resources` when this process has run out of file descriptors or memory, which is not the fault of what it was about to
 *  do; else `otherwise`. */
export function outcomeOr(otherwise: Outcome, error: unknown): Outcome {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && ["EMFILE", "ENFILE", "ENOMEM"].includes(String(cause.code))) return "resources";
  }
  return otherwise;
}

/** Anything thrown, or given as a signal's reason, as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** The message of anything thrown, without a stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
