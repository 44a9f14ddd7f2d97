/** Limits for a peer that keeps its connection and says nothing: only time tells. No limit runs while we are the ones who are
 *  waited for. */
import type { Readable } from "node:stream";
import type { Bytes } from "./bytes.ts";

/** Longest wait for the next bytes. */
export const defaultStallMs = 300_000;

/** Longest wait for an answer that comes only when the server has done the work. */
export const workMs = 30 * 60_000;

function stalledFor(limitMs: number): Error {
  return new Error(`nothing more of the answer came for ${limitMs / 1000} s`);
}

/** A timer for one wait at a time. */
export class StallTimer {
  readonly #end: (error: Error) => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param end is called when a wait has been too long. */
  constructor(end: (error: Error) => void) {
    this.#end = end;
  }

  /** Begins a wait. One that has begun before is over. */
  start(limitMs: number): void {
    this.stop();
    this.#timer = setTimeout(() => this.#end(stalledFor(limitMs)), limitMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** The bytes of a stream, which is destroyed when the next ones do not come in time.
 *  @throws Error for that, and what the stream is destroyed with. */
export async function* unstalled(stream: Readable, limitMs = defaultStallMs): Bytes & AsyncGenerator<Uint8Array> {
  const timer = new StallTimer((error) => stream.destroy(error));
  timer.start(limitMs);
  try {
    for await (const chunk of stream) {
      timer.stop();
      yield chunk as Uint8Array; // its users set no encoding, so chunks are Buffers
      timer.start(limitMs);
    }
  } finally {
    timer.stop();
  }
}

/** Waits for an answer. What has begun goes on when the time is up.
 *  @throws Error then, and what `answer` throws. */
export async function answeredWithin<T>(answer: Promise<T>, limitMs: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = new StallTimer(late.reject);
  timer.start(limitMs);
  try {
    return await Promise.race([answer, late.promise]);
  } finally {
    timer.stop();
  }
}
