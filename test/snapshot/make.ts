/** What the tests of snapshots are made of: small dumps, whole files in memory, sources that count what is read. */
import { createCipheriv, createHash } from "node:crypto";
import { type Bytes, type Digest, digestOf } from "../../src/base/bytes.ts";
import { snapshotFileName } from "../../src/base/snapshot-name.ts";
import type { SnapshotSource } from "../../src/snapshot/reader.ts";
import type { Encoding, Header, Manifest } from "../../src/snapshot/toc.ts";
import {
  type Dump,
  type DumpFacts,
  type SnapshotOutput,
  type WriteOptions,
  writeSnapshot,
} from "../../src/snapshot/writer.ts";

export const never = new AbortController().signal;

export const header: Header = {
  formatVersion: 1,
  runId: "8f14e45f-ceea-467f-a9d2-1f3b5c7e9a01",
  name: "12-02-2021-15-28-37",
  namespace: "kaa",
  release: "kaa",
  tool: { name: "kubectl-kaa-backup", version: "0.1.0" },
};

export const facts: DumpFacts = { serverVersion: "1.2.3", counts: { rows: 3 }, warnings: [], facts: null };

export const fixedClock = () => new Date("2021-02-12T15:29:00.000Z");

/** Bytes that do not compress, the same ones each time. */
export function noise(bytes: number, seed = "noise"): Buffer {
  const key = createHash("sha256").update(seed).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

/** Bytes in chunks of a size. */
export async function* chunked(content: Uint8Array, chunkBytes = 64 * 1024): Bytes & AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.byteLength; at += chunkBytes) yield content.subarray(at, at + chunkBytes);
}

export interface GivenStream {
  readonly name: string;
  readonly content: Uint8Array;
  readonly encoding?: Encoding;
  /** Of what `content` unpacks to, when it is encoded. */
  readonly plain?: Digest;
  readonly chunkBytes?: number;
}

/** Puts a stream out as a driver with an honest witness does. */
export function send(output: SnapshotOutput, stream: GivenStream): Promise<void> {
  const stored = digestOf(stream.content);
  return output.stream(stream.name, {
    bytes: chunked(stream.content, stream.chunkBytes),
    encoding: stream.encoding ?? "identity",
    finish: async () => ({ plain: stream.plain ?? stored, stored, by: "pod" }),
  });
}

/** A dump of these streams, one after the other. */
export function dumpOf(storage: string, instance: string, ...streams: readonly GivenStream[]): Dump {
  return {
    storage,
    instance,
    async run(output) {
      for (const stream of streams) await send(output, stream);
      return facts;
    },
  };
}

export type MakeOptions = Partial<WriteOptions>;

export function optionsOf(dumps: readonly Dump[], options: MakeOptions = {}): WriteOptions {
  return { header, dumps, concurrency: 1, clusterVersion: "v1.31.2", signal: never, clock: fixedClock, ...options };
}

export interface MadeFile {
  readonly fileName: string;
  readonly bytes: Buffer;
  readonly manifest: Manifest;
}

/** Writes a whole snapshot into memory. */
export async function make(dumps: readonly Dump[], options: MakeOptions = {}): Promise<MadeFile> {
  const manifests: Manifest[] = [];
  const bytes = await whole(
    writeSnapshot(optionsOf(dumps, { ...options, onManifest: (each) => manifests.push(each) })),
  );
  const [manifest] = manifests;
  if (manifest === undefined || manifests.length > 1) throw new Error(`${manifests.length} manifests`);
  return { fileName: snapshotFileName(manifest.name, { partial: !manifest.complete }), bytes, manifest };
}

export async function whole(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A file in memory that remembers what was read of it. */
export class MemoryFile implements SnapshotSource {
  readonly fileName: string;
  readonly bytes: Buffer;
  readonly reads: { readonly offset: number; readonly lengthBytes: number }[] = [];
  readonly #chunkBytes: number;

  constructor(fileName: string, bytes: Buffer, chunkBytes = 100_000) {
    this.fileName = fileName;
    this.bytes = bytes;
    this.#chunkBytes = chunkBytes;
  }

  get sizeBytes(): number {
    return this.bytes.byteLength;
  }

  get readBytes(): number {
    return this.reads.reduce((sum, read) => sum + read.lengthBytes, 0);
  }

  async *read(offset: number, lengthBytes: number, signal: AbortSignal): Bytes & AsyncGenerator<Uint8Array> {
    if (offset < 0 || offset + lengthBytes > this.bytes.byteLength)
      throw new RangeError(`no bytes ${offset}+${lengthBytes}`);
    this.reads.push({ offset, lengthBytes });
    for await (const chunk of chunked(this.bytes.subarray(offset, offset + lengthBytes), this.#chunkBytes)) {
      signal.throwIfAborted();
      yield chunk;
    }
  }
}

export function fileOf({ fileName, bytes }: { fileName: string; bytes: Buffer }, chunkBytes?: number): MemoryFile {
  return new MemoryFile(fileName, bytes, chunkBytes);
}
