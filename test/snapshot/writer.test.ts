import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { digestOf, Meter } from "../../src/base/bytes.ts";
import { UserError } from "../../src/base/errors.ts";
import { segmentBytes } from "../../src/snapshot/limits.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import type { Manifest } from "../../src/snapshot/toc.ts";
import { type Dump, type SnapshotOutput, writeSnapshot } from "../../src/snapshot/writer.ts";
import { chunked, dumpOf, facts, fileOf, fixedClock, make, never, noise, optionsOf, send, whole } from "./make.ts";

const content = Buffer.from("some rows\n");
const right = digestOf(content);
const wrong = digestOf(Buffer.from("other rows"));

/** A dump that does this and reports no more. */
function doing(work: (output: SnapshotOutput, signal: AbortSignal) => Promise<unknown>, storage = "vault"): Dump {
  return {
    storage,
    instance: `kaa-${storage}`,
    async run(output, signal) {
      await work(output, signal);
      return facts;
    },
  };
}

/** Resolves when the signal fires. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

test.each([
  ["that compresses by itself is not compressed again", true, 50_000],
  ["of any other format is", false, 100],
])("a stream of a format %s", async (_, isCompressed, leastBytes) => {
  const zeros = Buffer.alloc(50_000);
  const finish = async () => ({ plain: digestOf(zeros), stored: digestOf(zeros), by: "pod" as const });
  const dump = doing((output) =>
    output.stream("a", { bytes: chunked(zeros), encoding: "identity", isCompressed, finish }),
  );
  const { manifest } = await make([dump]);
  const [segment] = manifest.instances[0]?.streams[0]?.segments ?? [];
  expect(segment?.length).toBeGreaterThan(leastBytes);
  expect(segment?.length).toBeLessThan(leastBytes + 2000);
});

describe("a stream is refused", () => {
  test.each([
    ["has sent more than arrived", { ...right, bytes: 11 }, /10 bytes arrived, the source counted 11/],
    ["has sent other bytes", { ...wrong, bytes: 10 }, /are not those sent/],
  ])("when its source %s", async (_, stored, message) => {
    const dump = doing((output) =>
      output.stream("a", {
        bytes: chunked(content),
        encoding: "identity",
        finish: async () => ({ plain: stored, stored, by: "pod" }),
      }),
    );
    const error = await make([dump]).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(UserError);
    expect(error.outcome).toBe("storage-failed");
    expect(error.message).toMatch(message);
  });

  test("when its source says that plain and stored bytes differ, though nothing is encoded", async () => {
    const dump = doing((output) =>
      output.stream("a", {
        bytes: chunked(content),
        encoding: "identity",
        finish: async () => ({ plain: wrong, stored: right, by: "protocol" }),
      }),
    );
    await expect(make([dump])).rejects.toThrow(/contradicts itself/);
  });

  test("when it should be gzip and is nothing", async () => {
    const dump = dumpOf("vault", "v", { name: "a", content: Buffer.alloc(0), encoding: "gzip" });
    await expect(make([dump])).rejects.toThrow(/nothing arrived/);
  });

  test("when its source fails after the last byte", async () => {
    const failure = new Error("exit status 1");
    const dump = doing((output) =>
      output.stream("a", { bytes: chunked(content), encoding: "identity", finish: () => Promise.reject(failure) }),
    );
    await expect(make([dump])).rejects.toBe(failure);
  });

  test.each(["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", ".hidden", "a b", "a\\b", "a\0", "ä", "C:a", "a~2"])(
    "when it is named %j",
    async (name) => {
      await expect(make([dumpOf("vault", "v", { name, content })])).rejects.toThrow(/not the name of a stream/);
    },
  );

  test("when its name is longer than 3072 characters", async () => {
    const name = "x".repeat(3_073);
    await expect(make([dumpOf("vault", "v", { name, content })])).rejects.toThrow(/not the name of a stream/);
  });

  test("when its entries would have the names of another's", async () => {
    const packed = gzipSync(content);
    const dump = dumpOf(
      "vault",
      "v",
      { name: "a.gz", content },
      { name: "a", content: packed, encoding: "gzip", plain: right },
    );
    await expect(make([dump])).rejects.toThrow(/"vault\/v\/a.gz": the name is taken/);
  });

  test("when sixty-four are open", async () => {
    const dump = doing(async (output, signal) => {
      const hanging = Array.from({ length: 64 }, (_, index) =>
        output.stream(`hanging${index}`, {
          encoding: "identity",
          bytes: (async function* () {
            yield content;
            await aborted(signal);
          })(),
          finish: () => Promise.reject(new Error("not reached")),
        }),
      );
      await Promise.all([...hanging, send(output, { name: "one-too-many", content })]);
    });
    await expect(make([dump])).rejects.toThrow(/too many streams are open/);
  });
});

describe("a dump fails the snapshot", () => {
  test("when it goes on as though a stream had not failed", async () => {
    const dump = doing(async (output) => {
      await output
        .stream("a", {
          bytes: chunked(content),
          encoding: "identity",
          finish: () => Promise.reject(new Error("exit status 1")),
        })
        .catch(() => {});
      await send(output, { name: "b", content });
    });
    await expect(make([dump])).rejects.toThrow("exit status 1");
  });

  test("when it ends before its streams, which are awaited none the less", async () => {
    let isReleased = false;
    const dump = doing(async (output, signal) => {
      const forgotten = output.stream("a", {
        encoding: "identity",
        bytes: (async function* () {
          try {
            yield content;
            await aborted(signal);
          } finally {
            await pause(20);
            isReleased = true;
          }
        })(),
        finish: async () => ({ plain: right, stored: right, by: "pod" }),
      });
      forgotten.catch(() => {});
    });
    await expect(make([dump])).rejects.toThrow(/"vault\/kaa-vault" has ended before its streams/);
    expect(isReleased).toBe(true);
  });

  test.each([
    ["a count that is no number", { counts: { rows: Number.NaN } }],
    ["a count below zero", { counts: { rows: -1 } }],
    ["half a row", { counts: { rows: 0.5 } }],
  ])("when it reports %s", async (_, report) => {
    const dump: Dump = { storage: "vault", instance: "v", run: async () => ({ ...facts, ...report }) };
    await expect(make([dump])).rejects.toThrow(/vault\/v\.counts\.rows: not a whole number/);
  });

  test("when it stores a stream after its end", async () => {
    let kept: SnapshotOutput | undefined;
    const first = doing(async (output) => {
      kept = output;
    });
    const second = doing(async () => {
      await expect(kept && send(kept, { name: "late", content })).rejects.toThrow(/the dump has ended/);
      expect(() => kept?.restart()).toThrow(/the dump has ended/);
    }, "minio");
    const made = await make([first, second]);
    expect(made.manifest.instances.map(({ streams }) => streams)).toEqual([[], []]);
  });
});

test("streams of an attempt that was given up fail, and the dump can go on", async () => {
  const dump = doing(async (output) => {
    const gate = Promise.withResolvers<void>();
    const old = output.stream("a", {
      encoding: "identity",
      bytes: (async function* () {
        yield content;
        await gate.promise;
        yield content;
      })(),
      finish: () => Promise.reject(new Error("not reached")),
    });
    output.restart();
    gate.resolve();
    await expect(old).rejects.toThrow(/has been started again/);
    await send(output, { name: "a", content });
  });
  const made = await make([dump]);
  await (await openSnapshot(fileOf(made), never)).verifyAll(never);
  expect(made.manifest.instances[0]).toMatchObject({ folder: "vault/kaa-vault~2", streams: [{ name: "a" }] });
});

describe("when a dump fails", () => {
  const failure = new UserError("stream-lost", "connection lost");

  test("the others are cancelled and awaited, and its error is thrown", async () => {
    const events: string[] = [];
    const slow = doing(async (_, signal) => {
      await aborted(signal);
      await pause(30);
      events.push(`slow ended: ${signal.reason === failure}`);
      throw new Error("cancelled");
    }, "mongodb");
    const failing = doing(async (output) => {
      await send(output, { name: "a", content });
      throw failure;
    });
    const notBegun = doing(async () => events.push("begun"), "minio");
    await expect(make([slow, failing, notBegun], { concurrency: 2 })).rejects.toBe(failure);
    expect(events).toEqual(["slow ended: true"]);
  });

  test("a dump that waits for a slow consumer gets the error instead of room", async () => {
    const dumps = [
      doing(async (output) => await send(output, { name: "big", content: noise(20 * segmentBytes) }), "mongodb"),
      doing(async () => {
        await pause(100);
        throw failure;
      }),
    ];
    const archive = writeSnapshot(optionsOf(dumps, { concurrency: 2 }));
    await archive.next();
    await archive.next();
    await pause(200);
    await expect(whole(archive)).rejects.toBe(failure);
  });

  test("a source that trickles and heeds no signal is left, too", async () => {
    const deaf = doing(
      (output) =>
        output.stream("trickle", {
          encoding: "identity",
          bytes: (async function* () {
            for (let chunks = 0; chunks < 10_000; chunks += 1) {
              await pause(1);
              yield content;
            }
            throw new Error("read to its end");
          })(),
          finish: () => Promise.reject(new Error("not reached")),
        }),
      "mongodb",
    );
    const events: unknown[] = [];
    const watched: Dump = {
      ...deaf,
      async run(output, signal) {
        try {
          return await deaf.run(output, signal);
        } catch (error) {
          events.push(error);
          throw error;
        }
      },
    };
    const failing = doing(() => Promise.reject(failure));
    await expect(make([watched, failing], { concurrency: 2 })).rejects.toBe(failure);
    expect(events).toEqual([failure]);
  });

  test("a second failure does not replace the first", async () => {
    const second = doing(async (_, signal) => {
      await aborted(signal);
      throw new Error("another");
    }, "mongodb");
    const first = doing(() => Promise.reject(failure));
    await expect(make([second, first], { concurrency: 2 })).rejects.toBe(failure);
  });
});

describe("cancelling", () => {
  test("by the signal throws its reason, after the dumps have settled", async () => {
    const controller = new AbortController();
    let hasSettled = false;
    const dump = doing(async (output, signal) => {
      await send(output, { name: "a", content });
      controller.abort(new Error("Ctrl-C"));
      await pause(30);
      hasSettled = true;
      signal.throwIfAborted();
    });
    await expect(make([dump], { signal: controller.signal })).rejects.toThrow("Ctrl-C");
    expect(hasSettled).toBe(true);
  });

  test("before the beginning runs nothing", async () => {
    let hasRun = false;
    const dump = doing(async () => {
      hasRun = true;
    });
    await expect(make([dump], { signal: AbortSignal.abort(new Error("Ctrl-C")) })).rejects.toThrow("Ctrl-C");
    expect(hasRun).toBe(false);
  });

  test("by leaving the iteration releases sources and awaits the dumps", async () => {
    const events: string[] = [];
    const dump = doing(async (output) => {
      try {
        await output.stream("endless", {
          encoding: "identity",
          bytes: (async function* () {
            try {
              while (true) yield noise(1_000_000);
            } finally {
              events.push("source released");
            }
          })(),
          finish: () => Promise.reject(new Error("not reached")),
        });
      } finally {
        await pause(30);
        events.push("dump settled");
      }
    });
    let manifests = 0;
    const archive = writeSnapshot(optionsOf([dump], { onManifest: () => manifests++ }));
    let pieces = 0;
    for await (const _ of archive) {
      pieces += 1;
      if (pieces === 20) break;
    }
    expect(events).toEqual(["source released", "dump settled"]);
    expect(manifests).toBe(0);
  });
});

describe("a slow consumer", () => {
  const mebibyte = 1024 * 1024;

  /** Seven dumps, each with a stream that never ends, and what has been pulled out of them. */
  function endless(pulled: { bytes: number }): Dump[] {
    const chunk = noise(mebibyte);
    return Array.from({ length: 7 }, (_, index) =>
      doing(
        (output) =>
          output.stream("endless", {
            encoding: "identity",
            bytes: (async function* () {
              while (true) {
                pulled.bytes += chunk.byteLength;
                yield chunk;
              }
            })(),
            finish: () => Promise.reject(new Error("not reached")),
          }),
        `storage${index}`,
      ),
    );
  }

  test("holds seven streams back at a bounded number of bytes", async () => {
    const pulled = { bytes: 0 };
    const archive = writeSnapshot(optionsOf(endless(pulled), { concurrency: 7, compressionLevel: 1 }));
    let taken = 0;
    for (let round = 0; round < 3; round += 1) {
      for (let piece = 0; piece < 40; piece += 1) taken += (await archive.next()).value?.byteLength ?? 0;
      let before = -1;
      while (before !== pulled.bytes) {
        before = pulled.bytes;
        await pause(100);
      }
      // One segment and one chunk for each stream; three being compressed and one being written.
      expect(pulled.bytes - taken).toBeLessThanOrEqual((7 + 3 + 1) * segmentBytes + 7 * mebibyte);
    }
    expect(taken).toBeGreaterThan(2 * segmentBytes);
    await archive.return();
  });
});

describe("the manifest", () => {
  test("tells of each instance what its dump reported, in the order of the dumps", async () => {
    let seconds = 0;
    const clock = () => new Date(Date.UTC(2021, 1, 12, 15, 29, seconds++));
    const report = {
      serverVersion: "PostgreSQL 15.18",
      counts: { databases: 3, rows: 0, ["__proto__"]: 1 },
      warnings: ["not point-in-time"],
      facts: { roles: ["app"], nested: [{ a: null }], text: `\\"${"[".repeat(100)}\\` },
    };
    const dumps: Dump[] = [
      { storage: "postgresql", instance: "a", run: async () => report },
      doing((output) => send(output, { name: "x", content })),
    ];
    const { manifest } = await make(dumps, { clock });
    expect(manifest.instances.map(({ folder }) => folder)).toEqual(["postgresql/a", "vault/kaa-vault"]);
    expect(manifest.instances[0]).toMatchObject({
      ...report,
      startedAt: "2021-02-12T15:29:00.000Z",
      finishedAt: "2021-02-12T15:29:01.000Z",
    });
    expect(manifest.startedAt).toBe("2021-02-12T15:28:37.000Z");
    expect(manifest.instances[1]?.streams[0]).toMatchObject({ name: "x", witness: { by: "pod", ...right } });
  });

  test("is given before the last bytes, so that whoever has them all has it", async () => {
    let manifest: Manifest | undefined;
    let hadItBeforeTheLast = false;
    const archive = writeSnapshot(optionsOf([], { onManifest: (given) => (manifest = given) }));
    for await (const _ of archive) hadItBeforeTheLast = manifest !== undefined;
    expect(hadItBeforeTheLast).toBe(true);
  });
});

test("a manifest that could not be read back is not written", async () => {
  const content = gzipSync("rows");
  const plain = { bytes: Number.NaN, sha256: right.sha256 };
  const dump = dumpOf("vault", "v", { name: "a", content, encoding: "gzip", plain });
  await expect(make([dump])).rejects.toThrow(/the manifest of the snapshot could not be read back/);
});

test.each([
  ["an instance twice", { dumps: [dumpOf("a", "b"), dumpOf("a", "b")] }, /dumped twice/],
  ["a storage that is no folder", { dumps: [dumpOf("..", "b")] }, /cannot be a folder/],
  ["an instance that looks like a second attempt", { dumps: [dumpOf("a", "b~2")] }, /cannot be a folder/],
  ["no dump at a time", { concurrency: 0 }, /0 dumps at once/],
  ["none of one storage at a time", { limits: { mariadb: 0 } }, /at once/],
  ["a header that could not be read", { header: { ...optionsOf([]).header, name: "today" } }, /could not be read back/],
])("writing refuses %s", async (_, options, message) => {
  await expect(make([], options)).rejects.toThrow(message);
});

test("of one storage no more run at once than its limit says, and its turn keeps no other from running", async () => {
  const running: string[] = [];
  const seen: string[] = [];
  const dump = (storage: string, instance: string) => ({
    ...doing(async (output) => {
      running.push(storage);
      seen.push([...running].sort().join("+"));
      await send(output, { name: "a", content });
      await pause(30);
      running.splice(running.indexOf(storage), 1);
    }, storage),
    instance,
  });
  const dumps = [
    dump("mariadb", "a"),
    dump("mariadb", "b"),
    dump("mariadb", "c"),
    dump("minio", "d"),
    dump("vault", "e"),
  ];
  const made = await make(dumps, { concurrency: 3, limits: { mariadb: 1 } });
  expect(made.manifest.instances.map(({ instance }) => instance)).toEqual(["a", "b", "c", "d", "e"]);
  expect(seen).toContain("mariadb+minio+vault");
  expect(seen.join(" ")).not.toContain("mariadb+mariadb");

  seen.length = 0;
  await make([dump("minio", "d"), dump("mariadb", "a")], { concurrency: 2, limits: { mariadb: 1 } });
  expect(seen).toEqual(["minio", "mariadb+minio"]);
});

test("a stream's digests are those of what passed, whatever the chunks", async () => {
  const meter = new Meter();
  const chunks = [0, 1, 4_095, 65_536, 9_000_000].map((size) => noise(size));
  for (const chunk of chunks) meter.update(chunk);
  const digest = meter.digest();
  const dump = doing((output) =>
    output.stream("a", {
      encoding: "identity",
      bytes: (async function* () {
        yield* chunks;
      })(),
      finish: async () => ({ plain: digest, stored: digest, by: "protocol" }),
    }),
  );
  const made = await make([dump], { clock: fixedClock });
  await (await openSnapshot(fileOf(made), never)).verifyAll(never);
});

test("a source may use its chunk's memory again for the next one", async () => {
  const buffer = Buffer.alloc(100_000);
  const parts = [noise(100_000, "1"), noise(100_000, "2"), noise(100_000, "3")];
  const digest = digestOf(Buffer.concat(parts));
  const dump = doing((output) =>
    output.stream("a", {
      encoding: "identity",
      bytes: (async function* () {
        for (const part of parts) {
          part.copy(buffer);
          yield buffer;
        }
      })(),
      finish: async () => ({ plain: digest, stored: digest, by: "pod" }),
    }),
  );
  const made = await make([dump]);
  const snapshot = await openSnapshot(fileOf(made), never);
  await snapshot.verifyAll(never);
});
