/** A program of its own that moves a large archive in and out of an S3 store and says how much memory that took:
 *  `transfer.ts <endpoint> <MiB>`. Run by Node, and compiled by Bun as the product is. */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { s3Store } from "../../src/stores/s3.ts";

const [endpoint = "", size = "1"] = process.argv.slice(2);
const MiB = 1024 * 1024;
const sizeBytes = Number(size) * MiB + 12_345;
const never = new AbortController().signal;
const fileName = "12-02-2021-15-28-37.tar.gz";
const store = s3Store({
  bucket: "storage-backup--transfer",
  endpoint,
  credentials: { accessKeyId: "key", secretAccessKey: "secret" },
  timing: { idleMs: 5_000 },
});

/** The archive's bytes at an offset: every 256 KiB differ. */
function block(index: number): Buffer {
  return Buffer.alloc(256 * 1024, createHash("sha256").update(String(index)).digest());
}

async function* archive(): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < sizeBytes; at += 256 * 1024) {
    await null;
    yield block(at / (256 * 1024)).subarray(0, sizeBytes - at);
  }
}

async function hashOf(bytes: AsyncIterable<Uint8Array>, pauseMs = 0): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of bytes) {
    hash.update(chunk);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  return hash.digest("hex");
}

/** Most memory resident since the last call. Linux only, as is the end-to-end bed. */
function peakMiB(): number {
  const peak = /VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  writeFileSync("/proc/self/clear_refs", "5"); // begins anew, proc(5)
  return Math.round(Number(peak) / 1024);
}

const report: Record<string, unknown> = { idleMiB: peakMiB() };
await store.prepare(never);

let begunAt = performance.now();
const saved = await store.save({ fileName, runId: "run-1", archive: archive(), signal: never });
report["savedBytes"] = saved.sizeBytes;
report["saveMs"] = Math.round(performance.now() - begunAt);
report["saveMiB"] = peakMiB();

begunAt = performance.now();
const stop = new AbortController();
setTimeout(() => stop.abort(new Error("stopped")), 500);
const stopped = await store
  .save({ fileName: `13${fileName.slice(2)}`, runId: "run-2", archive: archive(), signal: stop.signal })
  .catch((error: Error) => error.message);
report["stopped"] = stopped;
report["stopMs"] = Math.round(performance.now() - begunAt);

const expected = await hashOf(archive());
report["betweenMiB"] = peakMiB();
const file = await store.open(fileName, never);
begunAt = performance.now();
report["whole"] = (await hashOf(file.read(0, sizeBytes, never))) === expected;
report["readMs"] = Math.round(performance.now() - begunAt);
report["readMiB"] = peakMiB();
const at = 3 * 256 * 1024;
report["range"] =
  (await hashOf(file.read(at, 256 * 1024, never))) === createHash("sha256").update(block(3)).digest("hex");
for await (const _ of file.read(0, sizeBytes, never)) break;
const reading = new AbortController();
setTimeout(() => reading.abort(new Error("read stopped")), 300);
report["readStopped"] = await hashOf(file.read(0, sizeBytes, reading.signal), 5).catch((error: Error) => error.message);
await file.close();
await store.remove(fileName, never);
report["missing"] = await store.open(fileName, never).catch((error: { outcome: string }) => error.outcome);
process.stdout.write(`${JSON.stringify(report)}\n`);
process.exit(0);
