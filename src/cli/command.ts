/** What a command is: its words, flags and examples. The parser, `--help`, shell completion and docs/commands are made from
 *  this one description. */
import type { Argv, InferredOptionTypes, Options, PositionalOptions } from "yargs";
import { type Outcome, outcomes, UserError } from "../base/errors.ts";
import { clusterFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import type { ReporterFlags } from "./open-reporter.ts";

export type FlagTable = Readonly<Record<string, Options>>;
export type Flags<T extends FlagTable> = InferredOptionTypes<T>;

export interface CommandSpec {
  /** With its positional arguments, as yargs has them: "describe <date>". */
  readonly command: string;
  readonly aliases?: readonly string[];
  /** One line, for the list of commands. */
  readonly describe: string;
  /** What that line leaves out, in a few sentences. */
  readonly details: string;
  readonly positionals?: Readonly<Record<string, PositionalOptions>>;
  /** Flags by the heading that they stand under, in the order in which they are shown. */
  readonly groups: Readonly<Record<string, FlagTable>>;
  /** What is typed behind the program's name, and what it does. */
  readonly examples: readonly (readonly [typed: string, does: string])[];
  /** How it may end, but for ways that every command has. */
  readonly outcomes: readonly Outcome[];
}

type AllOf<Union> = (Union extends unknown ? (each: Union) => void : never) extends (all: infer All) => void
  ? All
  : never;

/** What the parser makes of a command line. */
export type ParsedOf<S extends CommandSpec> = AllOf<InferredOptionTypes<S["groups"][keyof S["groups"]]>> &
  (S extends { readonly positionals: infer P extends Record<string, PositionalOptions> }
    ? InferredOptionTypes<P>
    : unknown);

/** Ends that no command can rule out. */
export const generalOutcomes: readonly Outcome[] = [
  "ok",
  "internal",
  "usage",
  "resources",
  "hung-up",
  "interrupted",
  "terminated",
];

/** All ends of a command, in the order of the table. */
export function outcomesOf(spec: CommandSpec): readonly Outcome[] {
  const possible = new Set([...generalOutcomes, ...spec.outcomes]);
  return (Object.keys(outcomes) as Outcome[]).filter((each) => possible.has(each)); // the keys of the table
}

/** "describe" */
export function nameOf({ command }: Pick<CommandSpec, "command">): string {
  return command.split(" ")[0] ?? command;
}

export interface Command {
  readonly spec: CommandSpec;
  addTo(parser: Argv, session: Session): Argv;
}

export function defineCommand<const S extends CommandSpec>(
  spec: S,
  work: (session: Session, flags: ParsedOf<S>) => Promise<number>,
): Command {
  return {
    spec,
    addTo: (parser, session) =>
      parser.command<ParsedOf<S>>({
        command: spec.command,
        aliases: spec.aliases ?? [],
        describe: spec.describe,
        builder: (yargs) => build(yargs, spec) as Argv<ParsedOf<S>>, // ParsedOf says what these flags give
        // Every command has outputFlags; yargs only adds to what is parsed.
        handler: (flags) =>
          session.run(flags as ReporterFlags, () => {
            refuseEmpty(spec, flags);
            return work(session, flags as unknown as ParsedOf<S>);
          }),
      }),
  };
}

/** An empty value is a variable that a script has forgotten to set: it must not choose what is dumped, replaced or removed.
 *  kubectl takes it for none, and so do we with kubectl's flags, but for --namespace. Nobody's release begins with nothing.
 *  @throws UserError `usage`. */
function refuseEmpty(spec: CommandSpec, given: Readonly<Record<string, unknown>>): void {
  for (const flags of Object.values(spec.groups)) {
    for (const flag of Object.keys(flags)) {
      const values = [given[flag]].flat();
      if (!values.includes("") || Object.hasOwn(clusterFlags, flag) || flag === "release-name-prefix") continue;
      throw emptyValue(`--${flag}: the value`);
    }
  }
}

/** @param what is empty: "--bucket: the value". */
export function emptyValue(what: string): UserError {
  return new UserError("usage", `${what} is empty`, { hints: ["is a variable not set?"] });
}

/** The details, each paragraph on one line, but lists. */
export function paragraphsOf({ details }: Pick<CommandSpec, "details">): readonly string[] {
  return details.split("\n\n").map((each) => (/^- /m.test(each) ? each : each.replaceAll("\n", " ")));
}

export const helpColumns = 110;

function wrapped(paragraph: string): string {
  if (/^- /m.test(paragraph)) return paragraph;
  return paragraph.replaceAll(new RegExp(`(.{1,${helpColumns}})(?: |$)`, "g"), "$1\n").trimEnd();
}

/** Without this the parser takes a flag at the end of the line, its value forgotten, for one that was not given. */
export function withValues(flags: FlagTable): { [flag: string]: Options } {
  const takesValue = ({ type }: Options) => type !== "boolean";
  return Object.fromEntries(
    Object.entries(flags).map(([flag, options]) => [flag, { ...options, requiresArg: takesValue(options) }]),
  );
}

function build(yargs: Argv, spec: CommandSpec): Argv {
  yargs.usage(`$0 ${spec.command} [flags]\n\n${spec.describe}.\n\n${paragraphsOf(spec).map(wrapped).join("\n\n")}`);
  for (const [name, options] of Object.entries(spec.positionals ?? {})) yargs.positional(name, options);
  for (const [heading, flags] of Object.entries(spec.groups))
    yargs.options(withValues(flags)).group(Object.keys(flags), `${heading}:`);
  for (const [typed, does] of spec.examples) yargs.example(`$0 ${typed}`, does);
  const codes = outcomesOf(spec).map((each) => `${outcomes[each].code} ${each}`);
  return yargs.epilogue(`Exit codes: ${codes.join(", ")}`);
}
