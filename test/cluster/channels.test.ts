import { expect, test } from "vitest";
import { parseFrame, parseStatus } from "../../src/cluster/channels.ts";

const failure = { status: "Failure", message: "ended", reason: "NonZeroExitCode" };
const causes = (...all: unknown[]) => ({ ...failure, details: { causes: all } });
const failed = (exitCode?: number, message = "ended") => ({ success: false, exitCode, message });

test.each<[string, unknown, unknown]>([
  ["success", { status: "Success" }, { success: true }],
  ["a failure with its exit code", causes({ reason: "ExitCode", message: "3" }), failed(3)],
  ["an exit code among other causes", causes("x", { reason: "Y" }, { reason: "ExitCode", message: "7" }), failed(7)],
  ["an exit code that is no number is none", causes({ reason: "ExitCode", message: "" }), failed()],
  ["causes without an exit code", causes({ reason: "Other", message: "3" }), failed()],
  ["causes that are no list", { ...failure, details: { causes: "x" } }, failed()],
  ["details that are none", { ...failure, details: null }, failed()],
  [
    "a command that did not start has no exit code",
    { ...causes({ reason: "ExitCode", message: "3" }), reason: "InternalError" },
    failed(),
  ],
  ["a failure without words", { status: "Failure" }, failed(undefined, "no message")],
  ["neither success nor failure is no status", { status: "Pending" }, undefined],
  ["a list is no status", [{ status: "Success" }], undefined],
])("the status channel: %s", (_, status, expected) => {
  expect(parseStatus(JSON.stringify(status))).toEqual(expected);
});

test("a status that is not there as a whole is none yet", () => {
  expect(parseStatus('{"status":"Succ')).toBeUndefined();
});

test("a message without a channel breaks the protocol", () => {
  expect(() => parseFrame(Buffer.alloc(0))).toThrow("a message without a channel");
});
