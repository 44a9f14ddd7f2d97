/** A line in which several producers leave items for one consumer. Producers wait while it is full, first come first served,
 *  so that back-pressure reaches them. */
export class Handover<T> implements AsyncIterable<T> {
  readonly #capacity: number;
  readonly #items: T[] = [];
  #changed = Promise.withResolvers<void>();
  #ended: { readonly error?: unknown } | undefined;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Waits for room, then makes the item and leaves it.
   *  @throws what `fail` was given. */
  async put(make: () => T): Promise<void> {
    // Those who wait wake up in the order in which they came: the first takes the room, the others wait again.
    while (this.#ended === undefined && this.#items.length >= this.#capacity) await this.#changed.promise;
    if (this.#ended !== undefined) throw this.#ended.error ?? new Error("the line has ended");
    this.#items.push(make());
    this.#wake();
  }

  /** No more items will come; the consumer gets those that are left. */
  end(): void {
    this.#ended ??= {};
    this.#wake();
  }

  /** Ends it at once: producers and consumer get the error. Gives the items that nobody will take; the first call decides. */
  fail(error: unknown): T[] {
    this.#ended ??= { error };
    this.#wake();
    return this.#items.splice(0);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    while (true) {
      const [item] = this.#items.splice(0, 1);
      if (item !== undefined) {
        this.#wake();
        yield item;
      } else if (this.#ended === undefined) {
        await this.#changed.promise;
      } else {
        if ("error" in this.#ended) throw this.#ended.error;
        return;
      }
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** Does `work` on each item, up to `atOnce` at a time, and gives the results in the order of the items. */
export async function* inOrder<T, R>(
  items: AsyncIterable<T>,
  atOnce: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, void> {
  const underWay: Promise<R>[] = [];
  try {
    for await (const item of items) {
      const result = work(item);
      result.catch(() => {}); // thrown below, when its turn comes
      underWay.push(result);
      if (underWay.length < atOnce) continue;
      const first = underWay.shift();
      if (first !== undefined) yield await first;
    }
    while (underWay.length > 0) {
      const first = underWay.shift();
      if (first !== undefined) yield await first;
    }
  } finally {
    await Promise.allSettled(underWay);
  }
}
