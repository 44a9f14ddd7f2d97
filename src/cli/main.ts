/** The composition root: argv in, exit code out. The one place where errors become text and codes; nothing below prints or
 *  exits. Commands load what they need when they run, so that help and usage errors stay quick and touch no network. */
import yargs from "yargs";
import { messageOf, type Outcome, outcomes, UserError } from "../base/errors.ts";
import { createCommand } from "./create.ts";
import type { Io } from "./io.ts";
import { describeCommand, listCommand, verifyCommand } from "./list.ts";
import { oldCommand } from "./old.ts";
import { restoreCommand } from "./restore.ts";
import { storagesCommand } from "./storages.ts";
import { type TerminalReporter, terminalReporter } from "./terminal.ts";
import { printable } from "./text.ts";
import { tool } from "./version.ts";

/** What a command gets. */
export interface Session {
  readonly io: Io;
  readonly tool: typeof tool;
  readonly reporter: TerminalReporter;
  /** Runs a command's work and keeps its exit code or error. */
  run(flags: { readonly quiet?: boolean | undefined }, work: () => Promise<number>): Promise<void>;
  /** One JSON document on stdout. */
  print(value: object): void;
  /** Text on stdout, control characters made visible. */
  printText(text: string): void;
}

/** @param name how the program was called, for help texts: "kubectl kaa-backup". */
export async function run(argv: readonly string[], io: Io, name = "kubectl kaa-backup"): Promise<number> {
  let exitCode: number | undefined;
  let failure: unknown;
  let reporter: TerminalReporter | undefined;
  const session: Session = {
    io,
    tool,
    get reporter() {
      reporter ??= terminalReporter(io, { quiet: false });
      return reporter;
    },
    async run(flags, work) {
      reporter = terminalReporter(io, { quiet: flags.quiet === true });
      try {
        exitCode = await work();
      } catch (error) {
        failure = error;
      } finally {
        reporter.stop();
      }
    },
    print: (value) => io.stdout.write(`${JSON.stringify(value, null, 2)}\n`),
    printText: (text) => io.stdout.write(printable(text)),
  };
  const output = await parse(argv, session, name).catch((error: unknown) => {
    failure = error;
    return "";
  });
  if (output !== "") io.stdout.write(`${output}\n`);
  if (failure === undefined) return exitCode ?? outcomes.ok.code;
  const error = io.signal.aborted && io.signal.reason instanceof UserError ? io.signal.reason : failure;
  io.stderr.write(errorText(error, name));
  return error instanceof UserError ? error.exitCode : outcomes.internal.code;
}

/** @returns what yargs would print: help, or the version. */
async function parse(argv: readonly string[], session: Session, name: string): Promise<string> {
  const parser = yargs()
    .scriptName(name)
    .usage("$0 <command> [flags]\n\nBack up and restore a deployed Kaa IoT platform.")
    .command(createCommand(session))
    .command(listCommand(session))
    .command(describeCommand(session))
    .command(verifyCommand(session))
    .command(restoreCommand(session))
    .command(storagesCommand(session))
    .command(oldCommand(session))
    .demandCommand(1, "Which command?")
    .strict()
    .recommendCommands()
    .version(tool.version)
    .help()
    .alias("help", "h")
    .parserConfiguration({ "duplicate-arguments-array": false, "parse-numbers": true })
    .wrap(110)
    .exitProcess(false)
    .fail((message, error) => {
      if (error instanceof UserError) throw error;
      throw new UserError("usage", message || messageOf(error), { hints: [`${name} --help`] });
    });
  let printed = "";
  await parser.parseAsync([...argv], (_error: unknown, _parsed: unknown, output: string) => {
    printed = output;
  });
  return printed;
}

/** what / effect on data / cause / what to try */
export function errorText(error: unknown, name: string): string {
  const outcome: Outcome = error instanceof UserError ? error.outcome : "internal";
  const lines = [`error ${outcome}: ${messageOf(error)}`];
  if (error instanceof UserError) {
    if (error.effect !== undefined) lines.push(`  effect: ${error.effect}`);
    const cause = error.cause === undefined ? "" : messageOf(error.cause).trim().slice(-2000);
    if (cause !== "" && !error.message.includes(cause))
      lines.push(`  cause:  ${cause.replaceAll("\n", "\n          ")}`);
    for (const hint of error.hints) lines.push(`  try:    ${hint}`);
  } else {
    lines.push(`  this is a defect of ${name}; please report it with what follows`);
    if (error instanceof Error && error.stack !== undefined) lines.push(error.stack);
  }
  return `${printable(lines.join("\n"))}\n`;
}
