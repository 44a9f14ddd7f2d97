import { availableParallelism } from "node:os";
import { UserError } from "../base/errors.ts";
import { compressEntry } from "./entry.ts";
import type { Member } from "./gzip.ts";
import { Handover } from "./handover.ts";
import { maxEntries, segmentBytes } from "./limits.ts";
import type { Segment } from "./toc.ts";

/** One tar entry on its way into the file. */
export interface NewEntry {
  readonly path: string;
  /** Must not change until `onCompressed`. */
  readonly content: Uint8Array;
  readonly level: number;
  readonly onCompressed: () => void;
  readonly onPlaced: (segment: Segment) => void;
}

/** Compressions at once. zlib runs on libuv's four threads; one is left for files and host names. */
const threads = Math.max(1, Math.min(3, availableParallelism()));

/** The file under construction: takes entries from several sides, compresses them on several threads, and gives out their
 *  gzip members in the order in which the entries came. One consumer; its pace becomes that of `add`. */
export class Archive implements AsyncIterable<Uint8Array> {
  readonly #modifiedAt: Date;
  readonly #underWay = new Handover<{ readonly entry: NewEntry; readonly member: Promise<Member> }>(threads);
  #sizeBytes = 0;
  #entries = 1; // header.json

  constructor(modifiedAt: Date) {
    this.#modifiedAt = modifiedAt;
  }

  /** Bytes of all members that have a place. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Waits until few enough entries are under way, then starts to compress this one. What becomes of it is told by its
   *  callbacks.
   *  @throws what `fail` was given. */
  async add(entry: NewEntry): Promise<void> {
    await this.#underWay.put(() => {
      const member = this.#compress(entry);
      member.catch(() => {}); // thrown when its turn comes; if that never comes, nobody wants it
      return { entry, member };
    });
  }

  /** No more entries: the iteration ends when those under way have been taken. */
  end(): void {
    this.#underWay.end();
  }

  /** Gives the file up: whoever waits gets this error. Resolves when no compression runs any more. */
  async fail(error: unknown): Promise<void> {
    await Promise.allSettled(this.#underWay.fail(error).map(({ member }) => member));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    for await (const { entry, member } of this.#underWay) {
      const compressed = await member;
      this.#countEntry();
      entry.onPlaced(this.place(compressed, entry.content.byteLength));
      yield* compressed.pieces;
    }
  }

  /** Gives the member its place: behind all that have one. The caller puts it out next.
   *  @param bytes size of the content in it. */
  place({ digest }: Member, bytes: number): Segment {
    const segment = { offset: this.#sizeBytes, length: digest.bytes, sha256: digest.sha256, bytes };
    this.#sizeBytes += digest.bytes;
    return segment;
  }

  async #compress({ path, content, level, onCompressed }: NewEntry): Promise<Member> {
    const frame = { path, contentBytes: content.byteLength, modifiedAt: this.#modifiedAt };
    const member = await compressEntry(frame, content, level);
    onCompressed();
    return member;
  }

  #countEntry(): void {
    this.#entries += 1;
    if (this.#entries <= maxEntries) return;
    const limit = `more than ${maxEntries} segments of ${segmentBytes} bytes`;
    throw new UserError("deadline", `cannot write the snapshot: ${limit}`);
  }
}
