/** What the command line needs of a reporter beyond what use-cases say. Two views of the same facts: for people (terminal.ts)
 *  and for programs (json-lines.ts). Both write to stderr. */
import type { Reporter } from "../base/reporter.ts";

export interface CliReporter extends Reporter {
  /** Ends a phase: no line moves any more, and a table says what became of the planned tasks. Must be called before anything
   *  else writes to the terminal. Another phase may follow. */
  stop(): void;
  /** What even --quiet does not hide, of one line or several: the plan of a restore, that the run stops. */
  say(text: string): void;
}

/** Without a terminal, a sign of life so often. */
export const heartbeatMs = 30_000;
