/** Writes a snapshot: several dumps side by side into one file. FORMAT.md says what its bytes mean. */

import { parseSnapshotName } from "../base/snapshot-name.ts";
import { Archive } from "./archive.ts";
import { SegmentBuffers } from "./cutter.ts";
import { compressEntry } from "./entry.ts";
import { encodeFooter } from "./footer.ts";
import { fileOrder, headerPath, manifestPath } from "./layout.ts";
import { maxManifestBytes } from "./limits.ts";
import { InstanceOutput, type OutputContext, type SnapshotOutput } from "./output.ts";
import { type DumpFacts, parseHeader, parseManifest } from "./parse.ts";
import { folderOf, isFolderPart } from "./path.ts";
import { tarEnd } from "./tar.ts";
import type { Header, Manifest, Segment } from "./toc.ts";

export type { SnapshotOutput, StreamSource } from "./output.ts";
export type { DumpFacts } from "./parse.ts";

/** Of SQL text, level 6 makes 8 % less than level 3 and takes twice the time (measured: 89 against 170 MB/s on two cores). */
const defaultLevel = 3;
/** zlib's smallest, for the header and the manifest. */
const documentLevel = 9;

/** One instance to be dumped. */
export interface Dump {
  readonly storage: string;
  readonly instance: string;
  /** Runs the dump; called once. Tries again by itself, if at all, by `output.restart()`. Must end soon when `signal` fires:
   *  the archive waits for it. */
  run(output: SnapshotOutput, signal: AbortSignal): Promise<DumpFacts>;
}

export interface WriteOptions {
  readonly header: Header;
  /** No two of the same storage and instance. */
  readonly dumps: readonly Dump[];
  /** Instances dumped at once. */
  readonly concurrency: number;
  /** Of those, instances of one storage, by its name; no limit when left out. */
  readonly limits?: Readonly<Record<string, number>>;
  /** zlib's, 0 (none) to 9, for streams that are not compressed by the pod; 3 when left out. */
  readonly compressionLevel?: number;
  readonly clusterVersion: string;
  /** Storages that were asked for and are not in this snapshot. Any makes it partial. */
  readonly failures?: Manifest["failures"];
  readonly signal: AbortSignal;
  readonly clock?: () => Date;
  /** Called once with what the file holds, before its last bytes are given out. */
  readonly onManifest?: (manifest: Manifest) => void;
}

/** Gives out a snapshot file while the dumps run; they begin with the iteration. Slow consumption slows them down.
 *  Memory: 8 MiB for each open stream, and for each of at most three compressions 8 MiB of input and the compressed output,
 *  and one compressed segment being written. Seven open streams: 80 MiB of text, 110 MiB of what cannot be compressed.
 *  Before it throws, or returns because the consumer has left, all dumps that run are cancelled and have settled.
 *  @throws what the first failing dump has thrown, or the reason of `signal`. */
export async function* writeSnapshot(options: WriteOptions): AsyncGenerator<Uint8Array, void, void> {
  checkOptions(options);
  const { header, compressionLevel = defaultLevel, clock = () => new Date() } = options;
  const modifiedAt = startOf(header);
  const archive = new Archive(modifiedAt);
  const cancel = new AbortController();
  const signal = AbortSignal.any([options.signal, cancel.signal]);
  const context: OutputContext = { archive, buffers: new SegmentBuffers(), compressionLevel, clock, signal };
  let stopped: Promise<void> | undefined;
  let running: Promise<InstanceOutput[]> | undefined;
  signal.addEventListener("abort", () => {
    stopped = archive.fail(signal.reason);
  });
  try {
    signal.throwIfAborted();
    const headerContent = encodeJson(header);
    const headerFrame = { path: headerPath, contentBytes: headerContent.byteLength, modifiedAt };
    const headerMember = await compressEntry(headerFrame, headerContent, documentLevel);
    const headerSegment = archive.place(headerMember, headerContent.byteLength);
    yield* headerMember.pieces;

    running = runAll(options, context, cancel);
    yield* archive;
    const outputs = await running;
    signal.throwIfAborted();

    const manifest = manifestOf(options, outputs, headerSegment, clock());
    const content = encodeJson(manifest);
    if (content.byteLength > maxManifestBytes) throw new RangeError(`a manifest of ${content.byteLength} bytes`);
    checkReadable("manifest", () => fileOrder(parseManifest(content), archive.sizeBytes));
    const frame = { path: manifestPath, contentBytes: content.byteLength, modifiedAt, after: tarEnd };
    const manifestMember = await compressEntry(frame, content, documentLevel);
    const footer = encodeFooter(archive.place(manifestMember, content.byteLength));
    yield* manifestMember.pieces;
    options.onManifest?.(manifest);
    yield footer;
  } finally {
    cancel.abort(new Error("the snapshot is not wanted any more"));
    await running;
    await stopped;
  }
}

/** What is wrong here is a defect of the caller. */
function checkOptions({ header, dumps, concurrency, limits = {} }: WriteOptions): void {
  checkReadable("header", () => parseHeader(encodeJson(header)));
  if (![concurrency, ...Object.values(limits)].every((each) => each >= 1))
    throw new RangeError(`${concurrency} dumps at once`);
  const folders = dumps.map((dump) => folderOf(dump, 1));
  const wrong = dumps.find(({ storage, instance }) => !isFolderPart(storage) || !isFolderPart(instance));
  if (wrong !== undefined) throw new RangeError(`"${folderOf(wrong, 1)}" cannot be a folder of a snapshot`);
  const twice = folders.find((folder, index) => folders.indexOf(folder) !== index);
  if (twice !== undefined) throw new RangeError(`"${twice}" is to be dumped twice`);
}

/** Runs the dumps in their order, some at once. When one fails the others are cancelled, with its error as the reason.
 *  Never rejects; resolves when none runs any more. */
async function runAll(
  { dumps, concurrency, limits = {} }: WriteOptions,
  context: OutputContext,
  cancel: AbortController,
): Promise<InstanceOutput[]> {
  const outputs: InstanceOutput[] = [];
  const waiting = [...dumps.entries()];
  const running: Dump[] = [];
  let ended = Promise.withResolvers<void>();
  const mayRun = ({ storage }: Dump) =>
    running.filter((each) => each.storage === storage).length < (limits[storage] ?? Number.POSITIVE_INFINITY);
  const work = async () => {
    while (waiting.length > 0 && !context.signal.aborted) {
      const next = waiting.find(([, each]) => mayRun(each));
      if (next === undefined) {
        await ended.promise;
        continue;
      }
      waiting.splice(waiting.indexOf(next), 1);
      const [index, dump] = next;
      running.push(dump);
      const output = new InstanceOutput(dump, context);
      outputs[index] = output;
      try {
        output.close(await dump.run(output.forDump, context.signal));
      } catch (error) {
        cancel.abort(error);
      }
      await output.settled();
      running.splice(running.indexOf(dump), 1);
      ended.resolve();
      ended = Promise.withResolvers();
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  context.archive.end();
  return outputs;
}

function manifestOf(
  { header, clusterVersion, failures = [] }: WriteOptions,
  outputs: readonly InstanceOutput[],
  headerSegment: Segment,
  finishedAt: Date,
): Manifest {
  return {
    ...header,
    requires: [],
    startedAt: startOf(header).toISOString(),
    finishedAt: finishedAt.toISOString(),
    clusterVersion,
    complete: failures.length === 0,
    instances: outputs.map((output) => output.entry),
    failures,
    headerSegment,
    discarded: outputs.flatMap((output) => output.discarded),
  };
}

function encodeJson(document: Header | Manifest): Buffer {
  return Buffer.from(`${JSON.stringify(document)}\n`);
}

/** What a reader would refuse must not be published. */
function checkReadable(what: string, read: () => unknown): void {
  try {
    read();
  } catch (error) {
    throw new Error(`the ${what} of the snapshot could not be read back`, { cause: error });
  }
}

function startOf(header: Header): Date {
  const startedAt = parseSnapshotName(header.name);
  if (startedAt === undefined) throw new RangeError(`"${header.name}" is not the name of a snapshot`);
  return startedAt;
}
