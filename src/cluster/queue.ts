/** A queue of chunks between a socket that pushes and a consumer that pulls. The socket is told to stop and go on, so that
 *  what waits here stays near `highWaterBytes`. One consumer. */
export class ByteQueue implements AsyncIterable<Buffer> {
  readonly #chunks: Buffer[] = [];
  readonly #highWaterBytes: number;
  readonly #pause: () => void;
  readonly #resume: () => void;
  #queuedBytes = 0;
  #paused = false;
  #ended: { readonly error?: Error } | undefined;
  #wake: (() => void) | undefined;

  constructor(flow: { readonly highWaterBytes: number; pause(): void; resume(): void }) {
    this.#highWaterBytes = flow.highWaterBytes;
    this.#pause = () => flow.pause();
    this.#resume = () => flow.resume();
  }

  push(chunk: Buffer): void {
    if (this.#ended !== undefined || chunk.byteLength === 0) return;
    this.#chunks.push(chunk);
    this.#queuedBytes += chunk.byteLength;
    if (!this.#paused && this.#queuedBytes >= this.#highWaterBytes) {
      this.#paused = true;
      this.#pause();
    }
    this.#wake?.();
  }

  /** No more chunks. With an error the consumer gets what is queued first, then the error. The first call decides. */
  end(error?: Error): void {
    this.#ended ??= error === undefined ? {} : { error };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    while (true) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.byteLength;
        if (this.#paused && this.#queuedBytes <= this.#highWaterBytes / 4) {
          this.#paused = false;
          this.#resume();
        }
        yield chunk;
      } else if (this.#ended !== undefined) {
        if (this.#ended.error !== undefined) throw this.#ended.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }
}
