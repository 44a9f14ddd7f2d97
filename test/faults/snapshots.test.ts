/** Damaged and hostile snapshots (AR-01 to AR-10) and a compressor that fails (AR-13), in whole runs. That every byte and every
 *  cut counts is shown in test/integration/snapshot-corruption.test.ts. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test as oneAfterAnother, vi } from "vitest";
import { headerEntry, memberOf, threeSegments } from "../snapshot/forge.ts";
import { noise } from "../snapshot/make.ts";
import { expectInvariants } from "./invariants.ts";
import { sources, start } from "./program.ts";
import { bucket, type Ended, Stage } from "./stage.ts";

vi.setConfig({ maxConcurrency: 4 });
const test = oneAfterAnother.concurrent;

const pod = "function";
const bad = new URL("../snapshot/golden/v1/bad/", import.meta.url);

/** Neither verify nor restore takes it, and nothing is touched. */
async function expectRefused(
  stage: Stage,
  date: string,
  restoreEnds: readonly ("invalid-snapshot" | "storage-not-ready")[],
) {
  const before = await stage.state();
  const rss = process.memoryUsage().rss;
  const verified = await stage.run(["verify", date, ...stage.cluster]);
  await expectInvariants(stage, before, verified, { command: "read", outcome: "invalid-snapshot" });
  const restored = await stage.restore(date);
  await expectInvariants(stage, before, restored, { command: "restore", outcome: restoreEnds });
  expect(process.memoryUsage().rss - rss).toBeLessThan(300 * 1024 * 1024);
}

describe("a snapshot of today that was changed in the bucket is refused before the target is touched:", () => {
  const changes: readonly (readonly [string, (bytes: Buffer) => Buffer])[] = [
    ["AR-01: one bit in its middle", (bytes) => flipped(bytes, bytes.byteLength >> 1)],
    ["AR-01: one bit of its last byte", (bytes) => flipped(bytes, bytes.byteLength - 1)],
    ["AR-02: its last byte is gone", (bytes) => bytes.subarray(0, -1)],
    ["AR-02: half of it is gone", (bytes) => bytes.subarray(0, bytes.byteLength >> 1)],
    ["AR-02: all of it is gone", () => Buffer.alloc(0)],
    ["AR-03: something is behind it", (bytes) => Buffer.concat([bytes, Buffer.from("x")])],
    ["AR-03: it is there twice", (bytes) => Buffer.concat([bytes, bytes])],
  ];

  test.each(changes)("%s", async (_, how) => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    const key = `${date}.tar.gz`;
    const bytes = stage.s3.bucket(bucket).current(key)?.body ?? Buffer.alloc(0);
    stage.s3.bucket(bucket).plant(key, how(Buffer.from(bytes)));
    await expectRefused(stage, date, ["invalid-snapshot"]);
  });

  test("AR-10: it bears another date", async () => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    const bytes = stage.s3.bucket(bucket).current(`${date}.tar.gz`)?.body ?? "";
    stage.s3.bucket(bucket).plant("12-02-2021-15-28-37.tar.gz", bytes);
    await expectRefused(stage, "12-02-2021-15-28-37", ["invalid-snapshot"]);
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  return bytes;
}

test.each(readdirSync(bad))("a hostile file is refused (AR-03 to AR-09): %s", async (name) => {
  await using stage = await Stage.set({ pod });
  const [fileName = ""] = readdirSync(new URL(`${name}/`, bad));
  stage.s3.bucket(bucket).plant(fileName, readFileSync(new URL(`${name}/${fileName}`, bad)));
  // Where it names a storage that does not run here, that may be found first.
  await expectRefused(stage, fileName.replace(/(\.partial)?\.tar\.gz$/, ""), ["invalid-snapshot", "storage-not-ready"]);
});

test.each(["x", "g"])("AR-08: extended headers (type %s) without end, for which all hashes vouch", async (type) => {
  await using stage = await Stage.set({ pod });
  const header = Buffer.alloc(512);
  const recordBytes = 4 * 1024 * 1024;
  header.write("pax-header", 0);
  header.write(recordBytes.toString(8).padStart(11, "0"), 124);
  header.write(type, 156);
  header.write("ustar\u000000", 257);
  header.write("        ", 148);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const chain = Array.from({ length: 25 }, () => [header, Buffer.alloc(recordBytes, "9 a=bcd\n")]).flat();
  const hostile = { path: "", content: Buffer.alloc(300), member: memberOf(Buffer.concat(chain)) };
  const forged = await threeSegments(noise(900), ([, a, , c]) =>
    [headerEntry(), a, hostile, c].flatMap((entry) => entry ?? []),
  );
  stage.s3.bucket(bucket).plant(forged.fileName, forged.bytes);
  await expectRefused(stage, forged.fileName.replace(".tar.gz", ""), ["invalid-snapshot", "storage-not-ready"]);
});

describe("AR-13: the compressor fails", () => {
  /** The Nth compressor of the run fails at its first bytes. */
  const broken = `
import zlib from "node:zlib";
const seen = new Set();
const right = zlib.DeflateRaw.prototype._transform;
zlib.DeflateRaw.prototype._transform = function (chunk, encoding, done) {
  seen.add(this);
  if (seen.size === Number(process.env.KAA_NTH)) done(new Error("insufficient memory"));
  else right.call(this, chunk, encoding, done);
};
`;

  test.each(["1", "2", "3"])("at the %s. entry: the run fails as a whole, and is cleaned up", async (nth) => {
    await using stage = await Stage.set({ pod });
    await stage.snapshot();
    const before = await stage.state();
    const preload = join(stage.folder, "broken.mjs");
    writeFileSync(preload, broken);
    const { PATH = "" } = process.env;
    const env = { ...stage.environment(), PATH, KAA_NTH: nth, NODE_OPTIONS: `--import=${preload}` };
    const args = ["create", ...stage.cluster, "--storage", "mariadb", "--compression", "client"];
    const running = start(args, { env, program: sources });
    const { code, stdout, stderr, durationMs } = await running.ended;
    expect(stderr).toContain("insufficient memory");
    const ended: Ended = { code: code ?? -1, stdout, stderr, tookMs: durationMs };
    await expectInvariants(stage, before, ended, { command: "create", outcome: "internal" });
  });
});
