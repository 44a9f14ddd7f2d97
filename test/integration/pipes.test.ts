/** What the program prints arrives whole, however slowly it is read: from its sources under Node, and as it is compiled. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { buildProgram } from "../../plugin/program.ts";
import { collect } from "../../src/base/bytes.ts";
import { World } from "../cli/world.ts";

let folder: string;
let compiled: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kaa-pipes-"));
  compiled = join(folder, "kubectl-kaa_backup");
  buildProgram(compiled, { commit: "unknown", date: "2026-01-01T00:00:00Z" });
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each([
  ["Node", () => [process.execPath, new URL("../../plugin/kubectl-kaa_backup.ts", import.meta.url).pathname]],
  ["compiled", () => [compiled]],
])("%s", (_, program) => {
  test("a reader that is slow gets everything, though a pipe holds 64 KiB", async () => {
    const world = new World();
    await world.start();
    onTestFinished(() => world[Symbol.asyncDispose]());
    for (let day = 0; day < 1000; day++) {
      const [date = ""] = new Date(Date.UTC(2001, 0, 1 + day)).toISOString().split("T");
      world.s3.bucket("storage-backup--kaa").plant(`${date.split("-").reverse().join("-")}-00-00-00.tar.gz`, "x");
    }
    const [file = "", ...args] = [...program(), "list", "-o", "json"];
    const child = spawn(file, args, { env: world.environment, stdio: ["ignore", "pipe", "ignore"] });
    await sleep(2000);
    const text = (await collect(child.stdout, 10_000_000)).toString("utf8");
    expect(text.length).toBeGreaterThan(65_536 * 2);
    expect(JSON.parse(text).snapshots).toHaveLength(1000);
  });

  test("who shares our output can go on writing when we have ended, though it is a socket", async () => {
    // Node gives a child sockets, not pipes; so does systemd.
    const text = `"$@" --version; echo out; "$@" nonsense; echo err >&2`;
    const child = spawn("sh", ["-c", text, "sh", ...program()], { stdio: ["ignore", "pipe", "pipe"] });
    const [out, err] = await Promise.all([collect(child.stdout, 10_000), collect(child.stderr, 10_000)]);
    expect(out.toString("utf8")).toMatch(/^\d+\.\d+\.\d+ .*\nout\n$/);
    expect(err.toString("utf8")).toMatch(/^error usage: [\s\S]*\nerr\n$/);
  });
});
