/** The ceilings of JSON that anybody may have written, to the number. */
import { expect, test } from "vitest";
import { parseJson } from "../../src/snapshot/json.ts";
import { maxJsonDepth, maxJsonValues } from "../../src/snapshot/limits.ts";

const nested = (depth: number) => Buffer.from(`${"[".repeat(depth)}${"]".repeat(depth)}`);
/** A list of numbers; the list is a value, too, and so is what comes before the first comma. */
const listed = (values: number) => Buffer.from(`[${"1,".repeat(values - 2)}1]`);

test("as deep as the ceiling is taken, one deeper is not", () => {
  expect(parseJson(nested(maxJsonDepth))).toEqual(JSON.parse(nested(maxJsonDepth).toString()));
  expect(() => parseJson(nested(maxJsonDepth + 1))).toThrow(`nested more than ${maxJsonDepth} deep`);
});

test("as many values as the ceiling are taken, one more is not", { timeout: 60_000 }, () => {
  expect(parseJson(listed(maxJsonValues))).toHaveLength(maxJsonValues - 1);
  expect(() => parseJson(listed(maxJsonValues + 1))).toThrow(`more than ${maxJsonValues} values`);
});

test("brackets and commas in texts count for nothing", () => {
  const text = `\\"${"[".repeat(maxJsonDepth + 1)}\\\\`;
  expect(parseJson(Buffer.from(`["${text}", "${text}"]`))).toEqual(JSON.parse(`["${text}", "${text}"]`));
});

test("what is not UTF-8 is told as such", () => {
  expect(() => parseJson(Buffer.from([0x22, 0xff, 0x22]))).toThrow(
    expect.objectContaining({ message: "not UTF-8", cause: expect.any(TypeError) }),
  );
});
