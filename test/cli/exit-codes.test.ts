import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { outcomes } from "../../src/base/errors.ts";

/** The page, made from the table in the code. */
function page(): string {
  const rows = Object.entries(outcomes).map(
    ([name, { code, meaning, retry }]) => `| ${code} | ${name} | ${meaning} | ${retry} |`,
  );
  return `# Exit codes\n\nStable for ever, never reused. An unknown code is a failure. The last column says whether a scheduler may run it again.\n\n| Code | Name | Meaning | Retry |\n| --- | --- | --- | --- |\n${rows.join("\n")}\n`;
}

test("docs/exit-codes.md says what the table in the code says", () => {
  expect(readFileSync(new URL("../../docs/exit-codes.md", import.meta.url), "utf8")).toBe(page());
});

test("no exit code stands for two outcomes", () => {
  const codes = Object.values(outcomes).map((each) => each.code);
  expect(new Set(codes).size).toBe(codes.length);
});
