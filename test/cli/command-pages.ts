/** Makes docs/commands from the descriptions that the parser is made from: `npm run docs:commands`. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Options, PositionalOptions } from "yargs";
import { outcomes } from "../../src/base/errors.ts";
import { type CommandSpec, type FlagTable, nameOf, outcomesOf, paragraphsOf } from "../../src/cli/command.ts";
import { commands } from "../../src/cli/commands.ts";
import { generalFlags } from "../../src/cli/flags.ts";

export const pagesFolder = fileURLToPath(new URL("../../docs/commands/", import.meta.url));
const program = "kubectl kaa-backup";
const note = "<!-- made by npm run docs:commands -->";

/** Every page by its file's name. */
export function pages(): ReadonlyMap<string, string> {
  const specs = commands.map(({ spec }) => spec);
  return new Map([
    ["README.md", indexOf(specs)],
    ...specs.map((spec) => [`${nameOf(spec)}.md`, pageOf(spec)] as const),
  ]);
}

function indexOf(specs: readonly CommandSpec[]): string {
  const rows = specs.map((spec) => `| [${nameOf(spec)}](${nameOf(spec)}.md) | ${cell(spec.describe)} |`);
  return `${note}
# Commands

${["| Command | What it does |", "| --- | --- |", ...rows].join("\n")}

What \`-o\` prints: [output.md](../output.md). Exit codes and what to do about each: [troubleshooting.md](../troubleshooting.md). Flags that need not be said
each time: [configuration.md](../configuration.md).
`;
}

function pageOf(spec: CommandSpec): string {
  const parts = [
    `${note}\n# ${nameOf(spec)}`,
    fenced([`${program} ${spec.command} [flags]`]),
    `${spec.describe}.`,
    ...paragraphsOf(spec),
    ...(spec.aliases === undefined ? [] : [`Also: ${spec.aliases.map((each) => `\`${each}\``).join(", ")}.`]),
    "## Examples",
    fenced(spec.examples.flatMap(([typed, does]) => [`# ${does}`, `${program} ${typed}`])),
    ...(spec.positionals === undefined ? [] : ["## Arguments", table("Argument", spec.positionals, (name) => name)]),
    "## Flags",
    "Most of them may also be set by a variable or in a file: [configuration.md](../configuration.md).",
    ...Object.entries({ ...spec.groups, "Every command": generalFlags as FlagTable }).flatMap(([heading, flags]) => [
      `### ${heading}`,
      table("Flag", flags, flagText),
    ]),
    "## Exit codes",
    exitCodes(spec),
  ];
  return `${parts.join("\n\n")}\n`;
}

function fenced(lines: readonly string[]): string {
  return ["```sh", ...lines, "```"].join("\n");
}

function table(
  what: string,
  entries: Readonly<Record<string, Options | PositionalOptions>>,
  text: (name: string, options: Options) => string,
): string {
  const rows = Object.entries(entries).map(([name, options]) => {
    const choices = options.choices?.map((each) => `\`${String(each)}\``).join(", ");
    const described = [cell(String(options.describe ?? "")), choices && `one of ${choices}`].filter(Boolean).join(": ");
    return `| \`${text(name, options)}\` | ${described} | ${options.default === undefined ? "" : `\`${options.default}\``} |`;
  });
  return [`| ${what} | Meaning | Default |`, "| --- | --- | --- |", ...rows].join("\n");
}

/** "-n, --namespace TEXT" */
function flagText(name: string, { alias, type, choices, array }: Options): string {
  const value = type === "boolean" ? "" : choices !== undefined ? " …" : type === "number" ? " N" : " TEXT";
  return `${alias === undefined ? "" : `-${String(alias)}, `}--${name}${value}${array === true ? " …" : ""}`;
}

function exitCodes(spec: CommandSpec): string {
  const rows = outcomesOf(spec).map((each) => {
    const { code, meaning } = outcomes[each];
    return `| [${code}](../troubleshooting.md#${code}-${each}) | ${each} | ${meaning} |`;
  });
  return ["| Code | Name | Meaning |", "| --- | --- | --- |", ...rows].join("\n");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "\\<");
}

if (import.meta.main) {
  mkdirSync(pagesFolder, { recursive: true });
  const made = pages();
  for (const file of readdirSync(pagesFolder)) if (!made.has(file)) rmSync(join(pagesFolder, file));
  for (const [file, text] of made) writeFileSync(join(pagesFolder, file), text);
}
