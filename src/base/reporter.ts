/** How use-cases speak to whoever watches: a person's terminal, a log, or nobody. A task is one instance of a storage
 *  ("postgresql/kaa-postgresql") or one step ("verify"). Implementations never throw and never block. */
export interface Reporter {
  /** A task has begun; `expectedBytes` is a guess (from the last snapshot), when there is one. */
  started(task: string, facts: { readonly doing: string; readonly expectedBytes?: number }): void;
  /** Bytes moved for a task so far, in total, not since the last call. May be called very often. */
  progressBytes(task: string, totalBytes: number): void;
  finished(task: string, summary: string): void;
  failed(task: string, error: unknown): void;
  /** Something the operator should know that does not change the outcome. */
  note(message: string): void;
  /** Something that is wrong, yet not fatal. */
  warning(message: string): void;
}
