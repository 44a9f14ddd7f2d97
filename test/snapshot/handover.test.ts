import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Handover, inOrder } from "../../src/snapshot/handover.ts";

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

describe("a line", () => {
  test("lets producers wait while it is full, and serves them in the order in which they came", async () => {
    const line = new Handover<number>(2);
    const made: number[] = [];
    const put = (item: number) =>
      line.put(() => {
        made.push(item);
        return item;
      });
    const puts = Promise.all([1, 2, 3, 4, 5].map(put)).then(() => line.end());
    await turn();
    expect(made).toEqual([1, 2]);
    const taken: number[] = [];
    for await (const item of line) {
      taken.push(item);
      await turn();
      expect(made.length).toBeLessThanOrEqual(taken.length + 2);
    }
    await puts;
    expect(taken).toEqual([1, 2, 3, 4, 5]);
  });

  test("serves everybody in turn, also those who come again and again", async () => {
    const line = new Handover<string>(2);
    const producer = async (name: string) => {
      for (let time = 0; time < 10; time += 1) await line.put(() => name);
    };
    void Promise.all(["a", "b", "c", "d", "e"].map(producer)).then(() => line.end());
    const taken = await all(line);
    for (let at = 2; at + 5 <= 45; at += 1) expect(new Set(taken.slice(at, at + 5)).size).toBeGreaterThanOrEqual(4);
    expect(taken).toHaveLength(50);
  });

  test("gives the consumer what was left when it ends", async () => {
    const line = new Handover<number>(3);
    await line.put(() => 1);
    line.end();
    expect(await all(line)).toEqual([1]);
    await expect(line.put(() => 2)).rejects.toThrow("has ended");
  });

  test("fails at once for all who wait, and gives back what nobody took", async () => {
    const line = new Handover<number>(1);
    await line.put(() => 1);
    const waiting = [line.put(() => 2), line.put(() => 3)];
    const reason = new Error("given up");
    expect(line.fail(reason)).toEqual([1]);
    for (const each of waiting) await expect(each).rejects.toBe(reason);
    await expect(all(line)).rejects.toBe(reason);
    expect(line.fail(new Error("later"))).toEqual([]);
    await expect(line.put(() => 4)).rejects.toBe(reason);
  });

  test("wakes a consumer that waits when it fails", async () => {
    const line = new Handover<number>(1);
    const taking = all(line);
    await turn();
    line.fail(new Error("given up"));
    await expect(taking).rejects.toThrow("given up");
  });

  test("goes on when making an item fails", async () => {
    const line = new Handover<number>(1);
    const failing = line.put(() => {
      throw new Error("no memory");
    });
    await expect(failing).rejects.toThrow("no memory");
    await line.put(() => 7);
    line.end();
    expect(await all(line)).toEqual([7]);
  });
});

describe("inOrder()", () => {
  async function* upTo(count: number): AsyncGenerator<number> {
    for (let item = 0; item < count; item += 1) yield item;
  }

  test("gives results in the order of the items, however long each takes, so many at a time", async () => {
    let running = 0;
    let most = 0;
    const work = async (item: number) => {
      running += 1;
      most = Math.max(most, running);
      for (let turns = 10 - item; turns > 0; turns -= 1) await turn();
      running -= 1;
      return item * 2;
    };
    expect(await all(inOrder(upTo(10), 3, work))).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    expect(most).toBe(3);
  });

  test("throws a failure in its turn, after the others have settled", async () => {
    let running = 0;
    const given: number[] = [];
    const iterate = async () => {
      const results = inOrder(upTo(10), 3, async (item) => {
        running += 1;
        for (let turns = 5; turns > 0; turns -= 1) await turn();
        running -= 1;
        if (item >= 4) throw new Error(`item ${item}`);
        return item;
      });
      for await (const result of results) given.push(result);
    };
    await expect(iterate()).rejects.toThrow("item 4");
    expect(given).toEqual([0, 1, 2, 3]);
    expect(running).toBe(0);
  });

  test("throws what the items throw", async () => {
    async function* broken(): AsyncGenerator<number> {
      yield 1;
      throw new Error("connection lost");
    }
    await expect(all(inOrder(broken(), 3, async (item) => item))).rejects.toThrow("connection lost");
  });
});
