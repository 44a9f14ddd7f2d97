/** What is wrong with a command line, and what was probably meant. The parser tells it in sentences of its own (yargs'
 *  locales/en.json); what is not among them here stays as it is. */
import { UserError } from "../base/errors.ts";
import { type CommandSpec, nameOf } from "./command.ts";
import { commands } from "./commands.ts";
import { generalFlags } from "./flags.ts";
import { nearest } from "./nearest.ts";

/** @param message what the parser says.
 *  @param name how the program was called. */
export function usageError(message: string, argv: readonly string[], name: string): UserError {
  const spec = specIn(argv);
  const help = helpOf(argv, name);
  const fail = (text: string, meant: string | undefined) =>
    new UserError("usage", text, { hints: meant === undefined ? [help] : [`did you mean ${meant}?`, help] });

  const [, list] = /^Unknown (?:argument|command)s?: (.*)$/s.exec(message) ?? [];
  if (list !== undefined) {
    const asTyped = (word: string) => argv.find((each) => /^--?(?:no-)?(.+?)(?:=.*)?$/s.exec(each)?.[1] === word);
    const words = list.split(", ");
    // Where there is no command, none of its flags is known either.
    const [first = "", wrongCommand] = [words[0], words.find((each) => asTyped(each) === undefined)];
    const unknown = spec === undefined ? (wrongCommand ?? first) : first;
    const typed = asTyped(unknown);
    if (typed !== undefined) {
      const meant = nearest(unknown, flagsOf(spec));
      return fail(`unknown flag ${typed.replace(/=.*/s, "")}`, meant && `--${meant}`);
    }
    if (spec === undefined)
      return fail(`there is no command "${unknown}"`, nearest(unknown, commands.flatMap(namesOf)));
    return fail(`${nameOf(spec)} takes no argument "${unknown}"`, undefined);
  }
  const [, key = "", given = "", choices] = /Argument: (\S+), Given: "(.*?)".*, Choices: (.*)/.exec(message) ?? [];
  if (choices !== undefined) {
    const values = [...choices.matchAll(/"(.*?)"/g)].map(([, value = ""]) => value);
    const where = spec?.positionals !== undefined && Object.hasOwn(spec.positionals, key) ? key : `--${key}`;
    return fail(`${where}: "${given}" is none of ${values.join(", ")}`, nearest(given, values));
  }
  if (message.startsWith("Not enough non-option arguments") && spec !== undefined) {
    const needed = spec.command.split(" ").filter((each) => each.startsWith("<"));
    return fail(`${nameOf(spec)} needs ${needed.join(" ")}`, undefined);
  }
  const [, short] = /^Not enough arguments following: (.*)$/.exec(message) ?? [];
  if (short !== undefined) return fail(`${short.length === 1 ? "-" : "--"}${short} needs a value`, undefined);
  return fail(message, undefined);
}

/** What shows the help of the command that was typed. */
export function helpOf(argv: readonly string[], name: string): string {
  const spec = specIn(argv);
  return spec === undefined ? `${name} --help` : `${name} ${nameOf(spec)} --help`;
}

/** The command that was typed, as far as that can be told without the parser. */
function specIn(argv: readonly string[]): CommandSpec | undefined {
  const byName = new Map(commands.flatMap(({ spec }) => namesOf({ spec }).map((each) => [each, spec] as const)));
  return argv.map((each) => byName.get(each)).find((each) => each !== undefined);
}

function namesOf({ spec }: { readonly spec: CommandSpec }): readonly string[] {
  return [nameOf(spec), ...(spec.aliases ?? [])];
}

function flagsOf(spec: CommandSpec | undefined): readonly string[] {
  return [generalFlags, ...Object.values(spec?.groups ?? {})].flatMap((flags) => Object.keys(flags));
}
