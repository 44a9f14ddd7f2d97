import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { type Digest, digestOf } from "../../src/base/bytes.ts";
import { segmentBytes } from "../../src/snapshot/limits.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import type { SnapshotOutput } from "../../src/snapshot/writer.ts";
import {
  dumpOf,
  facts,
  fileOf,
  type GivenStream,
  header,
  type MadeFile,
  make,
  never,
  noise,
  send,
  whole,
} from "./make.ts";

/** Digests by path: comparing megabytes with toEqual takes seconds. */
async function contentOf(made: MadeFile): Promise<Record<string, Digest>> {
  const snapshot = await openSnapshot(fileOf(made), never);
  await snapshot.verifyAll(never);
  const found: Record<string, Digest> = {};
  for (const instance of snapshot.manifest.instances) {
    for (const stream of instance.streams) {
      found[`${instance.folder}/${stream.name}`] = digestOf(await whole(snapshot.readStream(instance, stream, never)));
    }
  }
  return found;
}

describe("a snapshot gives back what was put in", () => {
  test("of no dump at all", async () => {
    const made = await make([]);
    expect(await contentOf(made)).toEqual({});
    const { manifest } = await openSnapshot(fileOf(made), never);
    expect(manifest).toEqual(made.manifest);
    expect(manifest).toMatchObject({ ...header, complete: true, instances: [], discarded: [] });
  });

  test.each([
    ["nothing", 0, [0]],
    ["one byte", 1, [1]],
    ["one byte less than a segment", segmentBytes - 1, [segmentBytes - 1]],
    ["exactly a segment", segmentBytes, [segmentBytes]],
    ["one byte more than a segment", segmentBytes + 1, [segmentBytes, 1]],
    ["exactly two segments", 2 * segmentBytes, [segmentBytes, segmentBytes]],
  ])("of a stream of %s", async (_, size, segments) => {
    const content = Buffer.alloc(size, "telemetry,42\n");
    const made = await make([dumpOf("influxdb", "kaa-influxdb", { name: "all", content, chunkBytes: 1_000_003 })]);
    expect(await contentOf(made)).toEqual({ "influxdb/kaa-influxdb/all": digestOf(content) });
    const stream = made.manifest.instances[0]?.streams[0];
    expect(stream?.segments.map((segment) => segment.bytes)).toEqual(segments);
    expect(stream?.stored).toEqual(digestOf(content));
  });

  test("of many streams of several dumps side by side", async () => {
    const streams: GivenStream[] = Array.from({ length: 12 }, (_, index) => ({
      name: `databases/db${index}.dump`,
      content: noise(index * 1_500_000, String(index)),
    }));
    const together = (storage: string, own: readonly GivenStream[]) => ({
      storage,
      instance: `kaa-${storage}`,
      async run(output: Parameters<typeof send>[0]) {
        await Promise.all(own.map((stream) => send(output, stream)));
        return facts;
      },
    });
    const made = await make([together("mariadb", streams.slice(0, 6)), together("mongodb", streams.slice(6))], {
      concurrency: 2,
      compressionLevel: 0,
    });
    const found = await contentOf(made);
    const expected = streams.map(({ name, content }, index) => [
      index < 6 ? `mariadb/kaa-mariadb/${name}` : `mongodb/kaa-mongodb/${name}`,
      digestOf(content),
    ]);
    expect(found).toEqual(Object.fromEntries(expected));
  });

  test("of a stream that the pod has compressed, which is stored and not compressed again", async () => {
    const plain = Buffer.alloc(3_000_000, "vault secret list\n");
    const content = gzipSync(noise(200_000), { level: 1 });
    const both = Buffer.concat([gzipSync(plain), content]); // gzip -c a b: two members are one gzip stream
    const dump = dumpOf("vault", "kaa-vault", {
      name: "secrets",
      encoding: "gzip",
      content: both,
      plain: digestOf(gunzipSync(both)),
    });
    const made = await make([dump]);
    expect(await contentOf(made)).toEqual({ "vault/kaa-vault/secrets": digestOf(both) });
    const segment = made.manifest.instances[0]?.streams[0]?.segments[0];
    expect(segment?.length).toBeGreaterThan(both.byteLength);
    expect(segment?.length).toBeLessThan(both.byteLength + 2_000);
  });

  test("of names that are long, percent-encoded and alike", async () => {
    const names = [
      "a",
      "a.gz",
      "a.000000",
      `databases/${"%D0%9A".repeat(100)}.dump`,
      `${"deep/".repeat(60)}end`,
      "x".repeat(3072),
      ...[99, 100, 101, 155, 156, 255, 256].map((length) => `n${"x".repeat(length - "vault/v/n.000000".length)}`),
      "-rf",
      "%2E%2E",
      "a=b@c+d_e%2F.1",
    ];
    const made = await make([dumpOf("vault", "v", ...names.map((name) => ({ name, content: Buffer.from(name) })))]);
    const found = await contentOf(made);
    expect(Object.keys(found)).toEqual(names.map((name) => `vault/v/${name}`));
    for (const name of names) expect(found[`vault/v/${name}`]).toEqual(digestOf(Buffer.from(name)));
  });
});

test("the same input gives the same bytes, however it was chunked", async () => {
  const content = Buffer.concat([noise(3_000_000), Buffer.alloc(9_000_000, "row\n")]);
  const dumps = (chunkBytes: number) => [
    dumpOf("mariadb", "m", { name: "a", content, chunkBytes }, { name: "b", content: noise(10), chunkBytes }),
  ];
  const [one, other] = [await make(dumps(1_000_000)), await make(dumps(4_096))];
  expect(one.bytes.equals(other.bytes)).toBe(true);
});

test("a partial snapshot names what is missing and bears another name", async () => {
  const failures = [{ storage: "minio", instance: "kaa-minio", reason: "no pod is ready" }];
  const made = await make([dumpOf("vault", "v", { name: "a", content: noise(5) })], { failures });
  expect(made.fileName).toBe("12-02-2021-15-28-37.partial.tar.gz");
  const { manifest } = await openSnapshot(fileOf(made), never);
  expect(manifest).toMatchObject({ complete: false, failures });
  const asComplete = { ...made, fileName: "12-02-2021-15-28-37.tar.gz" };
  await expect(openSnapshot(fileOf(asComplete), never)).rejects.toThrow(
    /it was made as "12-02-2021-15-28-37.partial.tar.gz"/,
  );
});

test("a dump that begins again keeps only its last attempt, and the file still accounts for every byte", async () => {
  const first = noise(6 * segmentBytes + 10, "first");
  const second = noise(1000, "second");
  const made = await make(
    [
      {
        storage: "mongodb",
        instance: "kaa-mongodb",
        async run(output) {
          await send(output, { name: "archive", content: first });
          output.restart();
          output.restart();
          await send(output, { name: "archive", content: second });
          return facts;
        },
      },
      dumpOf("vault", "kaa-vault", { name: "all", content: noise(10) }),
    ],
    { compressionLevel: 0 },
  );
  expect(Object.keys(await contentOf(made))).toEqual(["mongodb/kaa-mongodb~3/archive", "vault/kaa-vault/all"]);
  const numbers = ["000000", "000001", "000002", "000003", "000004", "000005", "000006"];
  const paths = made.manifest.discarded.map(({ path }) => path);
  expect(paths).toEqual(numbers.map((number) => `mongodb/kaa-mongodb/archive.${number}`));
  expect(made.manifest.instances[0]?.streams[0]?.stored).toEqual(digestOf(second));
});

test("a stream that failed in the middle can be tried again", async () => {
  const content = noise(3 * segmentBytes, "again");
  const options = { compressionLevel: 0 };
  const dumps = [
    {
      storage: "mongodb",
      instance: "kaa-mongodb",
      async run(output: SnapshotOutput) {
        const broken = output.stream("archive", {
          encoding: "identity",
          bytes: (async function* () {
            yield content.subarray(0, 2 * segmentBytes + 5);
            throw new Error("connection lost");
          })(),
          finish: () => Promise.reject(new Error("not reached")),
        });
        await expect(broken).rejects.toThrow("connection lost");
        output.restart();
        await send(output, { name: "archive", content });
        return facts;
      },
    },
  ];
  const made = await make(dumps, options);
  const found = await contentOf(made);
  expect(found).toEqual({ "mongodb/kaa-mongodb~2/archive": digestOf(content) });
});
