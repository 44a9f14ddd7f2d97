/** InfluxDB's driver where no server is needed: names that want to be statements, hostile manifests, backups with holes. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { collect } from "../../src/base/bytes.ts";
import type { JsonValue } from "../../src/base/json.ts";
import { identifier, literal } from "../../src/drivers/influxdb/api.ts";
import { requireWholeBackup } from "../../src/drivers/influxdb/backup.ts";
import { parseMetadata } from "../../src/drivers/influxdb/metadata.ts";
import { dumpScript } from "../../src/drivers/influxdb/scripts.ts";
import { tarEnd, tarHeader, tarPadding } from "../../src/drivers/tar.ts";

test.each([
  ["kaa", '"kaa"', "'kaa'"],
  ['a"; DROP DATABASE "b', '"a\\"; DROP DATABASE \\"b"', "'a\"; DROP DATABASE \"b'"],
  ["it's", '"it\'s"', "'it\\'s'"],
  ["back\\slash", '"back\\\\slash"', "'back\\\\slash'"],
  ["two\nlines", '"two\\nlines"', "'two\\nlines'"],
])("%j is quoted", (name, quoted, text) => {
  expect([identifier(name), literal(name)]).toEqual([quoted, text]);
});

const good = {
  databases: [
    {
      name: "kaa",
      policies: [{ name: "two", duration: "9600h0m0s", shardGroupDuration: "12h0m0s", replicas: 1, isDefault: true }],
      continuousQueries: [
        'CREATE CONTINUOUS QUERY "cq" ON kaa BEGIN SELECT mean(v) INTO b FROM a GROUP BY time(1h) END',
      ],
      subscriptions: ["away"],
    },
  ],
  users: [{ name: "reader", isAdministrator: false, grants: [{ database: "kaa", privilege: "READ" }] }],
};

describe("the record in a manifest", () => {
  test("is read back as it was written", () => {
    expect(parseMetadata(good)).toEqual(good);
  });

  /** The good one with a text in it replaced. */
  const but = (text: string, by: string): JsonValue => JSON.parse(JSON.stringify(good).replace(text, () => by));

  test.each([
    ["double", String.raw`\"a;\\\"b\"`],
    ["single", String.raw`'a;\\'b'`],
  ])("may have a semicolon within %s quotes", (_, name) => {
    const value = but("INTO b", `INTO ${name}`);
    expect(parseMetadata(value)).toEqual(value);
  });
  test.each<[string, JsonValue]>([
    ["nothing", null],
    ["no users", { databases: [] }],
    ["a statement that is no continuous query", but("CREATE CONTINUOUS QUERY", "DROP DATABASE kaa -- ")],
    ["two statements in one", but(" END", "; DROP DATABASE kaa")],
    ["a second one behind a quote that is closed", but(" END", String.raw` \"x\" END; DROP DATABASE kaa`)],
    ["a second one between quotes in comments", but(" END", String.raw` END -- '\n; DROP DATABASE kaa -- '`)],
    ["a second one between quotes in regular expressions", but("FROM a", "FROM /'/; DROP DATABASE kaa -- '/")],
    ["a duration that is a statement", but("9600h0m0s", "1h; DROP DATABASE kaa")],
    ["a number of replicas that is none", but('"replicas":1', '"replicas":0.5')],
    ["a privilege that is none", but('"READ"', '"READ ON x TO y; DROP"')],
    ["a name that is no text", but('"name":"kaa"', '"name":7')],
  ])("%s is refused", (_, value) => {
    expect(() => parseMetadata(value)).toThrow(expect.objectContaining({ outcome: "invalid-snapshot" }));
  });
});

describe("influxd's backup", () => {
  const manifest = { meta: { fileName: "t.meta", size: 2 }, files: [{ fileName: "t.s1.tar.gz", size: 100 }] };
  const tarOf = (files: Readonly<Record<string, string>>) =>
    Buffer.concat([
      ...Object.entries(files).flatMap(([name, text]) => [
        tarHeader(name, Buffer.byteLength(text)),
        Buffer.from(text),
        tarPadding(Buffer.byteLength(text)),
      ]),
      tarEnd,
    ]);
  async function passed(tar: Buffer): Promise<Buffer> {
    async function* bytes() {
      yield tar;
    }
    return await collect(requireWholeBackup(bytes()), 100_000);
  }
  const whole = { "t.manifest": JSON.stringify(manifest), "t.meta": "me", "t.s1.tar.gz": "shard" };

  test("passes unchanged when it is whole", async () => {
    expect((await passed(tarOf(whole))).equals(tarOf(whole))).toBe(true);
  });

  const { "t.s1.tar.gz": _shard, ...withoutShard } = whole;
  const { "t.manifest": _manifest, ...withoutManifest } = whole;
  test.each([
    ["a shard is missing", withoutShard],
    ["a shard is empty", { ...whole, "t.s1.tar.gz": "" }],
    ["the manifest is missing", withoutManifest],
    ["the manifest is cut", { ...whole, "t.manifest": JSON.stringify(manifest).slice(0, 20) }],
  ])("is refused when %s", async (_, files) => {
    await expect(passed(tarOf(files))).rejects.toMatchObject({ outcome: "storage-failed" });
  });

  test("is refused when its tar is cut", async () => {
    await expect(passed(tarOf(whole).subarray(0, 1600))).rejects.toMatchObject({ outcome: "storage-failed" });
  });
});

describe("the script of a dump, with an influxd that backs up shard 1 alone and says success", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "kaa-influxdb-"));
    for (const each of ["bin", "work", "data/a db/autogen/1"]) mkdirSync(join(folder, each), { recursive: true });
    const influxd =
      '#!/bin/sh\nfor dir; do :; done\necho "{}" >"$dir/t.manifest"; echo shard | gzip >"$dir/t.s1.tar.gz"\n';
    writeFileSync(join(folder, "bin/influxd"), influxd, { mode: 0o755 });
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function dump(...shards: readonly string[]) {
    const env = {
      PATH: `${join(folder, "bin")}:${process.env["PATH"]}`,
      INFLUXD_TMP: join(folder, "work"),
      INFLUXDB_DATA_DIR: join(folder, "data"),
    };
    const { status, stdout, stderr } = spawnSync("sh", ["-c", dumpScript, "kaa-backup", ...shards], { env });
    expect(readdirSync(join(folder, "work"))).toEqual([]);
    return { status, sentBytes: stdout.byteLength, stderr: stderr.toString("utf8") };
  }

  test("fails and sends nothing when a shard that has a folder is not in the backup", () => {
    mkdirSync(join(folder, "data/a db/autogen/12"));
    expect(dump("1", "12")).toEqual({ status: 3, sentBytes: 0, stderr: "the backup lacks shard 12\n" });
  });

  test("ends influxd, which would try again for minutes, as soon as the disk is full", () => {
    const influxd =
      '#!/bin/sh\necho "write x: no space left on device. Waiting 2s and retrying (0)..." >&2\nexec sleep 60\n';
    writeFileSync(join(folder, "bin/influxd"), influxd, { mode: 0o755 });
    const stderr = expect.stringContaining("no space left on device");
    expect(dump("1")).toEqual({ status: 143, sentBytes: 0, stderr });
  });

  test("does without a shard that has no folder yet", () => {
    expect(dump("1", "12")).toMatchObject({ status: 0, stderr: "" });
  });
});
