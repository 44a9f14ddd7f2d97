/** How use-cases speak to whoever watches: a person's terminal, a log, or nobody. A task is one instance of a storage
 *  ("postgresql/kaa-postgresql") or one step ("verify"). Implementations never throw and never block. */
export interface Reporter {
  /** What will be started, in this order; the rest of the run is about these. May be called again: those that begin anew. */
  planned(tasks: readonly PlannedTask[]): void;
  /** A task has begun. `expectedBytes` beats what was planned. */
  started(task: string, facts: { readonly doing: string; readonly expectedBytes?: number }): void;
  /** Bytes moved for a task so far, in total, not since the last call. May be called very often; begins at 0 again when the
   *  task is tried again. */
  progressBytes(task: string, totalBytes: number): void;
  finished(task: string, summary: string): void;
  failed(task: string, error: unknown): void;
  /** Something the operator should know that does not change the outcome. */
  note(message: string): void;
  /** Something that is wrong, yet not fatal. */
  warning(message: string): void;
  /** What was decided or asked on the way, for those who want to know (--verbose). Never a secret. */
  detail(message: string): void;
}

export interface PlannedTask {
  readonly task: string;
  /** A guess; 0 or absent when there is none. */
  readonly expectedBytes?: number;
}
