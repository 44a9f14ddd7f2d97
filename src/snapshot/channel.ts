/** A bounded queue between producers that wait and one consumer. */
export class Channel<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  readonly #capacity: number;
  readonly #putters: (() => void)[] = [];
  #taker: (() => void) | undefined;
  #closed: { readonly error?: unknown } | undefined;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Waits for room. @throws what `close` was given, or an Error, once the channel is closed. */
  async put(item: T): Promise<void> {
    while (this.#closed === undefined && this.#items.length >= this.#capacity) {
      await new Promise<void>((resolve) => this.#putters.push(resolve));
    }
    if (this.#closed !== undefined) throw this.#closed.error ?? new Error("the channel is closed");
    this.#items.push(item);
    this.#taker?.();
  }

  /** No more items. With an error, the consumer gets what waits first and then the error. The first call decides. */
  close(error?: unknown): void {
    this.#closed ??= error === undefined ? {} : { error };
    this.#taker?.();
    for (const wake of this.#putters.splice(0)) wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    while (true) {
      const [item] = this.#items.splice(0, 1);
      if (item !== undefined) {
        this.#putters.shift()?.();
        yield item;
      } else if (this.#closed !== undefined) {
        if (this.#closed.error !== undefined) throw this.#closed.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#taker = resolve;
        });
        this.#taker = undefined;
      }
    }
  }
}

/** Lets at most `limit` run at once, in the order of asking. */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  /** Resolves with the function that frees the slot; call it exactly once. */
  async take(): Promise<() => void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return () => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    };
  }
}
