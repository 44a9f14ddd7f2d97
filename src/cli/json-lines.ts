/** How use-cases are shown to programs: one JSON object a line. docs/progress.md is the contract; `schema` changes when a
 *  reader of it would have to. */
import { messageOf, outcomes, UserError } from "../base/errors.ts";
import { Board, type Task } from "./board.ts";
import type { Io } from "./io.ts";
import type { CliReporter } from "./reporter.ts";
import { escaped } from "./text.ts";

export const logSchema = 1;
const progressMs = 10_000;

export function jsonReporter(io: Io, options: { readonly quiet: boolean; readonly verbose: boolean }): CliReporter {
  const board = new Board();
  const write = (messageType: string, facts: object) => io.stderr.write(logLine(messageType, facts));
  const writeUnlessQuiet = (messageType: string, facts: object) => {
    if (!options.quiet) write(messageType, facts);
  };
  let timer: NodeJS.Timeout | undefined;
  const beat = () => {
    for (const task of board.running) {
      writeUnlessQuiet("progress", {
        ...progressOf(task),
        ...(task.expectedBytes > 0 && { expected_bytes: task.expectedBytes }),
        ...(task.leftMs !== undefined && { seconds_left: Math.round(task.leftMs / 1000) }),
      });
    }
  };
  return {
    planned: (tasks) => board.plan(tasks),
    started(name, facts) {
      board.start(name, facts);
      timer ??= setInterval(beat, progressMs).unref();
      const { expectedBytes = 0 } = board.running.find((each) => each.name === name) ?? {};
      writeUnlessQuiet("started", {
        task: name,
        doing: facts.doing,
        ...(expectedBytes > 0 && { expected_bytes: expectedBytes }),
      });
    },
    progressBytes: (name, totalBytes) => board.progress(name, totalBytes),
    finished: (name, summary) =>
      writeUnlessQuiet("finished", { ...progressOf(board.end(name, "done", summary)), summary }),
    failed(name, error) {
      const task = board.end(name, "failed", messageOf(error));
      write("failed", { ...progressOf(task), ...errorFacts(error) });
    },
    note: (message) => writeUnlessQuiet("note", { message }),
    warning: (message) => write("warning", { message }),
    detail(message) {
      if (options.verbose) write("detail", { message });
    },
    stop() {
      clearInterval(timer);
      timer = undefined;
      const ended = board.clear();
      if (ended.length === 0) return;
      const tasks = ended.map((task) => ({ ...progressOf(task), state: task.state }));
      writeUnlessQuiet("summary", { tasks, bytes: ended.reduce((sum, each) => sum + each.bytes, 0) });
    },
    say: (text) => write("note", { message: text }),
  };
}

/** The last line of a run that failed. */
export function exitErrorLine(error: unknown): string {
  const { exitCode } = error instanceof UserError ? error : { exitCode: outcomes.internal.code };
  const stack = error instanceof Error && !(error instanceof UserError) ? error.stack : undefined;
  return logLine("exit_error", { ...errorFacts(error), exit_code: exitCode, ...(stack !== undefined && { stack }) });
}

function logLine(messageType: string, facts: object): string {
  const head = { schema: logSchema, time: new Date().toISOString(), message_type: messageType };
  return escaped(`${JSON.stringify({ ...head, ...facts })}\n`);
}

function progressOf({ name, bytes, elapsedMs, bytesPerSecond }: Task) {
  return {
    task: name,
    bytes,
    elapsed_ms: Math.round(elapsedMs),
    bytes_per_second: Math.round(bytesPerSecond),
  };
}

function errorFacts(error: unknown) {
  if (!(error instanceof UserError)) return { outcome: "internal", message: messageOf(error), hints: [] };
  return {
    outcome: error.outcome,
    message: error.message,
    ...(error.effect !== undefined && { effect: error.effect }),
    ...(error.cause !== undefined && { cause: messageOf(error.cause).trim().slice(-longestCause) }),
    hints: error.hints,
  };
}

const longestCause = 2000;
