/** Reads plain ustar archives that engines make, as a stream: names, sizes and hashes, to prove that a dump is whole. */
import { createHash } from "node:crypto";
import type { Bytes } from "../base/bytes.ts";

const blockBytes = 512;

export interface TarMember {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** The beginning of its content, as Latin-1. */
  readonly head: string;
}

/** The members of an archive without long names, links or sparse files, in order. Reads the source to its very end.
 *  @param headBytes how much of a member's content is kept, of those that `keepHead` names.
 *  @throws Error when the archive is damaged or has no end. */
export async function* tarMembers(
  tar: Bytes,
  headBytes: number,
  keepHead: (name: string) => boolean = () => true,
): AsyncGenerator<TarMember> {
  const reader = new BlockReader(tar);
  while (true) {
    const header = await reader.next();
    if (header === undefined) throw new Error("its tar has no end");
    if (header.every((byte) => byte === 0)) return await reader.drain();
    const text = (from: number, to: number) => header.subarray(from, to).toString("latin1").replace(/\0.*$/s, "");
    const sizeBytes = Number.parseInt(text(124, 136).trim(), 8);
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw new Error("a size in its tar is no number");
    const name = text(0, 100);
    const keptBytes = keepHead(name) ? headBytes : 0;
    const hash = createHash("sha256");
    const head: Buffer[] = [];
    let kept = 0;
    for (let left = sizeBytes; left > 0; left -= blockBytes) {
      const block = await reader.next();
      if (block === undefined) throw new Error("its tar ends inside a member");
      const content = block.subarray(0, Math.min(left, blockBytes));
      hash.update(content);
      if (kept < keptBytes) head.push(content);
      kept += content.byteLength;
    }
    yield { name, sizeBytes, sha256: hash.digest("hex"), head: Buffer.concat(head).toString("latin1") };
  }
}

class BlockReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(source: Bytes) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next block, or undefined at the end. */
  async next(): Promise<Buffer | undefined> {
    while (this.#buffer.byteLength < blockBytes) {
      const { done, value } = await this.#source.next();
      if (done === true) return undefined;
      this.#buffer = this.#buffer.byteLength === 0 ? Buffer.from(value) : Buffer.concat([this.#buffer, value]);
    }
    const block = this.#buffer.subarray(0, blockBytes);
    this.#buffer = this.#buffer.subarray(blockBytes);
    return block;
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
  let waiting: Uint8Array | undefined;
  let ended = false;
  let taken = () => {};
  const verdict = check(
    (async function* () {
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
    })(),
  );
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
