/** An archive larger than all buffers goes in and out of S3 at the speed of a slow store, under Node and as the product is
 *  compiled, in bounded memory. */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";

const run = promisify(execFile);
const program = "test/stores/transfer.ts";
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kaa-transfer-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** The fake server in a process of its own, which takes 20 MB/s. */
async function startServer(): Promise<{ readonly url: string } & Disposable> {
  const server = spawn(process.execPath, ["test/fakes/s3-main.ts", "20000000"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of server.stdout)
    return { url: String(line).trim(), [Symbol.dispose]: () => void server.kill() };
  throw new Error("the server did not start");
}

test.each(["node", "bun"])("100 MiB through 20 MB/s, aborts and range reads, in 256 MiB: %s", async (runtime) => {
  using server = await startServer();
  let command = [process.execPath, program];
  if (runtime === "bun") {
    const compiled = join(folder, "transfer");
    await run("node_modules/.bin/bun", ["build", "--compile", `--outfile=${compiled}`, program]);
    command = [compiled];
  }
  const [file = "", ...args] = [...command, server.url, "100"];
  const report = JSON.parse((await run(file, args)).stdout);
  expect(report).toMatchObject({
    savedBytes: 100 * 1024 * 1024 + 12_345,
    stopped: "stopped",
    whole: true,
    range: true,
    readStopped: "read stopped",
    missing: "not-found",
  });
  expect(report.saveMs).toBeGreaterThan(5_000);
  expect(report.saveMiB).toBeLessThan(256);
  expect(report.stopMs).toBeLessThan(5_000);
});
