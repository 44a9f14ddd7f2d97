/** Reads a snapshot and believes nothing. The footer leads to the manifest and gives its hash; the manifest lists every other
 *  byte of the file and gives their hashes. Nothing is passed on before it has been checked. */
import { isDeepStrictEqual } from "node:util";
import { type Bytes, digestOf, Meter, sameDigest } from "../base/bytes.ts";
import { isOutcome } from "../base/errors.ts";
import { parseSnapshotFileName, snapshotFileName } from "../base/snapshot-name.ts";
import { expandEntry } from "./entry.ts";
import { invalid } from "./fields.ts";
import { decodeFooter, encodeFooter, footerBytes } from "./footer.ts";
import { type Entry, entriesOf, fileOrder, headerPath, manifestPath } from "./layout.ts";
import { maxManifestBytes, maxMemberBytes } from "./limits.ts";
import { parseHeader, parseManifest } from "./parse.ts";
import { readExtents, type SnapshotSource } from "./source.ts";
import { tarEnd } from "./tar.ts";
import type { Header, InstanceEntry, Manifest, Segment, StreamEntry } from "./toc.ts";
import { type EntrySource, type OnProgress, readEntries, verifyEntries } from "./verify.ts";

export type { SnapshotSource } from "./source.ts";
export type { OnProgress } from "./verify.ts";

/** A snapshot whose table of contents has been read and checked. All its methods throw UserError `invalid-snapshot` for what
 *  is damaged, and what the source throws. */
export interface Snapshot {
  readonly manifest: Manifest;
  /** Reads every byte of the file, once and in order, and checks all of it. Memory: at most 80 MiB. */
  verifyAll(signal: AbortSignal, onProgress?: OnProgress): Promise<void>;
  /** Checks the streams of some of the manifest's instances, and reads nothing else. Memory: at most 80 MiB. */
  verifyInstances(instances: readonly InstanceEntry[], signal: AbortSignal, onProgress?: OnProgress): Promise<void>;
  /** A stream's bytes as stored (still encoded). Each segment is checked before it is given out; ends only when all of them,
   *  and the whole, were right. */
  readStream(instance: InstanceEntry, stream: StreamEntry, signal: AbortSignal): Bytes;
}

/** The first read from the end of the file. Holds the manifest of some 50 GiB of dumps; a larger one takes another read. */
const tailBytes = 256 * 1024;

/** Opens a snapshot; reads its end and its first entry only. The source must stay open as long as the snapshot is used.
 *  @throws UserError `invalid-snapshot` when the file is no snapshot, cut, damaged, renamed, or of an unknown format. */
export async function openSnapshot(source: SnapshotSource, signal: AbortSignal): Promise<Snapshot> {
  try {
    return await open(source, signal);
  } catch (error) {
    throw inFile(source, error);
  }
}

/** What the file says it holds. Reads its end only: the table of contents is proved, and that it fits the file's size and
 *  name; the bytes it lists are not looked at.
 *  @throws as `openSnapshot`. */
export async function readContents(source: SnapshotSource, signal: AbortSignal): Promise<Manifest> {
  try {
    return (await openContents(source, signal)).manifest;
  } catch (error) {
    throw inFile(source, error);
  }
}

async function open(source: SnapshotSource, signal: AbortSignal): Promise<Snapshot> {
  const { from, manifest, entries } = await openContents(source, signal);
  await checkHeader(from, manifest, signal);
  return new OpenedSnapshot(from, manifest, entries);
}

async function openContents(source: SnapshotSource, signal: AbortSignal) {
  const startedAt = parseSnapshotFileName(source.fileName)?.startedAt;
  if (startedAt === undefined) throw invalid("the file's name", "not one of a snapshot");
  const from: EntrySource = { source, modifiedAt: startedAt };
  const { segment, content } = await readManifest(from, signal);
  const manifest = parseManifest(content);
  checkName(source.fileName, manifest);
  const entries: readonly Entry[] = [...fileOrder(manifest, segment.offset), { path: manifestPath, segment }];
  return { from, manifest, entries };
}

class OpenedSnapshot implements Snapshot {
  readonly manifest: Manifest;
  readonly #from: EntrySource;
  readonly #entries: readonly Entry[];

  /** @param entries all of the file, the manifest's own at last. */
  constructor(from: EntrySource, manifest: Manifest, entries: readonly Entry[]) {
    this.#from = from;
    this.manifest = manifest;
    this.#entries = entries;
  }

  async verifyAll(signal: AbortSignal, onProgress?: OnProgress): Promise<void> {
    const { source } = this.#from;
    try {
      await verifyEntries(this.#from, this.#entries, signal, onProgress);
      const manifest = this.#entries.at(-1)?.segment;
      const footer = await readBlock(source, source.sizeBytes - footerBytes, footerBytes, signal);
      if (manifest === undefined || !encodeFooter(manifest).equals(footer)) throw invalid("the footer", "changed");
      onProgress?.(source.sizeBytes);
    } catch (error) {
      throw inFile(source, error);
    }
  }

  async verifyInstances(
    instances: readonly InstanceEntry[],
    signal: AbortSignal,
    onProgress?: OnProgress,
  ): Promise<void> {
    const entries = instances.flatMap((instance) => {
      this.#checkIsOurs(instance);
      return instance.streams.flatMap((stream) => entriesOf(instance, stream));
    });
    entries.sort((a, b) => a.segment.offset - b.segment.offset);
    try {
      await verifyEntries(this.#from, entries, signal, onProgress);
    } catch (error) {
      throw inFile(this.#from.source, error);
    }
  }

  async *readStream(
    instance: InstanceEntry,
    stream: StreamEntry,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, void> {
    this.#checkIsOurs(instance);
    if (!instance.streams.includes(stream))
      throw new TypeError(`stream "${stream.name}" is not of "${instance.folder}"`);
    const meter = new Meter();
    try {
      for await (const { content } of readEntries(this.#from, entriesOf(instance, stream), signal)) {
        meter.update(content);
        yield content;
      }
      if (!sameDigest(meter.digest(), stream.stored)) throw invalid(`stream "${stream.name}"`, "not what was stored");
    } catch (error) {
      throw inFile(this.#from.source, error);
    }
  }

  #checkIsOurs(instance: InstanceEntry): void {
    if (!this.manifest.instances.includes(instance))
      throw new TypeError(`"${instance.folder}" is not of this snapshot`);
  }
}

/** Finds the manifest by the footer, and checks it against the hash there. */
async function readManifest(
  { source, modifiedAt }: EntrySource,
  signal: AbortSignal,
): Promise<{ readonly segment: Segment; readonly content: Buffer }> {
  const start = Math.max(0, source.sizeBytes - tailBytes);
  const tail = await readBlock(source, start, source.sizeBytes - start, signal);
  const segment = decodeFooter(tail.subarray(-footerBytes));
  if (segment === undefined)
    throw invalid("the file's end", "not that of a snapshot: it is cut, damaged or something else");
  const isPossible =
    segment.offset + segment.length + footerBytes === source.sizeBytes &&
    segment.bytes <= maxManifestBytes &&
    segment.length <= maxManifestBytes + maxMemberBytes;
  if (!isPossible) throw invalid("the footer", "does not fit the file: something was cut off or added");

  const missing = start - segment.offset;
  const member =
    missing <= 0
      ? tail.subarray(-missing, -footerBytes)
      : Buffer.concat([await readBlock(source, segment.offset, missing, signal), tail.subarray(0, -footerBytes)]);
  if (digestOf(member).sha256 !== segment.sha256) throw invalid(manifestPath, "damaged: its SHA-256 differs");
  const frame = { path: manifestPath, contentBytes: segment.bytes, modifiedAt, after: tarEnd };
  const content = await expandEntry(frame, member);
  if (content === undefined)
    throw invalid(manifestPath, "not of the snapshot that the file's name tells; was it renamed?");
  return { segment, content };
}

function checkName(fileName: string, manifest: Manifest): void {
  const made = snapshotFileName(manifest.name, { partial: !manifest.complete });
  if (fileName !== made) throw invalid("the file's name", `it was made as "${made}"`);
}

async function checkHeader(from: EntrySource, manifest: Manifest, signal: AbortSignal): Promise<void> {
  const { headerSegment, formatVersion, runId, name, namespace, release, tool } = manifest;
  const entry = { path: headerPath, segment: headerSegment };
  for await (const { content } of readEntries(from, [entry], signal)) {
    const expected: Header = { formatVersion, runId, name, namespace, release, tool };
    if (!isDeepStrictEqual(parseHeader(content), expected)) throw invalid(headerPath, "differs from the manifest");
  }
}

async function readBlock(source: SnapshotSource, offset: number, length: number, signal: AbortSignal): Promise<Buffer> {
  let block: Buffer = Buffer.alloc(0);
  for await (const read of readExtents(source, [{ offset, length }], signal)) block = read;
  return block;
}

/** The same error, saying in which file. */
function inFile(source: SnapshotSource, error: unknown): unknown {
  return isOutcome(error, "invalid-snapshot") ? error.in(`cannot read "${source.fileName}"`) : error;
}
