/** What every store promises (`src/stores/store.ts`), as tests that run against any of them: a directory, the fake S3
 *  server, and a real one in the end-to-end suite. */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Bytes } from "../../src/base/bytes.ts";
import { collect } from "../../src/base/bytes.ts";
import { UserError } from "../../src/base/errors.ts";
import type { SaveRequest, Store, StoredFile } from "../../src/stores/store.ts";

export interface StoreUnderTest {
  /** A store of its own; nothing has been prepared. */
  readonly store: Store;
  /** In how large pieces it stores. */
  readonly partSizeBytes: number;
  /** Everything under any name that is not a finished file: temporary files, open uploads of `fileNames`. */
  leftovers(fileNames: readonly string[]): Promise<readonly string[]>;
  dispose(): Promise<void>;
}

export const first = "12-02-2021-15-28-37.tar.gz";
export const second = "13-02-2021-00-00-00.partial.tar.gz";
export const never = new AbortController().signal;

/** Bytes that no two offsets share by accident. */
export function noise(sizeBytes: number, seed = "seed"): Buffer {
  const blocks: Buffer[] = [];
  for (let at = 0; at < sizeBytes; at += 64) blocks.push(createHash("sha512").update(`${seed} ${at}`).digest());
  return Buffer.concat(blocks).subarray(0, sizeBytes);
}

export async function* inChunks(bytes: Uint8Array, chunkBytes: number): Bytes {
  for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
    await null;
    yield bytes.subarray(at, at + chunkBytes);
  }
}

export function request(archive: Bytes, rest: Partial<SaveRequest> = {}): SaveRequest {
  return { fileName: first, runId: "run-1", signal: never, archive, ...rest };
}

export async function listed(store: Store): Promise<StoredFile[]> {
  const files: StoredFile[] = [];
  for await (const file of store.list(never)) files.push(file);
  return files.sort((a, b) => (a.fileName < b.fileName ? -1 : 1));
}

export async function contentOf(store: Store, fileName: string): Promise<Buffer> {
  const file = await store.open(fileName, never);
  try {
    return await collect(file.read(0, file.sizeBytes, never), file.sizeBytes);
  } finally {
    await file.close();
  }
}

/** Runs the contract's tests; `open` makes a store of its own for each. */
export function testStoreContract(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`${name} as a store`, () => {
    let under: StoreUnderTest;
    let store: Store;
    beforeEach(async () => {
      under = await open();
      store = under.store;
    });
    afterEach(async () => {
      await under.dispose();
    });

    const expectOnly = async (...contents: readonly (readonly [fileName: string, bytes: Buffer])[]) => {
      expect((await listed(store)).map(({ fileName }) => fileName)).toEqual(contents.map(([fileName]) => fileName));
      for (const [fileName, bytes] of contents) expect((await contentOf(store, fileName)).equals(bytes)).toBe(true);
      expect(await under.leftovers([first, second])).toEqual([]);
    };

    test("check() makes nothing, and leaves nothing where it may write", async () => {
      await expect(store.check(never)).resolves.toBe("absent");
      await expect(listed(store)).rejects.toMatchObject({ outcome: "not-found" });
      await store.prepare(never);
      await expect(store.check(never)).resolves.toBe("ready");
      await expectOnly();
      expect(await under.leftovers(["kaa-backup-probe"])).toEqual([]);
    });

    test("an absent place is not found, until prepare() has made it, and prepare() may be repeated", async () => {
      await expect(listed(store)).rejects.toMatchObject({ outcome: "not-found" });
      await store.prepare(never);
      await store.prepare(never);
      await expectOnly();
    });

    test.each([
      ["one byte", 1, 1],
      ["a byte less than a part", (part: number) => part - 1, 1009],
      ["exactly a part", (part: number) => part, 4096],
      ["a byte more than a part", (part: number) => part + 1, 70_001],
      ["several parts, from chunks larger than a part", (part: number) => 3 * part + 7, 150_000],
    ])("what is saved comes back: %s", async (_what, size, chunkBytes) => {
      const bytes = noise(typeof size === "number" ? size : size(under.partSizeBytes));
      await store.prepare(never);
      const progress: number[] = [];
      const onProgress = (storedBytes: number) => progress.push(storedBytes);
      const saved = await store.save(request(inChunks(bytes, chunkBytes), { onProgress }));
      expect(saved).toMatchObject({ fileName: first, sizeBytes: bytes.byteLength });
      expect(await listed(store)).toMatchObject([{ fileName: first, sizeBytes: bytes.byteLength }]);
      expect(Math.abs((await listed(store))[0]!.modifiedAt.getTime() - Date.now())).toBeLessThan(600_000);
      expect(progress.at(-1)).toBe(bytes.byteLength);
      expect(progress).toEqual([...progress].sort((a, b) => a - b));
      await expectOnly([first, bytes]);
    });

    test("an empty archive is refused and leaves nothing", async () => {
      await store.prepare(never);
      await expect(store.save(request(inChunks(Buffer.alloc(0), 1)))).rejects.toThrow("empty");
      await expectOnly();
    });

    test("what is thrown before publishing publishes nothing, when all bytes are there", async () => {
      await store.prepare(never);
      const bytes = noise(2 * under.partSizeBytes);
      let storedBytes = 0;
      const beforePublish = async () => {
        expect(storedBytes).toBe(bytes.byteLength);
        throw new UserError("busy", "the lock is lost");
      };
      const onProgress = (total: number) => {
        storedBytes = total;
      };
      const saving = store.save(request(inChunks(bytes, 70_000), { beforePublish, onProgress }));
      await expect(saving).rejects.toMatchObject({ outcome: "busy", message: "the lock is lost" });
      await expectOnly();
    });

    test("a name that exists is never replaced", async () => {
      const bytes = noise(5000, "first");
      await store.prepare(never);
      await store.save(request(inChunks(bytes, 999)));
      const again = store.save(request(inChunks(noise(6000, "other"), 999), { runId: "run-2" }));
      await expect(again).rejects.toMatchObject({ outcome: "busy" });
      await expectOnly([first, bytes]);
    });

    test("of two that save under one name at once, one wins and the other is busy", async () => {
      await store.prepare(never);
      const [one, other] = [noise(150_000, "one"), noise(150_000, "other")];
      const [a, b] = await Promise.allSettled([
        store.save(request(inChunks(one, 10_000), { runId: "run-a" })),
        store.save(request(inChunks(other, 10_000), { runId: "run-b" })),
      ]);
      expect([a.status, b.status].sort()).toEqual(["fulfilled", "rejected"]);
      expect([a, b].find(({ status }) => status === "rejected")).toMatchObject({ reason: { outcome: "busy" } });
      await expectOnly([first, a.status === "fulfilled" ? one : other]);
    });

    test("an archive that breaks off leaves nothing, and its own error comes out", async () => {
      await store.prepare(never);
      const kept = noise(100);
      await store.save(request(inChunks(kept, 100), { fileName: second }));
      const lost = new Error("the connection to the pod was lost");
      for (const afterBytes of [0, 1, under.partSizeBytes, 2 * under.partSizeBytes + 1]) {
        const breaking = async function* () {
          yield* inChunks(noise(afterBytes), 50_000);
          throw lost;
        };
        await expect(store.save(request(breaking()))).rejects.toBe(lost);
        await expectOnly([second, kept]);
      }
    });

    test("a signal at any chunk leaves nothing, releases the archive, and its reason comes out", async () => {
      await store.prepare(never);
      const stopped = new Error("stopped by the test");
      const bytes = noise(2 * under.partSizeBytes + 11);
      const chunkBytes = Math.ceil(bytes.byteLength / 6);
      for (let stopAt = 0; stopAt <= 6; stopAt++) {
        const stop = new AbortController();
        let released = false;
        const archive = async function* () {
          try {
            for (let index = 0; index < 6; index++) {
              if (index === stopAt) stop.abort(stopped);
              yield bytes.subarray(index * chunkBytes, (index + 1) * chunkBytes);
            }
            if (stopAt === 6) stop.abort(stopped);
          } finally {
            released = true;
          }
        };
        await expect(store.save(request(archive(), { signal: stop.signal }))).rejects.toBe(stopped);
        expect(released).toBe(true);
        await expectOnly();
      }
    });

    test("a signal ends a save whose archive never answers, or that has not begun", async () => {
      await store.prepare(never);
      const stop = new AbortController();
      const silent = async function* () {
        yield noise(10);
        await sleep(60_000, undefined, { signal: stop.signal });
      };
      setTimeout(() => stop.abort(new Error("enough")), 20);
      await expect(store.save(request(silent(), { signal: stop.signal }))).rejects.toThrow("enough");
      await expect(store.save(request(silent(), { signal: stop.signal }))).rejects.toThrow("enough");
      await expectOnly();
    });

    test("a name of another form is refused before anything happens", async () => {
      await store.prepare(never);
      for (const fileName of ["../x.tar.gz", "12-02-2021-15-28-37.zip", `${first}\n`, `x${first}`, "", `./${first}`]) {
        const usage = { outcome: "usage" };
        await expect(store.save(request(inChunks(noise(1), 1), { fileName }))).rejects.toMatchObject(usage);
        await expect(store.open(fileName, never)).rejects.toMatchObject(usage);
        await expect(store.remove(fileName, never)).rejects.toMatchObject(usage);
      }
      await expectOnly();
    });

    test("any range can be read, several at a time, and left early", async () => {
      const bytes = noise(2 * under.partSizeBytes + 5);
      await store.prepare(never);
      await store.save(request(inChunks(bytes, 50_000)));
      const file = await store.open(first, never);
      expect(file).toMatchObject({ fileName: first, sizeBytes: bytes.byteLength });
      const read = async (offset: number, length: number) => await collect(file.read(offset, length, never), length);
      const { sizeBytes } = file;
      const ranges = [
        [0, 0],
        [sizeBytes, 0],
        [0, 1],
        [sizeBytes - 1, 1],
        [7, 100_000],
        [0, sizeBytes],
      ] as const; // prettier
      const got = await Promise.all(ranges.map(async ([offset, length]) => await read(offset, length)));
      for (const [index, [offset, length]] of ranges.entries()) {
        expect(got[index]!.equals(bytes.subarray(offset, offset + length))).toBe(true);
      }
      for await (const chunk of file.read(3, sizeBytes - 3, never)) {
        expect(chunk[0]).toBe(bytes[3]);
        break;
      }
      for (const [offset, length] of [
        [0, sizeBytes + 1],
        [sizeBytes, 1],
        [-1, 1],
        [0, -1],
        [0.5, 1],
      ] as const) {
        await expect(read(offset, length)).rejects.toThrow(RangeError);
      }
      const stop = new AbortController();
      const reading = async () => {
        for await (const _ of file.read(0, sizeBytes, stop.signal)) stop.abort(new Error("enough"));
      };
      await expect(reading()).rejects.toThrow("enough");
      await expect(reading()).rejects.toThrow("enough");
      await file.close();
    });

    test("a file that is replaced while open is never mixed with its successor", async () => {
      const [old, young] = [noise(100_000, "old"), noise(100_000, "young")];
      await store.prepare(never);
      await store.save(request(inChunks(old, 9_999)));
      const file = await store.open(first, never);
      await store.remove(first, never);
      await store.save(request(inChunks(young, 9_999), { runId: "run-2" }));
      const after = await collect(file.read(10, 1000, never), 1000).catch((error: unknown) => error);
      if (Buffer.isBuffer(after)) expect(after.equals(old.subarray(10, 1010))).toBe(true);
      else expect(after).toMatchObject({ outcome: "object-store" });
      await file.close();
      await expectOnly([first, young]);
    });

    test("remove() removes one file; what is not there is not found", async () => {
      await store.prepare(never);
      const notFound = { outcome: "not-found" };
      await expect(store.open(first, never)).rejects.toMatchObject(notFound);
      await expect(store.remove(first, never)).rejects.toMatchObject(notFound);
      await store.save(request(inChunks(noise(10), 10)));
      await store.save(request(inChunks(noise(20), 10), { fileName: second }));
      expect((await listed(store)).map(({ fileName }) => fileName)).toEqual([first, second]);
      await store.remove(first, never);
      await expectOnly([second, noise(20)]);
      await expect(store.remove(first, never)).rejects.toMatchObject(notFound);
    });

    test("a signal that has fired stops every operation", async () => {
      const stopped = AbortSignal.abort(new Error("enough"));
      await expect(store.prepare(stopped)).rejects.toThrow("enough");
      await store.prepare(never);
      await store.save(request(inChunks(noise(10), 10)));
      await expect(store.open(first, stopped)).rejects.toThrow("enough");
      await expect(store.remove(first, stopped)).rejects.toThrow("enough");
      const listing = async () => {
        for await (const _ of store.list(stopped)) expect.unreachable();
      };
      await expect(listing()).rejects.toThrow("enough");
    });
  });
}
