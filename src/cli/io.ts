/** The outside world as the command line sees it, handed in so that tests can watch. stdout carries data only; progress,
 *  questions and errors go to stderr. */
export interface Io {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Both ends of a conversation: stdin and stderr are terminals. */
  readonly isInteractive: boolean;
  /** stderr is a terminal that can move its cursor. */
  readonly isAnimated: boolean;
  /** Fires with a UserError when the process is told to stop. */
  readonly signal: AbortSignal;
  /** Fires when it is told so once more, and the process is about to leave: what is written then must be written at once. */
  readonly leaving?: AbortSignal;
}
