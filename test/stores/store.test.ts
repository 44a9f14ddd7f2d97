import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { isSnapshotFileName, untilAborted } from "../../src/stores/store.ts";

test.each([
  ["12-02-2021-15-28-37.tar.gz", true],
  ["12-02-2021-15-28-37.partial.tar.gz", true],
  ["12-02-2021-15-28-37.tar.gz\n", false],
  ["12-02-2021-15-28-37.tar.gz.bak", false],
  ["../12-02-2021-15-28-37.tar.gz", false],
  ["opendistro/12-02-2021-15-28-37.tar.gz", false],
  ["12-02-2021-15-28-37.PARTIAL.tar.gz", false],
  ["1２-02-2021-15-28-37.tar.gz", false],
])("%j is a snapshot's file name: %s", (name, expected) => {
  expect(isSnapshotFileName(name)).toBe(expected);
});

test("untilAborted() ends although its source never answers, and tells it to stop", async () => {
  const stop = new AbortController();
  let told = false;
  const deaf: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => ({
      next: () => new Promise(() => undefined),
      return: () => {
        told = true;
        return new Promise(() => undefined);
      },
    }),
  };
  const reading = async () => {
    for await (const _ of untilAborted(deaf, stop.signal));
  };
  setTimeout(() => stop.abort(new Error("enough")), 10);
  await expect(reading()).rejects.toThrow("enough");
  expect(told).toBe(true);
});

test("untilAborted() asks nothing of its source after the signal, and tells it to stop", async () => {
  const asked: string[] = [];
  const source: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        asked.push("next");
        return { done: false, value: new Uint8Array(1) };
      },
      return: async () => {
        asked.push("return");
        return { done: true, value: undefined };
      },
    }),
  };
  const reading = async () => {
    for await (const _ of untilAborted(source, AbortSignal.abort(new Error("enough")))) expect.unreachable();
  };
  await expect(reading()).rejects.toThrow("enough");
  expect(asked).toEqual(["return"]);
});

test("untilAborted() leaves nothing on the signal, however long the source", async () => {
  const { signal } = new AbortController();
  const long = async function* () {
    for (let index = 0; index < 1000; index++) yield new Uint8Array(1);
  };
  let most = 0;
  for await (const _ of untilAborted(long(), signal)) most = Math.max(most, getEventListeners(signal, "abort").length);
  expect(most).toBeLessThanOrEqual(1);
  expect(getEventListeners(signal, "abort")).toHaveLength(0);
});
