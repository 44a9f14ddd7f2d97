/** The moving lines and the table at the end, as text. */
import type { ChalkInstance } from "chalk";
import cliTruncate from "cli-truncate";
import stringWidth from "string-width";
import type { Task } from "./board.ts";
import { columnGap, durationText, padColumns, printableLine, sizeText, tableText } from "./text.ts";

/** Before that, a rate says more about the clock than about the storage. */
const steadyMs = 1000;

/** One line for each task, cut to the width of the terminal; over them, when tasks were planned, one for the run.
 *  @param columns of the terminal; `indent` of them are taken on the first line. */
export function progressLines(
  tasks: readonly Task[],
  {
    elapsedMs,
    columns,
    indent,
    chalk,
  }: {
    readonly elapsedMs: number;
    readonly columns: number;
    readonly indent: number;
    readonly chalk: ChalkInstance;
  },
): readonly string[] {
  // The last column stays free: some terminals begin a new line as soon as it is filled.
  const width = Math.max(10, columns - 1);
  const longestName = Math.max(12, Math.floor(width / 2));
  const names = tasks.map((each) => cliTruncate(printableLine(each.name), longestName, { position: "middle" }));
  const nameWidth = Math.max(0, ...names.map((each) => stringWidth(each)));
  const stateWidth = Math.max(0, ...tasks.map((each) => stringWidth(wordOf(each))));
  const rows = tasks.map((task, index) => {
    const state = colorOf(task.state, chalk)(padColumns(wordOf(task), stateWidth));
    return `${padColumns(names[index] ?? "", nameWidth)}  ${state}  ${chalk.dim(progressText(task))}`;
  });
  const lines = tasks.some((each) => each.isPlanned)
    ? [runText(tasks, elapsedMs), ...rows.map((row) => `  ${row}`)]
    : rows;
  return lines.map((line, index) => cliTruncate(line.trimEnd(), index === 0 ? width - indent : width));
}

function runText(tasks: readonly Task[], elapsedMs: number): string {
  const count = (state: Task["state"]) => tasks.filter((each) => each.state === state).length;
  const bytes = tasks.reduce((sum, each) => sum + each.bytes, 0);
  const failed = count("failed") === 0 ? "" : `, ${count("failed")} failed`;
  return `${count("done")} of ${tasks.length} done${failed}, ${sizeText(bytes)}, ${durationText(elapsedMs)}`;
}

/** "dumping", or how it ended. */
function wordOf(task: Task): string {
  return task.state === "running" ? printableLine(task.doing) : task.state;
}

function colorOf(state: Task["state"], chalk: ChalkInstance): (text: string) => string {
  return { waiting: chalk.dim, running: chalk.cyan, done: chalk.green, failed: chalk.red, stopped: chalk.yellow }[
    state
  ];
}

/** "340.1 MiB of about 1.1 GiB, 85.0 MiB/s, 9 s left" */
export function progressText(task: Task): string {
  if (task.state === "waiting") return "";
  if (task.state === "failed") return printableLine(task.summary);
  if (task.state !== "running") return finalText(task);
  const isSteady = task.elapsedMs >= steadyMs;
  const of = task.expectedBytes > task.bytes ? ` of about ${sizeText(task.expectedBytes)}` : "";
  const rate = isSteady ? `, ${sizeText(Math.round(task.bytesPerSecond))}/s` : "";
  const left = isSteady && task.leftMs !== undefined ? `, ${durationText(task.leftMs)} left` : "";
  return `${sizeText(task.bytes)}${of}${rate}${left}`;
}

/** "1.1 GiB in 13 s" */
export function finalText(task: Task): string {
  return `${sizeText(task.bytes)} in ${durationText(task.elapsedMs)}`;
}

const longestContents = 500;

/** What became of the planned tasks. The last column is cut, or left out, so that a row fits.
 *  @param columns of the terminal, when there is one. */
export function summaryTable(tasks: readonly Task[], columns: number | undefined): string {
  const head = ["STORAGE", "STATE", "BYTES", "DURATION", "RATE"];
  const rows = tasks.map((task) => {
    if (task.state === "waiting") return [task.name, "not started", "-", "-", "-"].map(printableLine);
    const rate = task.elapsedMs > 0 && task.bytes > 0 ? `${sizeText(Math.round(task.bytesPerSecond))}/s` : "-";
    return [task.name, task.state, sizeText(task.bytes), durationText(task.elapsedMs), rate].map(printableLine);
  });
  const narrow = tableText([head, ...rows]);
  const taken = Math.max(...narrow.split("\n").map((each) => stringWidth(each))) + columnGap.length;
  const room = columns === undefined ? longestContents : columns - taken;
  if (room < "CONTENTS".length) return narrow;
  const contents = tasks.map((task) => (task.state === "done" ? cliTruncate(printableLine(task.summary), room) : ""));
  return tableText([[...head, "CONTENTS"], ...rows.map((row, index) => [...row, contents[index] ?? ""])]);
}
