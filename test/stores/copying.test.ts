import { randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { copyingStore } from "../../src/stores/copying.ts";
import { directoryStore } from "../../src/stores/local.ts";
import type { Store } from "../../src/stores/store.ts";

const fileName = "12-02-2021-15-28-37.tar.gz";
const chunks = Array.from({ length: 20 }, () => randomBytes(100_000));
const signal = new AbortController().signal;
let parent: string;
let main: Store;
let copy: Store;
let told: unknown[];
let pulled: number;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "kaa-copying-"));
  main = directoryStore(join(parent, "main"));
  copy = directoryStore(join(parent, "copy"));
  told = [];
  pulled = 0;
});
afterEach(() => rm(parent, { recursive: true }));

async function* archive() {
  for (const chunk of chunks) {
    await setImmediate();
    pulled += 1;
    yield chunk;
  }
}

const request = () => ({ fileName, runId: randomUUID(), archive: archive(), signal });
const copying = () => copyingStore(main, copy, (error) => told.push(error));
const inFolder = (name: string) => readdir(join(parent, name));

test("both stores get the same bytes, and the source is read once", async () => {
  const store = copying();
  await store.prepare(signal);
  await store.save(request());
  const whole = Buffer.concat(chunks);
  expect(whole.equals(await readFile(join(parent, "main", fileName)))).toBe(true);
  expect(whole.equals(await readFile(join(parent, "copy", fileName)))).toBe(true);
  expect(pulled).toBe(chunks.length);
  expect(told).toEqual([]);
});

test("a copy that cannot be prepared is told once, and the snapshot is stored", async () => {
  await writeFile(join(parent, "copy"), "a file where a directory should be");
  const store = copying();
  await store.prepare(signal);
  await store.save(request());
  expect(await inFolder("main")).toEqual([fileName]);
  expect(told).toEqual([expect.objectContaining({ outcome: "local-disk" })]);
});

test("a copy whose name is taken leaves that file as it is, and the snapshot is stored", async () => {
  const store = copying();
  await store.prepare(signal);
  await writeFile(join(parent, "copy", fileName), "earlier");
  await store.save(request());
  expect(await inFolder("main")).toEqual([fileName]);
  expect(await readFile(join(parent, "copy", fileName), "utf8")).toBe("earlier");
  expect(told).toEqual([expect.objectContaining({ outcome: "busy" })]);
});

test("a copy that fails in the middle does not stop the snapshot", async () => {
  const broken: Store = {
    ...copy,
    async save({ archive: bytes }) {
      let seen = 0;
      for await (const _ of bytes) if (++seen === 5) throw new Error("disk full");
      throw new Error("the archive ended before it should");
    },
  };
  const store = copyingStore(main, broken, (error) => told.push(error));
  await store.prepare(signal);
  await store.save(request());
  expect(Buffer.concat(chunks).equals(await readFile(join(parent, "main", fileName)))).toBe(true);
  expect(told).toEqual([new Error("disk full")]);
});

test("no copy appears when the main store fails after the last byte", async () => {
  const failing: Store = {
    ...main,
    async save({ archive: bytes }) {
      for await (const _ of bytes) await setImmediate();
      throw new Error("not completed");
    },
  };
  const store = copyingStore(failing, copy, (error) => told.push(error));
  await store.prepare(signal);
  await expect(store.save(request())).rejects.toThrow("not completed");
  expect(pulled).toBe(chunks.length);
  expect(await inFolder("copy")).toEqual([]);
  expect(told).toEqual([]);
});

test("nothing is left in either store when the source throws or the signal fires", async () => {
  const store = copying();
  await store.prepare(signal);
  async function* cut() {
    yield* chunks.slice(0, 3);
    throw new Error("dump failed");
  }
  await expect(store.save({ ...request(), archive: cut() })).rejects.toThrow("dump failed");
  const stop = new AbortController();
  async function* stopped() {
    yield* chunks.slice(0, 3);
    stop.abort(new Error("stopped"));
    yield* chunks.slice(3);
  }
  await expect(store.save({ ...request(), archive: stopped(), signal: stop.signal })).rejects.toThrow("stopped");
  expect(await inFolder("main")).toEqual([]);
  expect(await inFolder("copy")).toEqual([]);
});

test("what a dead run has left goes from both stores, and from the main one alone when the copy has failed", async () => {
  const leftover = `.kaa-backup~1~elsewhere~r1~${fileName}`;
  const store = copying();
  await store.prepare(signal);
  for (const folder of ["main", "copy"]) await writeFile(join(parent, folder, leftover), "data");
  await store.discardUnfinished(fileName, signal);
  expect([...(await inFolder("main")), ...(await inFolder("copy"))]).toEqual([]);

  const broken = copyingStore(main, { ...copy, prepare: () => Promise.reject(new Error("gone")) }, () => undefined);
  await broken.prepare(signal);
  for (const folder of ["main", "copy"]) await writeFile(join(parent, folder, leftover), "data");
  await broken.discardUnfinished(fileName, signal);
  expect(await inFolder("main")).toEqual([]);
  expect(await inFolder("copy")).toEqual([leftover]);
});

test("everything but saving is asked of the main store", async () => {
  const store = copying();
  expect(await store.check(signal)).toBe("absent");
  await store.prepare(signal);
  await store.save(request());
  await rm(join(parent, "copy", fileName));
  const names: string[] = [];
  for await (const file of store.list(signal)) names.push(file.fileName);
  expect(names).toEqual([fileName]);
  await (await store.open(fileName, signal)).close();
  await store.remove(fileName, signal);
  expect(await inFolder("main")).toEqual([]);
  expect([store.location, store.clockAheadMs()]).toEqual([main.location, undefined]);
});

test("a signal that fires while the copy is prepared ends prepare(), and is no failure of the copy", async () => {
  const stop = new AbortController();
  const slow: Store = {
    ...copy,
    async prepare(given) {
      stop.abort(new Error("interrupted"));
      given.throwIfAborted();
    },
  };
  const store = copyingStore(main, slow, (error) => told.push(error));
  await expect(store.prepare(stop.signal)).rejects.toThrow("interrupted");
  expect(told).toEqual([]);
});
