/** Stores to be tested: a fresh directory, a bucket of the fake S3 server, a bucket of a real one. */
import { randomUUID } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { directoryStore } from "../../src/stores/local.ts";
import { type S3Options, s3Store } from "../../src/stores/s3.ts";
import { listUploads } from "../../src/stores/s3-abort.ts";
import { S3Connection } from "../../src/stores/s3-client.ts";
import { type Clock, defaultTiming, type Timing } from "../../src/stores/s3-retry.ts";
import { isSnapshotFileName } from "../../src/stores/store.ts";
import { FakeS3 } from "../fakes/s3-server.ts";
import type { FakeOptions } from "../fakes/s3-state.ts";
import { never, type StoreUnderTest } from "./conformance.ts";

/** Time that passes only by sleeping, and then at once: so budgets do not depend on how busy this machine is. */
export function virtualClock(): Clock {
  let now = 0;
  return {
    now: () => now,
    random: () => 0.5,
    async sleep(durationMs, signal) {
      signal.throwIfAborted();
      now += durationMs;
      await setImmediate();
    },
  };
}

/** Of the virtual clock, for a handful of attempts. The other limits are of real time, and too long to be reached. */
export const quick: Timing = { ...defaultTiming, transferBudgetMs: 5_000, requestBudgetMs: 3_000 };
/** For servers that fall silent. */
export const impatient: Timing = { ...quick, idleMs: 300, connectMs: 300, completeMs: 600, cleanupMs: 3_000 };

export const bucket = "storage-backup--test";

export async function directoryUnderTest(): Promise<StoreUnderTest & { readonly path: string }> {
  const parent = await mkdtemp(join(tmpdir(), "kaa-store-"));
  const path = join(parent, "deep", "backup");
  return {
    path,
    store: directoryStore(path),
    partSizeBytes: 64 * 1024,
    leftovers: async () => (await readdir(path)).filter((name) => !isSnapshotFileName(name)),
    dispose: () => rm(parent, { recursive: true }),
  };
}

export interface FakeUnderTest extends StoreUnderTest {
  readonly server: FakeS3;
  readonly notes: string[];
}

export async function fakeS3UnderTest(
  options: { readonly server?: FakeOptions; readonly store?: Partial<S3Options> } = {},
): Promise<FakeUnderTest> {
  const server = await new FakeS3({ minPartBytes: 1, ...options.server }).start();
  const notes: string[] = [];
  const partSizeBytes = 64 * 1024;
  const store = s3Store({
    bucket,
    endpoint: server.url,
    credentials: { accessKeyId: "AKIAFAKEFAKEFAKEFAKE", secretAccessKey: "a-secret-that-must-not-leak" },
    note: (message) => notes.push(message),
    partSizeBytes,
    timing: quick,
    clock: virtualClock(),
    ...options.store,
  });
  return {
    server,
    notes,
    store,
    partSizeBytes,
    leftovers: async () => [...(server.buckets.all.get(bucket)?.uploads.values() ?? [])].map(({ key }) => key),
    dispose: () => server[Symbol.asyncDispose](),
  };
}

/** A bucket of its own on a real server; `options` say where and as whom. The bucket is emptied but stays. */
export async function realS3UnderTest(options: Omit<S3Options, "bucket">): Promise<StoreUnderTest> {
  const partSizeBytes = 5 * 1024 * 1024; // the smallest that S3 takes
  const all = { ...options, bucket: `kaa-test-${randomUUID()}`, partSizeBytes };
  const store = s3Store(all);
  const connection = new S3Connection(all);
  return {
    store,
    partSizeBytes,
    async leftovers(fileNames) {
      const open: string[] = [];
      // MinIO lists uploads of one whole key only.
      for (const key of fileNames) for await (const { id } of listUploads(connection, key, never)) open.push(id);
      return open;
    },
    async dispose() {
      const names: string[] = [];
      for await (const { fileName } of store.list(never)) names.push(fileName);
      for (const fileName of names) await store.remove(fileName, never);
    },
  };
}
