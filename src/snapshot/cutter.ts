import { segmentBytes } from "./limits.ts";

/** Buffers of one segment each, used again and again: left to the garbage collector, the bound of memory would be a hope.
 *  Holds as many as were ever in use at once. */
export class SegmentBuffers {
  readonly #spare: Buffer[] = [];

  take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(segmentBytes);
  }

  giveBack(buffer: Buffer): void {
    this.#spare.push(buffer);
  }
}

/** Cuts a stream into segments, and holds the one that is being filled. */
export class Cutter {
  readonly #buffers: SegmentBuffers;
  readonly #emit: (content: Uint8Array, index: number, onCompressed: () => void) => Promise<void>;
  #buffer: Buffer | undefined;
  #filledBytes = 0;
  #index = 0;

  /** @param emit takes a segment over once it resolves; `onCompressed` ends its use of the content. */
  constructor(
    buffers: SegmentBuffers,
    emit: (content: Uint8Array, index: number, onCompressed: () => void) => Promise<void>,
  ) {
    this.#buffers = buffers;
    this.#emit = emit;
  }

  /** Copies the chunk; waits while there is no room for a segment that is full. */
  async write(chunk: Uint8Array): Promise<void> {
    for (let rest = chunk; rest.byteLength > 0; ) {
      this.#buffer ??= this.#buffers.take();
      const taken = rest.subarray(0, segmentBytes - this.#filledBytes);
      this.#buffer.set(taken, this.#filledBytes);
      this.#filledBytes += taken.byteLength;
      rest = rest.subarray(taken.byteLength);
      if (this.#filledBytes === segmentBytes) await this.#pass();
    }
  }

  /** An empty stream has one segment, too: its entry says that it is there and empty. */
  async end(): Promise<void> {
    if (this.#filledBytes > 0 || this.#index === 0) await this.#pass();
  }

  release(): void {
    if (this.#buffer !== undefined) this.#buffers.giveBack(this.#buffer);
    this.#buffer = undefined;
  }

  async #pass(): Promise<void> {
    const buffer = this.#buffer;
    const content = buffer?.subarray(0, this.#filledBytes) ?? Buffer.alloc(0);
    await this.#emit(content, this.#index, () => {
      if (buffer !== undefined) this.#buffers.giveBack(buffer);
    });
    this.#buffer = undefined;
    this.#filledBytes = 0;
    this.#index += 1;
  }
}
