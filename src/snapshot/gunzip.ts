import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { type Digest, Meter } from "../base/bytes.ts";

/** Counts and hashes what a gzip stream holds, while it is fed slice by slice. Keeps nothing of it. */
export class GunzipMeter {
  readonly #gunzip = createGunzip({ chunkSize: 256 * 1024 });
  readonly #digest: Promise<Digest>;

  /** @param limitBytes more than this is never inflated. */
  constructor(limitBytes: number) {
    this.#digest = this.#measure(limitBytes);
    this.#digest.catch(() => {}); // add() and digest() throw it
  }

  /** Resolves when the slice is used up.
   *  @throws Error when what has been fed so far is no gzip stream, or holds too much. */
  async add(slice: Uint8Array): Promise<void> {
    const used = new Promise<void>((resolve, reject) => {
      this.#gunzip.write(slice, (error) => (error ? reject(error) : resolve()));
    });
    // A write that is cut short by an error never calls back.
    await Promise.race([used, this.#digest]);
  }

  /** Ends the stream.
   *  @throws Error as `add`, and when the stream is cut. */
  async digest(): Promise<Digest> {
    this.#gunzip.end();
    return await this.#digest;
  }

  /** Stops before the end; harmless after it. */
  async abandon(): Promise<void> {
    this.#gunzip.destroy();
    await this.#digest.catch(() => {}); // destroyed on purpose
  }

  async #measure(limitBytes: number): Promise<Digest> {
    const meter = new Meter();
    await pipeline(this.#gunzip, async (plain: AsyncIterable<Buffer>) => {
      for await (const piece of plain) {
        meter.update(piece);
        if (meter.bytes > limitBytes) throw new RangeError(`more than ${limitBytes} bytes`);
      }
    });
    return meter.digest();
  }
}
