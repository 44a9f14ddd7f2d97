import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { areas, catalogue } from "./catalogue.ts";
import { page, pagePath, testsById } from "./page.ts";

const tests = testsById();
const ids = Object.keys(catalogue);

test("the catalogue numbers the faults of each area without a gap, 147 in all", () => {
  const count = (prefix: string) => ids.filter((each) => each.startsWith(`${prefix}-`)).length;
  const numbered = Object.keys(areas).flatMap((prefix) =>
    Array.from({ length: count(prefix) }, (_, index) => `${prefix}-${String(index + 1).padStart(2, "0")}`),
  );
  expect(ids).toEqual(numbered);
  expect(ids).toHaveLength(147);
});

test("every fault has a test that carries its id, or a reason why not, and never both", () => {
  const carried = ids.filter((each) => tests.has(each));
  const excused = ids.filter((each) => catalogue[each]?.notCovered !== undefined);
  expect([...carried, ...excused].sort()).toEqual([...ids].sort());
});

test("no test carries an id that the catalogue does not have", () => {
  expect([...tests.keys()].filter((each) => !(each in catalogue))).toEqual([]);
});

test("docs/faults.md is up to date (npm run docs:faults)", () => {
  const current = readFileSync(pagePath, "utf8");
  expect(current).toBe(page(current));
});
