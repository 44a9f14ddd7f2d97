/** Writes a snapshot: several dumps side by side into one stream of gzip members. FORMAT.md says what the bytes mean. */
import type { Bytes, Digest } from "../base/bytes.ts";
import { Archive } from "./archive.ts";
import { Slots } from "./channel.ts";
import { parseSnapshotName } from "./name.ts";
import { type Encoding, entryPath, type Header, type InstanceEntry, type Manifest, type StreamEntry } from "./toc.ts";

/** Where one instance's dump goes. */
export interface SnapshotOutput {
  /** Stores one stream to its end. Several may be open at once.
   *  @param source.finish awaited after the bytes have ended: what the source itself counted and hashed.
   *  @throws what `bytes` and `finish` throw; UserError `storage-failed` when the source counted something else. */
  stream(name: string, source: StreamSource): Promise<void>;
  /** Gives up everything this instance has written so far, to begin again. No stream may be open. */
  restart(): void;
}

export interface StreamSource {
  readonly bytes: Bytes;
  readonly encoding: Encoding;
  readonly finish: () => Promise<{ readonly plain: Digest; readonly stored: Digest; readonly by: "pod" | "protocol" }>;
}

/** One instance to be dumped. */
export interface Dump {
  readonly storage: string;
  readonly instance: string;
  run(output: SnapshotOutput, signal: AbortSignal): Promise<DumpFacts>;
}

export type DumpFacts = Pick<InstanceEntry, "serverVersion" | "counts" | "warnings" | "facts">;

export interface WriteOptions {
  readonly header: Header;
  readonly clusterVersion: string;
  readonly dumps: readonly Dump[];
  /** Instances dumped side by side. */
  readonly concurrency: number;
  /** zlib's level for streams that are not compressed already. */
  readonly compressionLevel: number;
  /** Storages that were asked for and are not in this snapshot; any makes it partial. */
  readonly failures: Manifest["failures"];
  readonly signal: AbortSignal;
  /** Called once, when the last member has been produced. */
  readonly onManifest?: (manifest: Manifest) => void;
}

/** Produces the snapshot while the dumps run. Pulling slowly slows the dumps: what waits in memory is at most 8 MiB for
 *  each open stream, and about 40 MiB of segments being compressed or waiting to be taken.
 *  When a dump fails, or the consumer stops early, the other dumps are cancelled and awaited before this throws or returns.
 *  @throws what the first failing dump threw. */
export async function* writeSnapshot(options: WriteOptions): AsyncGenerator<Uint8Array> {
  const stopping = new AbortController();
  const signal = AbortSignal.any([options.signal, stopping.signal]);
  const archive = new Archive(startOf(options.header), options.compressionLevel);
  signal.addEventListener("abort", () => archive.close(signal.reason), { once: true });
  const stop = (error: unknown) => stopping.abort(error);
  const producing = produce(options, archive, signal, stop).then(() => archive.close(), stop);
  try {
    for await (const member of archive.members) yield member;
  } finally {
    stop(new Error("the snapshot is not wanted any more"));
    await producing;
  }
}

function startOf(header: Header): Date {
  const startedAt = parseSnapshotName(header.name);
  if (startedAt === undefined) throw new TypeError(`"${header.name}" is no name of a snapshot`);
  return startedAt;
}

async function produce(
  options: WriteOptions,
  archive: Archive,
  signal: AbortSignal,
  stop: (error: unknown) => void,
): Promise<void> {
  const { header } = options;
  const headerSegment = await archive.appendWhole("header.json", Buffer.from(`${JSON.stringify(header, null, 2)}\n`));
  const discarded: Manifest["discarded"][number][] = [];
  const slots = new Slots(options.concurrency);
  const runs = options.dumps.map(async (dump) => {
    const free = await slots.take();
    try {
      signal.throwIfAborted();
      return await runDump(dump, archive, discarded, signal);
    } finally {
      free();
    }
  });
  const instances = await allOrFirstFailure(runs, stop);
  const manifest: Manifest = {
    ...header,
    startedAt: startOf(header).toISOString(),
    finishedAt: new Date().toISOString(),
    clusterVersion: options.clusterVersion,
    complete: options.failures.length === 0,
    instances,
    failures: options.failures,
    headerSegment,
    discarded,
    requires: [],
  };
  await archive.appendManifest(Buffer.from(`${JSON.stringify(manifest)}\n`));
  options.onManifest?.(manifest);
}

/** Like Promise.all, but returns only after all have settled. `onFailure` makes the others fail soon. */
async function allOrFirstFailure<T>(runs: readonly Promise<T>[], onFailure: (error: unknown) => void): Promise<T[]> {
  let first: { readonly error: unknown } | undefined;
  const watched = runs.map((run) =>
    run.catch((error: unknown) => {
      first ??= { error };
      onFailure(error);
      throw error;
    }),
  );
  const results = await Promise.allSettled(watched);
  if (first !== undefined) throw first.error;
  return results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
}

async function runDump(
  dump: Dump,
  archive: Archive,
  discarded: Manifest["discarded"][number][],
  signal: AbortSignal,
): Promise<InstanceEntry> {
  const startedAt = new Date().toISOString();
  let attempt = 1;
  let streams: StreamEntry[] = [];
  let broken = false;
  const folder = () => `${dump.storage}/${dump.instance}${attempt === 1 ? "" : `~${attempt}`}`;
  const facts = await dump.run(
    {
      async stream(name, source) {
        const sink = archive.openStream(folder(), name, source.encoding);
        try {
          streams.push(await sink.store(source));
        } catch (error) {
          broken = true;
          discarded.push(...(await sink.discard()));
          throw error;
        }
      },
      restart() {
        for (const stream of streams) {
          for (const [index, segment] of stream.segments.entries()) {
            discarded.push({ ...segment, path: entryPath(folder(), stream, index) });
          }
        }
        streams = [];
        broken = false;
        attempt += 1;
      },
    },
    signal,
  );
  if (broken) throw new Error(`a stream of ${folder()} failed, and its dump went on as if it had not`);
  const { storage, instance } = dump;
  streams.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { storage, instance, folder: folder(), ...facts, startedAt, finishedAt: new Date().toISOString(), streams };
}
