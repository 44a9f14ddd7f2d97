import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { collect } from "../../src/base/bytes.ts";
import { UserError } from "../../src/base/errors.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import { type SnapshotOutput, writeSnapshot } from "../../src/snapshot/writer.ts";
import { chunked, dumpOf, facts, fileName, fileOf, options, source, written } from "./build.ts";

const MiB = 1024 * 1024;
const signal = AbortSignal.timeout(120_000);

async function readBack(file: Buffer) {
  const snapshot = await openSnapshot(fileOf(file), signal);
  await snapshot.verifyAll(signal);
  const streams: Record<string, Buffer> = {};
  for (const instance of snapshot.manifest.instances) {
    for (const stream of instance.streams) {
      streams[`${instance.storage}/${stream.name}`] = await collect(
        snapshot.readStream(instance, stream, signal),
        1024 * MiB,
      );
    }
  }
  return { snapshot, streams };
}

describe("writeSnapshot() and openSnapshot()", () => {
  test("give back every stream byte for byte, whatever its size", async () => {
    const sizes = [0, 1, 511, 512, 8 * MiB - 1, 8 * MiB, 8 * MiB + 1, 20 * MiB];
    const streams = Object.fromEntries(sizes.map((size) => [`s${size}`, randomBytes(size)]));
    const { streams: back } = await readBack(await written([dumpOf("a", streams)]));
    for (const size of sizes) expect(back[`a/s${size}`]?.equals(streams[`s${size}`]!)).toBe(true);
  });

  test("keep apart dumps that are written side by side", async () => {
    const big = Array.from({ length: 5 }, () => randomBytes(12 * MiB));
    const dumps = big.map((bytes, index) =>
      dumpOf(`s${index}`, { "databases/one.dump": bytes, empty: Buffer.alloc(0) }),
    );
    const { streams } = await readBack(await written(dumps));
    for (const [index, bytes] of big.entries())
      expect(streams[`s${index}/databases/one.dump`]?.equals(bytes)).toBe(true);
  });

  test("store what a pod has compressed as it came, and prove what is inside", async () => {
    const plain = Buffer.alloc(30 * MiB, "kaa ");
    const stored = gzipSync(plain);
    const dump = dumpOf("a", {});
    const file = await written([
      {
        ...dump,
        async run(output) {
          await output.stream("x.sql", source(stored, { encoding: "gzip", plain }));
          return facts;
        },
      },
    ]);
    const { snapshot, streams } = await readBack(file);
    expect(streams["a/x.sql"]?.equals(stored)).toBe(true);
    expect(snapshot.manifest.instances[0]?.streams[0]?.plain.bytes).toBe(plain.byteLength);
  });

  test("leave out what a failed attempt wrote, and still account for every byte of the file", async () => {
    const good = randomBytes(9 * MiB);
    const file = await written([
      {
        ...dumpOf("a", {}),
        async run(output) {
          await output.stream("whole", source(randomBytes(1000)));
          const broken = (async function* () {
            yield* chunked(randomBytes(17 * MiB));
            throw new Error("the pod went away");
          })();
          await expect(output.stream("cut", { ...source(good), bytes: broken })).rejects.toThrow("went away");
          output.restart();
          await output.stream("whole", source(good));
          return facts;
        },
      },
    ]);
    const { snapshot, streams } = await readBack(file);
    expect(Object.keys(streams)).toEqual(["a/whole"]);
    expect(streams["a/whole"]?.equals(good)).toBe(true);
    expect(snapshot.manifest.instances[0]?.folder).toBe("a/kaa-a~2");
    expect(snapshot.manifest.discarded.map((each) => each.path)).toEqual([
      "a/kaa-a/cut.000000",
      "a/kaa-a/cut.000001",
      "a/kaa-a/whole.000000",
    ]);
  });

  test("are opened by the system's tar, also with long names, and cat joins the segments", async () => {
    const folder = mkdtempSync(join(tmpdir(), "kaa-snapshot-"));
    try {
      const long = `databases/${"%C3%A4".repeat(40)}.dump`;
      const bytes = randomBytes(20 * MiB);
      writeFileSync(join(folder, fileName), await written([dumpOf("postgresql", { [long]: bytes })]));
      execFileSync("gzip", ["-t", fileName], { cwd: folder });
      execFileSync("tar", ["xzf", fileName], { cwd: folder });
      const joined = execFileSync("sh", ["-c", 'cat "$1".* | sha256sum', "sh", `postgresql/kaa-postgresql/${long}`], {
        cwd: folder,
      });
      expect(joined.toString().slice(0, 64)).toBe(createHash("sha256").update(bytes).digest("hex"));
      expect(JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8")).complete).toBe(true);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("read only the wanted storage for a selective restore", async () => {
    const small = randomBytes(3 * MiB);
    const file = fileOf(await written([dumpOf("big", { x: randomBytes(60 * MiB) }), dumpOf("small", { y: small })]));
    const snapshot = await openSnapshot(file, signal);
    const instance = snapshot.manifest.instances.find((each) => each.storage === "small")!;
    await snapshot.verifyInstances([instance], signal);
    expect(file.readBytes).toBeLessThan(1.2 * small.byteLength);
  });
});

describe("writeSnapshot()", () => {
  test("refuses a stream whose source counted other bytes than arrived", async () => {
    const lying = { ...source(randomBytes(1000)), bytes: chunked(randomBytes(999)) };
    const dump = {
      ...dumpOf("a", {}),
      async run(output: SnapshotOutput) {
        await output.stream("x", lying);
        return facts;
      },
    };
    await expect(written([dump])).rejects.toMatchObject({ outcome: "storage-failed" });
  });

  test("throws what a dump threw, after the others have ended", async () => {
    let ended = 0;
    const slow = {
      ...dumpOf("slow", {}),
      async run(output: SnapshotOutput, stop: AbortSignal) {
        try {
          const endless = (async function* () {
            while (true) {
              stop.throwIfAborted();
              yield randomBytes(MiB);
            }
          })();
          await output.stream("endless", { ...source(Buffer.alloc(0)), bytes: endless });
          return facts;
        } finally {
          ended += 1;
        }
      },
    };
    const failing = {
      ...dumpOf("bad", {}),
      run: async () => Promise.reject(new UserError("storage-failed", "exit code 3")),
    };
    await expect(written([slow, failing])).rejects.toThrow("exit code 3");
    expect(ended).toBe(1);
  });

  test("cancels the dumps when the consumer stops", async () => {
    let pulled = 0;
    const endless = {
      ...dumpOf("a", {}),
      async run(output: SnapshotOutput) {
        const bytes = (async function* () {
          while (true) {
            pulled += MiB;
            yield randomBytes(MiB);
          }
        })();
        await output.stream("x", { ...source(Buffer.alloc(0)), bytes });
        return facts;
      },
    };
    for await (const _ of writeSnapshot(options([endless]))) break;
    const afterwards = pulled;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(pulled).toBe(afterwards);
  });

  test("makes a dump wait for a slow consumer", async () => {
    let pulled = 0;
    const dump = {
      ...dumpOf("a", {}),
      async run(output: SnapshotOutput) {
        const bytes = (async function* () {
          for (let n = 0; n < 400; n++) {
            pulled += MiB;
            yield randomBytes(MiB);
          }
        })();
        await output.stream("x", { ...source(Buffer.alloc(0)), bytes });
        return facts;
      },
    };
    for await (const _ of writeSnapshot(options([dump]))) {
      await new Promise((resolve) => setTimeout(resolve, 1500));
      break;
    }
    expect(pulled).toBeLessThan(80 * MiB);
  });
});
