/** Reads a snapshot and believes nothing: a byte is passed on only after the manifest, found by the footer and checked by
 *  its hash, has been shown to cover it. */
import { type Bytes, collect, digestOf, Meter, sameDigest } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import { Channel } from "./channel.ts";
import { decodeFooter, digestOfGzip, expandAtMost, expandMember, footerBytes } from "./gzip.ts";
import { parseSnapshotFileName } from "./name.ts";
import { parseHeader, parseManifest, segmentsInFileOrder } from "./parse.ts";
import { paddingBytes, tarEnd, tarHeader } from "./tar.ts";
import { entryPath, type InstanceEntry, type Manifest, type Segment, type StreamEntry } from "./toc.ts";

/** The file. Reads may come in any order; `read` ends only when all bytes were delivered. */
export interface SnapshotSource {
  readonly fileName: string;
  readonly sizeBytes: number;
  read(offset: number, lengthBytes: number, signal: AbortSignal): Bytes;
}

export type OnProgress = (readBytes: number) => void;

export interface Snapshot {
  readonly manifest: Manifest;
  /** Reads the whole file once, from the first byte to the last, and proves all of it.
   *  @throws UserError `invalid-snapshot`, or what the source throws. */
  verifyAll(signal: AbortSignal, onProgress?: OnProgress): Promise<void>;
  /** Proves the streams of some instances, reading nothing else. */
  verifyInstances(instances: readonly InstanceEntry[], signal: AbortSignal, onProgress?: OnProgress): Promise<void>;
  /** The stored bytes of a stream. Each segment is proved before it is passed on; the end comes only after all of them. */
  readStream(instance: InstanceEntry, stream: StreamEntry, signal: AbortSignal): Bytes;
}

/** First guess of how much of the file's end holds the manifest. */
const tailBytes = 256 * 1024;
const manifestLimitBytes = 256 * 1024 * 1024;
const headerLimitBytes = 64 * 1024;

/** Finds and checks the table of contents; reads only the ends of the file.
 *  @throws UserError `invalid-snapshot` when the file is no snapshot, is damaged, or bears another snapshot's name. */
export async function openSnapshot(source: SnapshotSource, signal: AbortSignal): Promise<Snapshot> {
  const manifest = await readManifest(source, signal);
  checkName(source.fileName, manifest);
  await checkHeader(source, manifest, signal);
  const startedAt = parseSnapshotFileName(source.fileName)?.startedAt ?? new Date(0); // checked by checkName
  return {
    manifest,
    verifyAll: (verifySignal, onProgress) => verifyAll({ source, manifest, startedAt }, verifySignal, onProgress),
    async verifyInstances(instances, verifySignal, onProgress = () => {}) {
      let total = 0;
      for (const instance of instances) {
        for (const stream of instance.streams) {
          const onRead = (bytes: number) => {
            total += bytes;
            onProgress(total);
          };
          const bytes = readStream({ source, startedAt }, { instance, stream }, verifySignal, onRead);
          await proveStream(stream, bytes);
        }
      }
    },
    readStream: (instance, stream, readSignal) => readStream({ source, startedAt }, { instance, stream }, readSignal),
  };
}

async function readManifest(source: SnapshotSource, signal: AbortSignal): Promise<Manifest> {
  const end = source.sizeBytes;
  let start = Math.max(0, end - tailBytes);
  let tail = await collect(source.read(start, end - start, signal), tailBytes);
  const footer = decodeFooter(tail.subarray(Math.max(0, tail.byteLength - footerBytes)));
  if (
    footer.length === 0 ||
    footer.offset + footer.length !== end - footerBytes ||
    footer.length > manifestLimitBytes
  ) {
    throw damaged("the footer points to no manifest");
  }
  if (footer.offset < start) {
    tail = Buffer.concat([
      await collect(source.read(footer.offset, start - footer.offset, signal), manifestLimitBytes),
      tail,
    ]);
    start = footer.offset;
  }
  const member = tail.subarray(footer.offset - start, footer.offset - start + footer.length);
  if (digestOf(member).sha256 !== footer.sha256) throw damaged("the manifest");
  const entry = await expandAtMost(member, manifestLimitBytes, "the manifest");
  return parseManifest(manifestText(entry, source), footer.offset);
}

/** The manifest's entry is the only one whose size is known from nowhere else: it is everything between the header block
 *  and the padding, so its header block must say so. */
function manifestText(entry: Buffer, source: SnapshotSource): string {
  const sizeBytes = Number.parseInt(entry.toString("latin1", 124, 135), 8);
  const startedAt = parseSnapshotFileName(source.fileName)?.startedAt ?? new Date(0);
  const whole = 512 + sizeBytes + paddingBytes(sizeBytes) + tarEnd.byteLength;
  if (!Number.isSafeInteger(sizeBytes) || entry.byteLength !== whole) throw damaged("the manifest");
  const header = tarHeader({ path: "manifest.json", sizeBytes, modifiedAt: startedAt });
  if (!header.equals(entry.subarray(0, 512))) {
    throw new UserError("invalid-snapshot", `"${source.fileName}" is not the name this snapshot was made with`);
  }
  if (entry.subarray(512 + sizeBytes).some((byte) => byte !== 0)) throw damaged("the end of the tar");
  return entry.toString("utf8", 512, 512 + sizeBytes);
}

function checkName(fileName: string, manifest: Manifest): void {
  const outside = parseSnapshotFileName(fileName);
  if (outside?.name !== manifest.name) {
    throw new UserError("invalid-snapshot", `"${fileName}" holds the snapshot of ${manifest.name}: it was renamed`);
  }
  if (outside.partial === manifest.complete) {
    const inside = manifest.complete ? "complete" : "partial";
    throw new UserError("invalid-snapshot", `"${fileName}" holds a ${inside} snapshot: it was renamed`);
  }
}

async function checkHeader(source: SnapshotSource, manifest: Manifest, signal: AbortSignal): Promise<void> {
  const segment = manifest.headerSegment;
  if (segment.length > headerLimitBytes || segment.bytes > headerLimitBytes) throw damaged("the header");
  const member = await collect(source.read(0, segment.length, signal), headerLimitBytes);
  const startedAt = parseSnapshotFileName(source.fileName)?.startedAt ?? new Date(0);
  const content = await openSegment(member, segment, "header.json", startedAt);
  const header = parseHeader(content.toString("utf8"));
  if (header.runId !== manifest.runId || header.name !== manifest.name || header.namespace !== manifest.namespace) {
    throw damaged("header and manifest are of different runs");
  }
}

/** Checks one member and gives the content of its tar entry.
 *  @throws UserError `invalid-snapshot`. */
async function openSegment(member: Buffer, segment: Segment, path: string, modifiedAt: Date): Promise<Buffer> {
  if (digestOf(member).sha256 !== segment.sha256) throw damaged(`"${path}"`);
  const header = tarHeader({ path, sizeBytes: segment.bytes, modifiedAt });
  const padding = paddingBytes(segment.bytes);
  const entry = await expandMember(member, header.byteLength + segment.bytes + padding, `"${path}"`);
  const isAsWritten =
    header.equals(entry.subarray(0, header.byteLength)) &&
    entry.subarray(entry.byteLength - padding, padding === 0 ? 0 : undefined).every((byte) => byte === 0);
  if (!isAsWritten) throw damaged(`"${path}"`);
  return entry.subarray(header.byteLength, header.byteLength + segment.bytes);
}

function damaged(what: string): UserError {
  return new UserError("invalid-snapshot", `the snapshot is damaged: ${what}`);
}

interface Opened {
  readonly source: SnapshotSource;
  readonly startedAt: Date;
}

interface StreamPlace {
  readonly instance: InstanceEntry;
  readonly stream: StreamEntry;
}

/** Neighbouring segments are fetched by one range read. The next segment is decompressed while this one is used. */
async function* readStream(
  { source, startedAt }: Opened,
  { instance, stream }: StreamPlace,
  signal: AbortSignal,
  onRead: (moreBytes: number) => void = () => {},
): AsyncGenerator<Uint8Array> {
  let ahead: Promise<Buffer> | undefined;
  let index = 0;
  try {
    for (const run of neighbours(stream.segments)) {
      for await (const member of cutMembers(source, run, signal)) {
        const segment = run[member.index] as Segment; // cutMembers counts along `run`
        const next = openSegment(member.bytes, segment, entryPath(instance.folder, stream, index), startedAt);
        next.catch(() => {}); // awaited below, or abandoned
        index += 1;
        onRead(segment.length);
        if (ahead !== undefined) yield await ahead;
        ahead = next;
      }
    }
    if (ahead !== undefined) yield await ahead;
  } finally {
    await ahead?.catch(() => {});
  }
}

/** Groups segments that lie directly behind one another. */
function neighbours(segments: readonly Segment[]): Segment[][] {
  const runs: Segment[][] = [];
  for (const segment of segments) {
    const run = runs.at(-1);
    const last = run?.at(-1);
    if (run !== undefined && last !== undefined && last.offset + last.length === segment.offset) run.push(segment);
    else runs.push([segment]);
  }
  return runs;
}

/** Reads a run of neighbouring segments and cuts it into members. */
async function* cutMembers(
  source: SnapshotSource,
  run: readonly Segment[],
  signal: AbortSignal,
): AsyncGenerator<{ index: number; bytes: Buffer }> {
  const first = run[0]?.offset ?? 0;
  const total = run.reduce((sum, segment) => sum + segment.length, 0);
  let index = 0;
  let parts: Uint8Array[] = [];
  let have = 0;
  for await (const chunk of source.read(first, total, signal)) {
    let rest = chunk;
    while (rest.byteLength > 0) {
      const wanted = (run[index]?.length ?? 0) - have;
      if (wanted === 0) throw damaged("more bytes than asked for");
      const part = rest.subarray(0, wanted);
      parts.push(part);
      have += part.byteLength;
      rest = rest.subarray(part.byteLength);
      if (part.byteLength === wanted) {
        yield { index, bytes: Buffer.concat(parts, have) };
        index += 1;
        parts = [];
        have = 0;
      }
    }
  }
  if (index !== run.length) throw damaged("the file ended early");
}

async function proveStream(stream: StreamEntry, bytes: Bytes): Promise<void> {
  const stored = new Meter();
  const metered = async function* () {
    for await (const chunk of bytes) {
      stored.update(chunk);
      yield chunk;
    }
  };
  let plain = stream.plain;
  if (stream.encoding === "gzip") plain = await digestOfPlain(stream, metered());
  else for await (const _ of metered());
  if (!sameDigest(stored.digest(), stream.stored) || !sameDigest(plain, stream.plain))
    throw damaged(`stream "${stream.name}"`);
}

async function digestOfPlain(stream: StreamEntry, chunks: Bytes) {
  try {
    return await digestOfGzip(chunks, new Meter(), stream.plain.bytes);
  } catch (error) {
    if (error instanceof UserError || (error instanceof Error && !("code" in error))) throw error;
    throw new UserError("invalid-snapshot", `the snapshot is damaged: stream "${stream.name}" cannot be decompressed`, {
      cause: error,
    });
  }
}

/** One sequential pass: members are cut, proved, and handed to the stream they belong to. */
async function verifyAll(
  { source, manifest, startedAt }: Opened & { readonly manifest: Manifest },
  signal: AbortSignal,
  onProgress: OnProgress = () => {},
): Promise<void> {
  const segments = segmentsInFileOrder(manifest);
  const places = placesOf(manifest);
  const proofs = new Map<StreamEntry, { chunks: Channel<Uint8Array>; done: Promise<void> }>();
  const failing = new AbortController();
  const proofOf = (stream: StreamEntry) => {
    const known = proofs.get(stream);
    if (known !== undefined) return known;
    const chunks = new Channel<Uint8Array>(1);
    const done = proveStream(stream, chunks);
    done.catch((error: unknown) => {
      failing.abort(error);
      chunks.close(error);
    });
    const proof = { chunks, done };
    proofs.set(stream, proof);
    return proof;
  };
  try {
    for await (const member of cutMembers(source, segments, AbortSignal.any([signal, failing.signal]))) {
      const segment = segments[member.index] as Segment; // cutMembers counts along `segments`
      const place = places.get(segment.offset);
      const content = await openSegment(member.bytes, segment, place?.path ?? "header.json", startedAt);
      if (place?.stream !== undefined) {
        const { chunks } = proofOf(place.stream);
        await chunks.put(content);
        if (place.last) chunks.close();
      }
      onProgress(segment.offset + segment.length);
    }
    for (const { done } of proofs.values()) await done;
  } catch (error) {
    for (const { chunks } of proofs.values()) chunks.close(error);
    await Promise.allSettled([...proofs.values()].map(({ done }) => done));
    throw error;
  }
  onProgress(source.sizeBytes);
}

interface Place {
  readonly path: string;
  readonly stream?: StreamEntry;
  readonly last?: boolean;
}

/** What lies at each offset. */
function placesOf(manifest: Manifest): ReadonlyMap<number, Place> {
  const places = new Map<number, Place>();
  for (const instance of manifest.instances) {
    for (const stream of instance.streams) {
      for (const [index, segment] of stream.segments.entries()) {
        const last = index === stream.segments.length - 1;
        places.set(segment.offset, { path: entryPath(instance.folder, stream, index), stream, last });
      }
    }
  }
  for (const segment of manifest.discarded) places.set(segment.offset, { path: segment.path });
  return places;
}
