/** Plain tar as a stream, written and read: for engines that make such archives, and for what has many parts itself. */
import { createHash } from "node:crypto";
import type { Bytes } from "../base/bytes.ts";

const blockBytes = 512;
/** The largest size that eleven octal digits hold; beyond it GNU's form is used, which every tar reads. */
const octalLimit = 8 ** 11;

export interface TarEntry {
  readonly name: string;
  readonly sizeBytes: number;
  /** Must be read before the next entry is asked for; what is left unread is skipped. */
  readonly content: Bytes;
}

/** The entries of an archive without long names, links or sparse files, in order. Reads the source to its very end.
 *  @throws Error when the archive is damaged or has no end. */
export async function* tarEntries(tar: Bytes): AsyncGenerator<TarEntry> {
  const reader = new Reader(tar);
  while (true) {
    const header = await reader.whole(blockBytes);
    if (header === undefined) throw new Error("its tar has no end");
    if (header.every((byte) => byte === 0)) return await reader.drain();
    const name = textIn(header.subarray(0, 100));
    const sizeBytes = sizeIn(header);
    let left = sizeBytes;
    const content = async function* () {
      while (left > 0) {
        const chunk = await reader.some(left);
        if (chunk === undefined) throw new Error("its tar ends inside a member");
        left -= chunk.byteLength;
        yield chunk;
      }
    };
    yield { name, sizeBytes, content: content() };
    for await (const _ of content());
    const padding = (blockBytes - (sizeBytes % blockBytes)) % blockBytes;
    if (padding > 0 && (await reader.whole(padding)) === undefined) throw new Error("its tar ends inside a member");
  }
}

function textIn(field: Buffer): string {
  return field.toString("latin1").replace(/\0.*$/s, "");
}

function sizeIn(header: Buffer): number {
  const field = header.subarray(124, 136);
  const size =
    (field[0] ?? 0) === 0x80
      ? field.readUIntBE(6, 6)
      : Number.parseInt(field.toString("latin1").replace(/[\0 ]+$/, ""), 8);
  if (!Number.isSafeInteger(size) || size < 0) throw new Error("a size in its tar is no number");
  if (Number.parseInt(textIn(header.subarray(148, 156)), 8) !== checksumOf(header))
    throw new Error("a header in its tar is damaged");
  return size;
}

function checksumOf(header: Uint8Array): number {
  return header.reduce((sum, byte, index) => sum + (index >= 148 && index < 156 ? 32 : byte), 0);
}

/** The header of a regular file. @param name at most 100 bytes of ASCII. */
export function tarHeader(name: string, sizeBytes: number): Buffer {
  const header = Buffer.alloc(blockBytes);
  if (Buffer.byteLength(name) > 100) throw new RangeError(`a name of more than 100 bytes: ${name}`);
  header.write(name, 0, "latin1");
  header.write("0000600\0", 100, "latin1");
  header.write("0000000\0".repeat(2), 108, "latin1");
  if (sizeBytes < octalLimit) header.write(`${sizeBytes.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  else {
    header[124] = 0x80;
    header.writeUIntBE(sizeBytes, 130, 6);
  }
  header.write("00000000000\0", 136, "latin1");
  header.write("0", 156, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  header.write(`${checksumOf(header).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}

/** What follows a file's content up to the next header. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc((blockBytes - (sizeBytes % blockBytes)) % blockBytes);
}

/** What an archive ends with. */
export const tarEnd = Buffer.alloc(2 * blockBytes);

export interface TarMember {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** The beginning of its content, as Latin-1. */
  readonly head: string;
}

/** As `tarEntries`, with each member's hash: to prove that an archive is whole.
 *  @param headBytes how much of a member's content is kept, of those that `keepHead` names.
 *  @throws as tarEntries does. */
export async function* tarMembers(
  tar: Bytes,
  headBytes: number,
  keepHead: (name: string) => boolean = () => true,
): AsyncGenerator<TarMember> {
  for await (const { name, sizeBytes, content } of tarEntries(tar)) {
    const hash = createHash("sha256");
    const head: Uint8Array[] = [];
    let wanted = keepHead(name) ? headBytes : 0;
    for await (const chunk of content) {
      hash.update(chunk);
      if (wanted > 0) head.push(chunk.slice(0, wanted));
      wanted -= chunk.byteLength;
    }
    yield { name, sizeBytes, sha256: hash.digest("hex"), head: Buffer.concat(head).toString("latin1") };
  }
}

class Reader {
  readonly #source: AsyncIterator<Uint8Array>;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(source: Bytes) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Exactly so many bytes, or undefined when the source ends before. */
  async whole(bytes: number): Promise<Buffer | undefined> {
    while (this.#buffer.byteLength < bytes) {
      const { done, value } = await this.#source.next();
      if (done === true) return undefined;
      this.#buffer = this.#buffer.byteLength === 0 ? Buffer.from(value) : Buffer.concat([this.#buffer, value]);
    }
    return this.#take(bytes);
  }

  /** What is at hand, at least one byte and at most so many. */
  async some(bytes: number): Promise<Buffer | undefined> {
    while (this.#buffer.byteLength === 0) {
      const { done, value } = await this.#source.next();
      if (done === true) return undefined;
      this.#buffer = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    return this.#take(Math.min(bytes, this.#buffer.byteLength));
  }

  #take(bytes: number): Buffer {
    const taken = this.#buffer.subarray(0, bytes);
    this.#buffer = this.#buffer.subarray(bytes);
    return taken;
  }

  /** Reads to the end, so that whatever checks the source looks at all of it. */
  async drain(): Promise<void> {
    while ((await this.#source.next()).done !== true);
  }
}

/** Passes bytes through while `check` reads the same bytes; throws what `check` throws, at the end at the latest. */
export async function* checkAlong(
  bytes: Bytes,
  check: (bytes: Bytes) => Promise<void>,
): Bytes & AsyncGenerator<Uint8Array> {
  let wake = () => {};
  let taken = () => {};
  let waiting: Uint8Array | undefined;
  let ended = false;
  async function* copy() {
    while (true) {
      while (waiting === undefined && !ended) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      if (waiting === undefined) return;
      const chunk = waiting;
      waiting = undefined;
      yield chunk;
      taken();
    }
  }
  const verdict = check(copy());
  verdict.catch(() => {}); // looked at below; it may come while we wait for something else
  try {
    for await (const chunk of bytes) {
      const isTaken = new Promise<void>((resolve) => {
        taken = resolve;
      });
      waiting = chunk;
      wake();
      await Promise.race([isTaken, verdict]);
      yield chunk;
    }
  } finally {
    ended = true;
    wake();
  }
  await verdict;
}
