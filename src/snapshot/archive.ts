/** The file being written: compresses segments on several threads, hands finished members out in order, and knows where
 *  each one lies. */
import { availableParallelism } from "node:os";
import { type Bytes, type Digest, digestOf, Meter, sameDigest } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import { Channel, Slots } from "./channel.ts";
import { compressMember, encodeFooter } from "./gzip.ts";
import { paddingBytes, tarEnd, tarHeader } from "./tar.ts";
import { type Encoding, entryPath, type Segment, type StreamEntry } from "./toc.ts";
import type { StreamSource } from "./writer.ts";

/** Content of one tar entry. The unit of memory: see `writeSnapshot`. */
export const segmentBytes = 8 * 1024 * 1024;

/** Members that may wait for the consumer. */
const waitingMembers = 2;

export class Archive {
  readonly #channel = new Channel<Buffer>(waitingMembers);
  readonly #slots = new Slots(Math.min(4, Math.max(2, availableParallelism())));
  readonly #emitting = new Slots(1);
  readonly #startedAt: Date;
  readonly #level: number;
  readonly #spare: Buffer[] = [];
  #offset = 0;

  constructor(startedAt: Date, level: number) {
    this.#startedAt = startedAt;
    this.#level = level;
  }

  get members(): AsyncIterable<Buffer> {
    return this.#channel;
  }

  /** No more members; producers that wait get the error. */
  close(error?: unknown): void {
    this.#channel.close(error);
  }

  openStream(folder: string, name: string, encoding: Encoding): StreamSink {
    return new StreamSink(this, folder, name, encoding);
  }

  /** A small entry of its own. */
  async appendWhole(path: string, content: Buffer): Promise<Segment> {
    return await this.#emit(compressMember(this.#entry(path, content), 9), content.byteLength);
  }

  async appendManifest(content: Buffer): Promise<void> {
    const { offset, length, sha256 } = await this.#emit(
      compressMember(Buffer.concat([this.#entry("manifest.json", content), tarEnd]), 9),
      content.byteLength,
    );
    await this.#channel.put(encodeFooter({ offset, length, sha256 }));
  }

  /** A buffer of `segmentBytes`, maybe used before. */
  takeBuffer(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(segmentBytes);
  }

  /** Starts compressing a segment once a thread is free, then emits it after `previous`: segments of one stream lie in the
   *  file in their order. Takes the buffer over. */
  async appendSegment(segment: {
    readonly path: string;
    readonly buffer: Buffer;
    readonly bytes: number;
    readonly encoding: Encoding;
    readonly previous: Promise<unknown>;
  }): Promise<{ readonly emitted: Promise<Segment> }> {
    const free = await this.#slots.take();
    const entry = this.#entry(segment.path, segment.buffer.subarray(0, segment.bytes));
    this.#spare.push(segment.buffer);
    const level = segment.encoding === "gzip" ? 0 : this.#level;
    const emit = async () => {
      try {
        const member = compressMember(entry, level);
        await Promise.all([member, segment.previous]);
        return await this.#emit(member, segment.bytes);
      } finally {
        free();
      }
    };
    return { emitted: emit() };
  }

  #entry(path: string, content: Buffer): Buffer {
    const header = tarHeader({ path, sizeBytes: content.byteLength, modifiedAt: this.#startedAt });
    return Buffer.concat([header, content, Buffer.alloc(paddingBytes(content.byteLength))]);
  }

  async #emit(compressed: Promise<Buffer>, bytes: number): Promise<Segment> {
    const member = await compressed;
    const { sha256 } = digestOf(member);
    const free = await this.#emitting.take(); // one at a time: offsets count up in the order in which members leave
    try {
      const offset = this.#offset;
      this.#offset += member.byteLength;
      await this.#channel.put(member);
      return { offset, length: member.byteLength, sha256, bytes };
    } finally {
      free();
    }
  }
}

/** One stream on its way into the archive. */
export class StreamSink {
  readonly #archive: Archive;
  readonly #folder: string;
  readonly #name: string;
  readonly #encoding: Encoding;
  readonly #emitted: Promise<Segment>[] = [];
  readonly #stored = new Meter();
  /** Ours from the first byte of a segment until it is handed over. */
  #buffer: Buffer | undefined;
  #filled = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(archive: Archive, folder: string, name: string, encoding: Encoding) {
    this.#archive = archive;
    this.#folder = folder;
    this.#name = name;
    this.#encoding = encoding;
  }

  async store(source: StreamSource): Promise<StreamEntry> {
    await this.#storeBytes(source.bytes);
    const counted = await source.finish();
    const arrived = this.#stored.digest();
    checkCounts(`${this.#folder}/${this.#name}`, source.encoding, counted, arrived);
    await this.#flush();
    return {
      name: this.#name,
      encoding: this.#encoding,
      plain: counted.plain,
      stored: arrived,
      witness: { by: counted.by, ...counted.stored },
      segments: await Promise.all(this.#emitted),
    };
  }

  /** What has been written so far, for the list of segments that are in the file and belong to nothing. */
  async discard(): Promise<(Segment & { path: string })[]> {
    const settled = await Promise.allSettled(this.#emitted);
    const entry = { name: this.#name, encoding: this.#encoding };
    return settled.flatMap((result, index) =>
      result.status === "fulfilled" ? [{ ...result.value, path: entryPath(this.#folder, entry, index) }] : [],
    );
  }

  async #storeBytes(bytes: Bytes): Promise<void> {
    for await (const chunk of bytes) {
      this.#stored.update(chunk);
      for (let taken = 0; taken < chunk.byteLength; ) {
        const part = chunk.subarray(taken, taken + segmentBytes - this.#filled);
        this.#buffer ??= this.#archive.takeBuffer();
        this.#buffer.set(part, this.#filled);
        this.#filled += part.byteLength;
        taken += part.byteLength;
        if (this.#filled === segmentBytes) await this.#flush();
      }
    }
  }

  /** Passes the buffer on; an empty one only when the stream has nothing at all. */
  async #flush(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#filled === 0 && this.#emitted.length > 0) return;
    const index = this.#emitted.length;
    const buffer = this.#buffer ?? this.#archive.takeBuffer();
    this.#buffer = undefined;
    const { emitted } = await this.#archive.appendSegment({
      path: entryPath(this.#folder, { name: this.#name, encoding: this.#encoding }, index),
      buffer,
      bytes: this.#filled,
      encoding: this.#encoding,
      previous: this.#emitted.at(-1) ?? Promise.resolve(),
    });
    emitted.catch((error: unknown) => {
      this.#failure ??= { error };
    });
    this.#emitted.push(emitted);
    this.#filled = 0;
  }
}

/** @throws UserError `storage-failed` when the source's own count is not what has arrived. */
function checkCounts(
  path: string,
  encoding: Encoding,
  counted: { readonly plain: Digest; readonly stored: Digest },
  arrived: Digest,
): void {
  if (!sameDigest(counted.stored, arrived)) {
    const counts = `the source sent ${counted.stored.bytes} bytes, ${arrived.bytes} arrived`;
    throw new UserError("storage-failed", `"${path}" is not whole: ${counts}`);
  }
  if (encoding === "identity" && !sameDigest(counted.plain, arrived)) {
    throw new UserError("storage-failed", `"${path}" is not whole: its hash differs`);
  }
}
