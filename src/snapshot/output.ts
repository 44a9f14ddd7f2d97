/** What one dump writes to: cuts streams into segments, counts and hashes them, and records what went where. */
import { type Bytes, type Digest, Meter, sameDigest } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import type { Archive } from "./archive.ts";
import { Cutter, type SegmentBuffers } from "./cutter.ts";
import { maxOpenStreams } from "./limits.ts";
import { type DumpFacts, parseDumpFacts } from "./parse.ts";
import { entryBase, entryPath, folderOf, isStreamName } from "./path.ts";
import type { Encoding, InstanceEntry, Manifest, Segment, StreamEntry } from "./toc.ts";

/** What the source of a stream counted and hashed; see `StreamEntry`. */
export interface SourceCount {
  readonly plain: Digest;
  readonly stored: Digest;
  readonly by: "pod" | "protocol";
}

/** A stream that a driver hands over. */
export interface StreamSource {
  readonly bytes: Bytes;
  readonly encoding: Encoding;
  /** True for content that is compressed by itself: compressing its segments again would be in vain. */
  readonly isCompressed?: boolean;
  /** Awaited after `bytes` has ended. */
  readonly finish: () => Promise<SourceCount>;
}

/** Where the dump of one instance goes. */
export interface SnapshotOutput {
  /** Stores one stream to its end. Several may be open at once. Takes the next chunk only when there is room for it.
   *  Chunks are copied before the next one is asked for.
   *  @throws what `bytes` and `finish` throw; UserError `storage-failed` when the source counted something else. */
  stream(name: string, source: StreamSource): Promise<void>;
  /** Gives up all that this instance has written so far, to begin again. Streams that are still open fail. */
  restart(): void;
}

/** What all outputs of one snapshot share. */
export interface OutputContext {
  readonly archive: Archive;
  readonly buffers: SegmentBuffers;
  readonly compressionLevel: number;
  readonly clock: () => Date;
  /** Fires when the snapshot is given up. */
  readonly signal: AbortSignal;
}

/** One try at dumping an instance. */
class Attempt {
  readonly folder: string;
  readonly startedAt: Date;
  readonly bases = new Set<string>();
  readonly streams: StreamEntry[] = [];
  readonly written: (Segment & { readonly path: string })[] = [];
  readonly open = new Set<Promise<void>>();
  isDiscarded = false;
  failure: { readonly error: unknown } | undefined;

  constructor(folder: string, startedAt: Date) {
    this.folder = folder;
    this.startedAt = startedAt;
  }
}

/** One instance's side of the archive, through all attempts to dump it. */
export class InstanceOutput {
  /** The part of it that the dump sees. */
  readonly forDump: SnapshotOutput = {
    stream: (name, source) => this.#stream(name, source),
    restart: () => this.#restart(),
  };

  readonly #owner: { readonly storage: string; readonly instance: string };
  readonly #context: OutputContext;
  readonly #attempts: Attempt[] = [];
  #attempt: Attempt;
  #report: (DumpFacts & { readonly finishedAt: string }) | undefined;

  constructor(owner: { readonly storage: string; readonly instance: string }, context: OutputContext) {
    this.#owner = { storage: owner.storage, instance: owner.instance };
    this.#context = context;
    this.#attempt = this.#begin();
  }

  /** Ends the dump with its report; takes no more streams.
   *  @throws what a stream has thrown, if the dump went on as though it had not. */
  close(facts: DumpFacts): void {
    const { folder, failure, open } = this.#attempt;
    this.#report = { ...parseDumpFacts(facts, folder), finishedAt: this.#context.clock().toISOString() };
    if (failure !== undefined) throw failure.error;
    if (open.size > 0) throw new Error(`the dump of "${folder}" has ended before its streams`);
  }

  /** Resolves when no stream is open any more, not even one of an attempt that was given up. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#attempts.flatMap((attempt) => [...attempt.open]));
  }

  /** The record of the attempt that counts, whole when the archive has been iterated. `close` comes first. */
  get entry(): InstanceEntry {
    if (this.#report === undefined) throw new Error(`the dump of "${this.#attempt.folder}" has not ended`);
    const { folder, startedAt, streams } = this.#attempt;
    return { ...this.#owner, folder, startedAt: startedAt.toISOString(), ...this.#report, streams };
  }

  /** What is in the file and counts for nothing. */
  get discarded(): Manifest["discarded"] {
    return this.#attempts.filter((attempt) => attempt.isDiscarded).flatMap((attempt) => attempt.written);
  }

  async #stream(name: string, source: StreamSource): Promise<void> {
    const attempt = this.#attempt;
    const storing = this.#store(attempt, name, source);
    attempt.open.add(storing);
    try {
      await storing;
    } catch (error) {
      attempt.failure ??= { error };
      throw error;
    } finally {
      attempt.open.delete(storing);
    }
  }

  #restart(): void {
    if (this.#report !== undefined) throw new Error(`cannot begin "${this.#attempt.folder}" again: the dump has ended`);
    this.#attempt.isDiscarded = true;
    this.#attempt = this.#begin();
  }

  #begin(): Attempt {
    const folder = folderOf(this.#owner, this.#attempts.length + 1);
    const attempt = new Attempt(folder, this.#context.clock());
    this.#attempts.push(attempt);
    return attempt;
  }

  /** The stream's base path, when its name is right and free. These are defects of a driver, not of a storage. */
  #admit(attempt: Attempt, name: string, encoding: Encoding): string {
    const base = entryBase(attempt.folder, { name, encoding });
    if (this.#report !== undefined) throw new Error(`cannot store "${base}": the dump has ended`);
    if (!isStreamName(name)) throw new Error(`cannot store "${base}": not the name of a stream`);
    if (attempt.bases.has(base)) throw new Error(`cannot store "${base}": the name is taken`);
    if (attempt.open.size >= maxOpenStreams) throw new Error(`cannot store "${base}": too many streams are open`);
    attempt.bases.add(base);
    return base;
  }

  async #store(attempt: Attempt, name: string, source: StreamSource): Promise<void> {
    const base = this.#admit(attempt, name, source.encoding);
    const segments: Segment[] = [];
    const isCompressed = source.encoding === "gzip" || source.isCompressed === true;
    const cutter = new Cutter(this.#context.buffers, async (content, index, onCompressed) => {
      const path = entryPath(base, index);
      await this.#context.archive.add({
        path,
        content,
        level: isCompressed ? 0 : this.#context.compressionLevel,
        onCompressed,
        onPlaced(segment) {
          segments.push(segment);
          attempt.written.push({ ...segment, path });
        },
      });
    });
    const meter = new Meter();
    try {
      for await (const chunk of source.bytes) {
        this.#context.signal.throwIfAborted();
        if (attempt.isDiscarded) throw new Error(`cannot store "${base}": the dump has been started again`);
        meter.update(chunk);
        await cutter.write(chunk);
      }
      const { plain, stored, by } = await source.finish();
      checkCount(base, source.encoding, { plain, stored }, meter.digest());
      await cutter.end();
      attempt.streams.push({ name, encoding: source.encoding, plain, stored, witness: { by, ...stored }, segments });
    } finally {
      cutter.release();
    }
  }
}

/** @throws UserError `storage-failed` when what arrived is not what the source sent. */
function checkCount(base: string, encoding: Encoding, counted: Omit<SourceCount, "by">, arrived: Digest): void {
  const { plain, stored } = counted;
  const refuse = (complaint: string) => new UserError("storage-failed", `cannot dump "${base}": ${complaint}`);
  if (stored.bytes !== arrived.bytes) {
    throw refuse(`${arrived.bytes} bytes arrived, the source counted ${stored.bytes}`);
  }
  if (stored.sha256 !== arrived.sha256) throw refuse(`the ${arrived.bytes} bytes that arrived are not those sent`);
  if (encoding === "gzip" && stored.bytes === 0) throw refuse("nothing arrived, and that is no gzip");
  if (encoding === "identity" && !sameDigest(plain, stored)) throw refuse("the source contradicts itself");
}
