/** Makes the table of docs/faults.md from the catalogue and the ids in the titles of tests: `npm run docs:faults`. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { outcomes } from "../../src/base/errors.ts";
import { areas, catalogue } from "./catalogue.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const pagePath = join(root, "docs/faults.md");
const marks = { begin: "<!-- made by npm run docs:faults -->", end: "<!-- up to here -->" } as const;

/** Comments and texts of a source; only texts count, so that a comment that mentions a fault does not stand for a test. */
const tokens = /\/\*[\s\S]*?\*\/|\/\/.*|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;
const id = new RegExp(`\\b(?:${Object.keys(areas).join("|")})-\\d\\d\\b`, "g");

/** Which test files carry which ids in their titles. What was not seen green yet shows nothing. */
export function testsById(): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  const files = readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".test.ts"),
  );
  for (const file of files.sort()) {
    const texts = readFileSync(join(root, "test", file), "utf8").match(tokens) ?? [];
    const ids = texts.filter((token) => !token.startsWith("/")).flatMap((text) => text.match(id) ?? []);
    for (const each of new Set(ids)) found.set(each, [...(found.get(each) ?? []), `test/${file}`]);
  }
  return found;
}

/** The page as it must be: what was written by hand around the table stays. */
export function page(current: string): string {
  const begin = current.indexOf(marks.begin);
  const end = current.indexOf(marks.end);
  if (begin < 0 || end < begin) throw new Error(`${pagePath} has lost the marks of its table`);
  return `${current.slice(0, begin + marks.begin.length)}\n\n${table()}\n${current.slice(end)}`;
}

function table(): string {
  const tests = testsById();
  const all = Object.keys(catalogue);
  const shown = all.filter((each) => tests.has(each));
  const lines = [
    `${all.length} faults: ${shown.length} shown by tests, ${all.length - shown.length} not, with the reason.`,
    "",
  ];
  for (const [prefix, title] of Object.entries(areas)) {
    lines.push(`### ${title}`, "", "| Id | What happens | Exit code | Test |", "| --- | --- | --- | --- |");
    for (const [each, { what, ends, notCovered }] of Object.entries(catalogue)) {
      if (!each.startsWith(`${prefix}-`)) continue;
      const codes = ends.map((name) => (name === "killed" ? "137 killed" : `${outcomes[name].code} ${name}`));
      const links = (tests.get(each) ?? []).map((file) => `[${file.replace(/^test\/|\.test\.ts$/g, "")}](../${file})`);
      lines.push(`| ${each} | ${what} | ${codes.join(", ")} | ${links.join(", ") || `none: ${notCovered}`} |`);
    }
    lines.push("");
  }
  return lines.join("\n");
}

if (import.meta.main) writeFileSync(pagePath, page(readFileSync(pagePath, "utf8")));
