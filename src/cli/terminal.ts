/** How use-cases are shown to people. On a terminal one line moves: what runs now, with bytes and rate. Elsewhere, and in
 *  CI, there is one plain line for each step, and a heartbeat so that a log never falls silent. Everything ends with a line
 *  that stays. No colour when NO_COLOR is set. */
import { Chalk } from "chalk";
import ora, { type Ora } from "ora";
import { messageOf } from "../base/errors.ts";
import type { Reporter } from "../base/reporter.ts";
import type { Io } from "./io.ts";
import { durationText, printable, sizeText } from "./text.ts";

const heartbeatMs = 30_000;
const redrawMs = 200;

interface Task {
  readonly doing: string;
  readonly startedAt: number;
  readonly expectedBytes: number;
  bytes: number;
}

export interface TerminalReporter extends Reporter {
  /** Ends the moving line. Must be called before anything else is written. */
  stop(): void;
}

export function terminalReporter(io: Io, options: { readonly quiet: boolean }): TerminalReporter {
  const chalk = new Chalk({ level: io.isAnimated && !io.env["NO_COLOR"] ? 1 : 0 });
  const tasks = new Map<string, Task>();
  const spinner: Ora | undefined =
    io.isAnimated && !options.quiet ? ora({ stream: io.stderr, discardStdin: false }) : undefined;
  let drawnAt = 0;

  const line = (text: string) => {
    spinner?.clear();
    io.stderr.write(`${printable(text)}\n`);
  };
  const lineUnlessQuiet = (text: string) => {
    if (!options.quiet) line(text);
  };
  const redraw = (now: boolean) => {
    if (spinner === undefined || (!now && Date.now() - drawnAt < redrawMs)) return;
    drawnAt = Date.now();
    spinner.text = printable([...tasks].map(([name, task]) => `${name} ${progressText(task)}`).join("  "));
    if (tasks.size === 0) spinner.stop();
    else if (!spinner.isSpinning) spinner.start();
  };
  const heartbeat = setInterval(() => {
    if (spinner === undefined)
      for (const [name, task] of tasks) lineUnlessQuiet(`${name}: ${task.doing}, ${progressText(task)}`);
  }, heartbeatMs);
  heartbeat.unref();

  return {
    started(name, { doing, expectedBytes }) {
      tasks.set(name, { doing, startedAt: Date.now(), expectedBytes: expectedBytes ?? 0, bytes: 0 });
      if (spinner === undefined) lineUnlessQuiet(`${name}: ${doing}`);
      redraw(true);
    },
    progressBytes(name, totalBytes) {
      const task = tasks.get(name);
      if (task !== undefined) task.bytes = totalBytes;
      redraw(false);
    },
    finished(name, summary) {
      const task = tasks.get(name);
      tasks.delete(name);
      lineUnlessQuiet(`${chalk.green("ok")} ${name}: ${summary}${task === undefined ? "" : ` (${finalText(task)})`}`);
      redraw(true);
    },
    failed(name, error) {
      tasks.delete(name);
      line(`${chalk.red("failed")} ${name}: ${messageOf(error)}`);
      redraw(true);
    },
    note: (message) => lineUnlessQuiet(message),
    warning: (message) => line(`${chalk.yellow("warning")} ${message}`),
    stop() {
      clearInterval(heartbeat);
      spinner?.stop();
    },
  };
}

function progressText(task: Task): string {
  const elapsedMs = Date.now() - task.startedAt;
  const rate = elapsedMs > 500 ? `, ${sizeText((task.bytes * 1000) / elapsedMs)}/s` : "";
  const of = task.expectedBytes > 0 ? ` of about ${sizeText(task.expectedBytes)}` : "";
  return `${sizeText(task.bytes)}${of}${rate}, ${durationText(elapsedMs)}`;
}

function finalText(task: Task): string {
  const elapsedMs = Date.now() - task.startedAt;
  return `${sizeText(task.bytes)} in ${durationText(elapsedMs)}`;
}
