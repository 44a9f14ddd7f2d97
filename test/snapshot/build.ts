/** Snapshots made in memory, for tests. */
import { collect, digestOf } from "../../src/base/bytes.ts";
import type { SnapshotSource } from "../../src/snapshot/reader.ts";
import type { Encoding, Header } from "../../src/snapshot/toc.ts";
import { type Dump, type WriteOptions, writeSnapshot } from "../../src/snapshot/writer.ts";

export const header: Header = {
  formatVersion: 1,
  runId: "5f0c9a52-8f0e-4b0e-9d0a-1f6f1f6b7c11",
  name: "12-02-2021-15-28-37",
  namespace: "production-kaa",
  release: "kaa",
  tool: { name: "kubectl-kaa-backup", version: "0.0.0" },
};

export const fileName = "12-02-2021-15-28-37.tar.gz";

export async function* chunked(bytes: Buffer, chunkBytes = 100_000): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.byteLength; start += chunkBytes) yield bytes.subarray(start, start + chunkBytes);
}

/** A stream whose source counted what it sent. */
export function source(stored: Buffer, options: { encoding?: Encoding; plain?: Buffer; chunkBytes?: number } = {}) {
  const digest = digestOf(stored);
  return {
    bytes: chunked(stored, options.chunkBytes),
    encoding: options.encoding ?? "identity",
    finish: async () => ({
      plain: options.plain ? digestOf(options.plain) : digest,
      stored: digest,
      by: "pod" as const,
    }),
  };
}

export const facts = { serverVersion: "15.18", counts: { rows: 3 }, warnings: [], facts: null };

export function dumpOf(storage: string, streams: Record<string, Buffer>): Dump {
  return {
    storage,
    instance: `kaa-${storage}`,
    async run(output) {
      for (const [name, bytes] of Object.entries(streams)) await output.stream(name, source(bytes));
      return facts;
    },
  };
}

export function options(dumps: readonly Dump[], more: Partial<WriteOptions> = {}): WriteOptions {
  return {
    header,
    clusterVersion: "v1.34.4",
    dumps,
    concurrency: 3,
    compressionLevel: 3,
    failures: [],
    signal: AbortSignal.timeout(60_000),
    ...more,
  };
}

export async function written(dumps: readonly Dump[], more: Partial<WriteOptions> = {}): Promise<Buffer> {
  return await collect(writeSnapshot(options(dumps, more)), 1024 * 1024 * 1024);
}

/** A file in memory; counts what is read of it. */
export function fileOf(bytes: Buffer, name = fileName): SnapshotSource & { readBytes: number } {
  return {
    fileName: name,
    sizeBytes: bytes.byteLength,
    readBytes: 0,
    async *read(offset, lengthBytes) {
      if (offset < 0 || lengthBytes < 0 || offset + lengthBytes > bytes.byteLength)
        throw new RangeError("out of the file");
      this.readBytes += lengthBytes;
      yield* chunked(bytes.subarray(offset, offset + lengthBytes), 1 << 16);
    },
  };
}
