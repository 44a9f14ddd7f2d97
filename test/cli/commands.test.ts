/** The descriptions of commands: what is made from them is up to date, and what they promise is so. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { outcomes } from "../../src/base/errors.ts";
import { nameOf, outcomesOf } from "../../src/cli/command.ts";
import { commands } from "../../src/cli/commands.ts";
import { generalFlags } from "../../src/cli/flags.ts";
import { pages, pagesFolder } from "./command-pages.ts";
import { session } from "./session.ts";

const specs = commands.map(({ spec }) => spec);

test("docs/commands has the page of each command and no other: npm run docs:commands", () => {
  const found = readdirSync(pagesFolder).map((file) => [file, readFileSync(join(pagesFolder, file), "utf8")] as const);
  expect(new Map(found)).toEqual(pages());
});

describe.each(specs.map((spec) => [nameOf(spec), spec] as const))("%s", (name, spec) => {
  test("--help shows each flag, argument, example and exit code", async () => {
    const { code, stdout } = await session([name, "--help"]);
    expect(code).toBe(0);
    const flags = [...Object.values(spec.groups), generalFlags].flatMap((table) => Object.keys(table));
    for (const flag of flags) expect(stdout).toMatch(new RegExp(`^ +(-\\w, )?--${flag}( |$)`, "m"));
    for (const argument of Object.keys(spec.positionals ?? {}))
      expect(stdout).toMatch(new RegExp(`^  ${argument} `, "m"));
    const text = stdout.replaceAll(/\s+/g, " ");
    for (const [, does] of spec.examples) expect(text).toContain(does);
    for (const outcome of outcomesOf(spec)) expect(text).toContain(`${outcomes[outcome].code} ${outcome}`);
  });

  test("no flag stands under two headings, and each is described", () => {
    const tables = Object.values(spec.groups).flatMap((table) => Object.entries(table));
    expect(new Set(tables.map(([flag]) => flag)).size).toBe(tables.length);
    for (const [flag, { describe: words }] of tables) expect(words, flag).toMatch(/^\S.*[^.]$/);
  });

  test("its examples are understood: at least two, each of this command", async () => {
    expect(spec.examples.length).toBeGreaterThanOrEqual(2);
    for (const [typed] of spec.examples) {
      const words = typed.replace(/ >.*/, "").split(" ");
      expect(words[0]).toBe(name);
      const ran = await session([...words, "--help"]);
      expect(ran).toMatchObject({ code: 0, stderr: "" });
    }
  });
});

test("what golden scripts end with is what their commands may end with", () => {
  const folder = fileURLToPath(new URL("scripts/", import.meta.url));
  let checked = 0;
  for (const file of readdirSync(folder)) {
    const steps = readFileSync(join(folder, file), "utf8").matchAll(
      /^\$ .*(?:kaa-backup|^\$ backup) (\S+).*(?:\n(?!\$ ).*)*?\nexit (\d+)$/gm,
    );
    for (const [text, word, code] of steps) {
      const spec = specs.find((each) => nameOf(each) === word || each.aliases?.includes(word ?? "") === true);
      if (spec === undefined) continue;
      const codes = outcomesOf(spec).map((each) => outcomes[each].code);
      expect(codes, `${file}: ${text.split("\n")[0]}`).toContain(Number(code));
      checked++;
    }
  }
  expect(checked).toBeGreaterThan(150);
});
