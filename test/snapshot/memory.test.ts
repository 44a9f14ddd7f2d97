import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const mebibyte = 1024 * 1024;

test("seven streams of 40 MiB and a slow consumer cost a bounded amount of memory", { timeout: 60_000 }, async () => {
  const script = fileURLToPath(new URL("memory.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [script]);
  const grownBytes = Number(stdout);
  expect(grownBytes).toBeGreaterThan(56 * mebibyte); // else nothing was measured
  expect(grownBytes).toBeLessThan(200 * mebibyte); // 110 MiB are stated; the rest is what the collector has not seen yet
});
