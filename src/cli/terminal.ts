/** How use-cases are shown to people. On a terminal one line for each storage, redrawn together: what it does, how far it
 *  is, how long it will take. Elsewhere, and in CI, one plain line for each step, and a heartbeat so that a log never falls
 *  silent. Either way a table at the end. */
import { Chalk } from "chalk";
import ora, { type Ora } from "ora";
import stringWidth from "string-width";
import { messageOf } from "../base/errors.ts";
import { Board } from "./board.ts";
import type { Io } from "./io.ts";
import { finalText, progressLines, progressText, summaryTable } from "./progress.ts";
import { type CliReporter, heartbeatMs } from "./reporter.ts";
import { printable, printableLine } from "./text.ts";

const redrawMs = 250;
/** What ora puts in front of the first line: the moving sign and a space. */
const spinnerColumns = 2;

export function terminalReporter(
  io: Io,
  options: { readonly quiet: boolean; readonly verbose: boolean; readonly color: boolean },
): CliReporter {
  const chalk = new Chalk({ level: options.color ? 1 : 0 });
  const board = new Board();
  const block = io.isAnimated && !options.quiet ? movingBlock(io, () => linesNow(), options.color) : undefined;
  let startedMs = performance.now();
  let heartbeat: NodeJS.Timeout | undefined;

  const linesNow = () =>
    progressLines(board.tasks, {
      elapsedMs: performance.now() - startedMs,
      columns: columnsOf(io),
      indent: spinnerColumns,
      chalk,
    });
  // ora takes the block away before anything else is written, and puts it below that.
  const line = (text: string) => io.stderr.write(`${text}\n`);
  const lineUnlessQuiet = (text: string) => {
    if (!options.quiet) line(text);
  };
  const beat = () => {
    for (const task of board.running)
      lineUnlessQuiet(`${printableLine(task.name)}: ${printableLine(task.doing)}, ${progressText(task)}`);
  };
  const begin = () => {
    block?.show();
    if (block === undefined) heartbeat ??= setInterval(beat, heartbeatMs).unref();
  };

  return {
    planned(tasks) {
      if (board.tasks.length === 0) startedMs = performance.now();
      board.plan(tasks);
    },
    started(name, facts) {
      board.start(name, facts);
      if (block === undefined) lineUnlessQuiet(`${printableLine(name)}: ${printableLine(facts.doing)}`);
      begin();
    },
    progressBytes: (name, totalBytes) => board.progress(name, totalBytes),
    finished(name, summary) {
      const task = board.end(name, "done", summary);
      if (block === undefined || !task.isPlanned)
        lineUnlessQuiet(`${chalk.green("ok")} ${printableLine(name)}: ${printableLine(summary)} (${finalText(task)})`);
      if (board.tasks.length === 0) block?.hide();
    },
    failed(name, error) {
      board.end(name, "failed", messageOf(error));
      line(`${chalk.red("failed")} ${printableLine(name)}: ${printable(messageOf(error))}`);
    },
    note: (message) => lineUnlessQuiet(printable(message)),
    warning: (message) => line(`${chalk.yellow("warning")} ${printable(message)}`),
    detail(message) {
      if (options.verbose) line(chalk.dim(printable(message)));
    },
    stop() {
      clearInterval(heartbeat);
      heartbeat = undefined;
      block?.hide();
      const ended = board.clear();
      if (options.quiet || ended.every((each) => each.elapsedMs === 0)) return; // nothing has begun
      line(summaryTable(ended, block === undefined ? undefined : columnsOf(io)).trimEnd());
    },
    say: (text) => line(printable(text)),
  };
}

/** Lines that are drawn again and again at the bottom of the terminal. Whatever else is written appears above them. */
function movingBlock(io: Io, lines: () => readonly string[], color: boolean) {
  const spinner: Ora = ora({
    stream: io.stderr,
    isEnabled: true,
    discardStdin: false, // raw mode would take Ctrl-C away from the signal handler
    color: color ? "cyan" : false,
  });
  let timer: NodeJS.Timeout | undefined;
  const draw = () => {
    // The cursor waits on an empty line: terminals differ in whether they break the line it is on.
    spinner.text = `${lines().join("\n")}\n`;
    if (spinner.isSpinning) spinner.render();
  };
  /** A terminal that became narrower has broken the lines in two, and ora takes away as many as it has drawn. */
  const narrowed = () => {
    const rows = spinner.text.split("\n").map((each, index) => stringWidth(each) + (index === 0 ? spinnerColumns : 0));
    const more = rows.reduce((sum, width) => sum + Math.max(0, Math.ceil(width / columnsOf(io)) - 1), 0);
    if (more === 0 || doesNotReflow(io)) return;
    spinner.clear();
    io.stderr.write(`\u001B[${more}A\r\u001B[J`); // so many rows up, and empty from there
  };
  return {
    show() {
      draw();
      if (spinner.isSpinning) return;
      timer = setInterval(draw, redrawMs).unref();
      io.stderr.on("resize", narrowed);
      spinner.start();
    },
    hide() {
      clearInterval(timer);
      io.stderr.off("resize", narrowed);
      spinner.stop();
    },
  };
}

function columnsOf(io: Io): number {
  const { columns } = io.stderr as { readonly columns?: number }; // a tty.WriteStream has it, and keeps it up to date
  return columns ?? 80;
}

/** xterm itself and the console of Linux cut lines instead; what is above them is not ours. */
function doesNotReflow({ env }: Io): boolean {
  return env["XTERM_VERSION"] !== undefined || env["TERM"] === "linux";
}
