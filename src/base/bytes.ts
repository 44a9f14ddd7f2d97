import { createHash, type Hash } from "node:crypto";

/** A stream of bytes with back-pressure: the producer waits until the consumer asks for the next chunk.
 *  Breaking out of the loop must release what the producer holds. */
export type Bytes = AsyncIterable<Uint8Array>;

/** The size and hash of a run of bytes. */
export interface Digest {
  readonly bytes: number;
  /** SHA-256, 64 lower-case hexadecimal digits. */
  readonly sha256: string;
}

/** Counts and hashes what passes by. `digest()` ends the meter. */
export class Meter {
  #hash: Hash = createHash("sha256");
  #bytes = 0;

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#bytes += chunk.byteLength;
  }

  get bytes(): number {
    return this.#bytes;
  }

  digest(): Digest {
    return { bytes: this.#bytes, sha256: this.#hash.digest("hex") };
  }
}

/** The digest of one block that is in memory already. */
export function digestOf(block: Uint8Array): Digest {
  const meter = new Meter();
  meter.update(block);
  return meter.digest();
}

export function sameDigest(a: Digest, b: Digest): boolean {
  return a.bytes === b.bytes && a.sha256 === b.sha256;
}

/** Reads a small stream whole.
 *  @throws RangeError as soon as more than `limitBytes` have come. */
export async function collect(bytes: Bytes, limitBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of bytes) {
    total += chunk.byteLength;
    if (total > limitBytes) throw new RangeError(`more than ${limitBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, total);
}
