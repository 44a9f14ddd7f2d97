import { expect, test } from "vitest";
import { parseDurationMs } from "../../src/cli/duration.ts";

test.each([
  ["0", 0],
  ["0s", 0],
  ["90", 90_000],
  ["500ms", 500],
  ["1m30s", 90_000],
  ["1.5h", 5_400_000],
  ["2h45m", 9_900_000],
  [".5s", 500],
  ["1us", 1],
  ["9999h", 2 ** 31 - 1],
])("%s is %d ms", (text, expected) => {
  expect(parseDurationMs(text, "--request-timeout")).toBe(expected);
});

test.each(["", "soon", "-1s", "1 s", "1d", "1m30", "1e3s", "s"])('"%s" is no duration', (text) => {
  expect(() => parseDurationMs(text, "--request-timeout")).toThrow(`--request-timeout: "${text}" is no duration`);
});
