/** The parser: the commands' flags, and what is not said in any of them. */

import yargs, { type Arguments, type Argv, type MiddlewareFunction } from "yargs";
import { messageOf, UserError } from "../base/errors.ts";
import { emptyValue, helpColumns } from "./command.ts";
import { generalFlags } from "./flags.ts";
import { usageError } from "./usage-error.ts";
import { homepage, versionText } from "./version.ts";

/** yargs' middleware, with what its types leave out: the parser's own view of the command that runs. */
export type CompleteFlags = (
  flags: Record<string, unknown>,
  parser: {
    readonly parsed: { readonly defaulted: Readonly<Record<string, boolean>> };
    getOptions(): { readonly key: object };
  },
) => Promise<void>;

export type AddCommands = (parser: Argv) => void;

/** @returns what yargs would print: help, or the version.
 *  @throws UserError `usage`. */
export async function parse(
  argv: readonly string[],
  options: { readonly addCommands: AddCommands; readonly name: string; readonly completeFlags: CompleteFlags },
): Promise<string> {
  const { addCommands, name, completeFlags } = options;
  const parser: Argv = yargs();
  parser
    .scriptName(name)
    .usage("$0 <command> [flags]\n\nBack up and restore a deployed Kaa IoT platform.")
    .epilogue(`Begin with "doctor". COMMAND --help tells flags, examples and exit codes. Documentation: ${homepage}`)
    .option("config", { ...generalFlags.config, requiresArg: true })
    .middleware(completeFlags as unknown as MiddlewareFunction)
    .demandCommand(1, "Which command?")
    .strict()
    .version("version", generalFlags.version.describe, versionText())
    .help("help", generalFlags.help.describe)
    .alias("help", generalFlags.help.alias)
    .parserConfiguration({ "camel-case-expansion": false, "greedy-arrays": false, "parse-numbers": true })
    .middleware((given) => {
      refuseUnclear(argv, parser);
      keepLast(given, parser);
    }, true)
    .wrap(helpColumns)
    .exitProcess(false)
    .fail((message, error) => {
      if (error instanceof UserError) throw error;
      throw usageError(message || messageOf(error), argv, name);
    });
  addCommands(parser);
  let printed = "";
  await parser.parseAsync([...argv], (_error: unknown, _parsed: unknown, output: string) => {
    printed = output;
  });
  return printed;
}

/** yargs takes any other text of a switch for false, and a number's empty one for 0: kubectl's `--dry-run=client` would change
 *  things, and a rule with a forgotten variable would be none.
 *  @throws UserError `usage`. */
function refuseUnclear(argv: readonly string[], parser: Argv): void {
  const { boolean, number, alias } = optionsOf(parser);
  const has = (flags: readonly string[], name: string) =>
    flags.some((flag) => flag === name || alias[flag]?.includes(name));
  const end = argv.includes("--") ? argv.indexOf("--") : argv.length;
  for (const [index, each] of argv.slice(0, end).entries()) {
    const [, dashed, name = "", value] = /^(--?([^=]+))(?:=(.*))?$/s.exec(each) ?? [];
    if (dashed === undefined) continue;
    if (has(boolean, name) && value !== undefined && !/^(true|false)$/.test(value))
      throw new UserError("usage", `${dashed}: "${value}" is neither true nor false`);
    if (has(number, name) && (value ?? argv[index + 1])?.trim() === "") throw emptyValue(`${dashed}: the value`);
  }
}

/** The flags of the command that runs, by how they are read. */
function optionsOf(parser: Argv): {
  readonly array: readonly string[];
  readonly boolean: readonly string[];
  readonly number: readonly string[];
  readonly alias: Readonly<Record<string, readonly string[]>>;
} {
  return (parser as unknown as { getOptions(): ReturnType<typeof optionsOf> }).getOptions(); // not in its types
}

/** As in kubectl: a flag that is given twice has its last value, a list has all of them. yargs can do either for both. */
function keepLast(given: Arguments, parser: Argv): void {
  const lists = new Set(["_", "--", ...optionsOf(parser).array]);
  for (const [flag, value] of Object.entries(given))
    if (Array.isArray(value) && !lists.has(flag)) given[flag] = value.at(-1);
}
