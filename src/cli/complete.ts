/** `__complete WORD…`: what may stand where the cursor is, in the protocol that shells' and kubectl's own completion scripts
 *  speak: a candidate a line, a tab and what it is behind it, at the end ":" and a directive.
 *  Source: https://github.com/spf13/cobra/blob/main/completions.go. It never fails and never says anything else. */
import type { Options, PositionalOptions } from "yargs";
import { type Candidate, type Place, sourceOf } from "./candidates.ts";
import { type CommandSpec, type FlagTable, nameOf } from "./command.ts";
import { commands } from "./commands.ts";
import { generalFlags } from "./flags.ts";
import type { Io } from "./io.ts";
import { printableLine } from "./text.ts";

/** Cobra's bits: what the shell does beside showing candidates. */
export const directives = { default: 0, noSpace: 2, noFiles: 4, directories: 16, keepOrder: 32 } as const;

interface Completion {
  readonly candidates: readonly Candidate[];
  readonly directive: number;
}

const nothing: Completion = { candidates: [], directive: directives.noFiles };

/** @param words what is typed behind the program's name; the last one, perhaps empty, is to be completed.
 *  @returns what is to be printed. */
export async function completionText(words: readonly string[], io: Io): Promise<string> {
  const { candidates, directive } = await complete(words.slice(0, -1), words.at(-1) ?? "", io);
  const lines = candidates.map(({ value, what }) =>
    [value, what]
      .filter((each) => each !== "")
      .map(printableLine)
      .join("\t"),
  );
  return [...lines, `:${directive}`, ""].join("\n");
}

async function complete(before: readonly string[], current: string, io: Io): Promise<Completion> {
  const typed = readWords(before);
  const { spec } = typed;
  const [, flagBefore, begun] = /^(--?[^=]+)=(.*)$/s.exec(current) ?? [];
  const flag = flagBefore === undefined ? typed.open : flagNamed(flagBefore, spec);
  if (flag !== undefined) return await valuesOf(flag, begun ?? current, { ...typed, io });
  if (current.startsWith("-")) return { candidates: matching(flagsOf(typed), current), directive: directives.noFiles };
  if (spec === undefined) {
    if (typed.positionals.length > 0) return nothing;
    const names = commands.map(({ spec: each }) => ({ value: nameOf(each), what: each.describe }));
    return { candidates: matching(names, current), directive: directives.noFiles };
  }
  const positional = positionalAt(spec, typed.positionals.length);
  return positional === undefined ? nothing : await valuesOf(positional, current, { ...typed, io });
}

interface Named {
  readonly name: string;
  readonly options: Options | PositionalOptions;
}

interface Typed {
  readonly spec: CommandSpec | undefined;
  readonly flags: Place["flags"];
  readonly positionals: readonly string[];
  /** The flag whose value comes next. */
  readonly open: Named | undefined;
}

/** As the parser would, but of what is not finished yet. */
function readWords(words: readonly string[]): Typed {
  let spec: CommandSpec | undefined;
  let open: Named | undefined;
  const flags: { [name: string]: string } = {};
  const positionals: string[] = [];
  for (const word of words) {
    if (open !== undefined) {
      flags[open.name] = word;
      open = undefined;
    } else if (/^-./.test(word)) {
      const [written = "", value] = word.split(/=(.*)/s);
      const flag = flagNamed(written, spec);
      if (flag !== undefined && value === undefined && flag.options.type !== "boolean") open = flag;
      else if (flag !== undefined) flags[flag.name] = value ?? "true";
    } else if (spec === undefined) {
      spec = commands.find(({ spec: each }) => nameOf(each) === word || each.aliases?.includes(word) === true)?.spec;
      if (spec === undefined) return { spec, flags, positionals: [word], open }; // no command of ours
    } else positionals.push(word);
  }
  return { spec, flags, positionals, open };
}

/** Before its command is known, a flag is what it is in any. */
function flagNamed(written: string, spec: CommandSpec | undefined): Named | undefined {
  const name = written.replace(/^--?/, "");
  const specs = spec === undefined ? commands.map((each) => each.spec) : [spec];
  for (const table of [generalFlags, ...specs.flatMap((each) => Object.values(each.groups))] as readonly FlagTable[]) {
    const found = Object.entries(table).find(([each, { alias }]) => each === name || alias === name);
    if (found !== undefined) return { name: found[0], options: found[1] };
  }
  return undefined;
}

function flagsOf({ spec, flags }: Typed): readonly Candidate[] {
  const tables: readonly FlagTable[] = [...Object.values(spec?.groups ?? {}), generalFlags];
  return tables
    .flatMap((table) => Object.entries(table))
    .filter(([name, { array }]) => flags[name] === undefined || array === true)
    .map(([name, { describe }]) => ({ value: `--${name}`, what: String(describe ?? "") }));
}

function positionalAt(spec: CommandSpec, index: number): Named | undefined {
  const all = Object.entries(spec.positionals ?? {});
  const [name, options] = all[index] ?? all.find(([, { array }]) => array === true) ?? [];
  return name === undefined || options === undefined ? undefined : { name, options };
}

async function valuesOf(named: Named, begun: string, place: Place & Pick<Typed, "positionals">): Promise<Completion> {
  const { choices } = named.options;
  if (choices !== undefined) {
    const candidates = choices.map((value) => ({ value: String(value), what: "" }));
    return { candidates: matching(candidates, begun), directive: directives.noFiles };
  }
  const source = sourceOf(named.name);
  if (source === "file") return { candidates: [], directive: directives.default };
  if (source === "directory") return { candidates: [], directive: directives.directories };
  if (source === undefined) return nothing;
  const { candidates, isList = false, isOrdered = false } = await source(place);
  const directive = directives.noFiles | (isOrdered ? directives.keepOrder : 0);
  if (!isList) {
    const left = candidates.filter(({ value }) => !place.positionals.includes(value));
    return { candidates: matching(left, begun), directive };
  }
  // A list with commas: what stands before the last comma stays.
  const head = begun.slice(0, begun.lastIndexOf(",") + 1);
  const taken = new Set(head.split(","));
  const rest = candidates.filter(({ value }) => !taken.has(value));
  const whole = rest.map(({ value, what }) => ({ value: `${head}${value}`, what }));
  return { candidates: matching(whole, begun), directive: directive | directives.noSpace };
}

function matching(candidates: readonly Candidate[], begun: string): readonly Candidate[] {
  const byValue = new Map(candidates.map((each) => [each.value, each])); // a date may have two files
  return [...byValue.values()].filter(({ value }) => value.startsWith(begun));
}
