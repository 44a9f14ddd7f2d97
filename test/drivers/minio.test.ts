/** MinIO's driver without a server: archives of buckets, leftovers of locks, hostile records. The bed does the rest. */
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { Readable } from "node:stream";
import { GetObjectCommand, ListBucketsCommand, S3Client, S3ServiceException } from "@aws-sdk/client-s3";
import { describe, expect, test, vi } from "vitest";
import { collect } from "../../src/base/bytes.ts";
import { unstalled } from "../../src/base/stall.ts";
import { makeBucket, removeBucket } from "../../src/drivers/minio/buckets.ts";
import { bucketArchive, type ObjectRecord } from "../../src/drivers/minio/dump.ts";
import { fillBucket } from "../../src/drivers/minio/fill.ts";
import { addAnswerLimit } from "../../src/drivers/minio/limits.ts";
import { emptyBucket, Leftovers } from "../../src/drivers/minio/listing.ts";
import type { Server } from "../../src/drivers/minio/server.ts";
import { createBucket, parseSettings } from "../../src/drivers/minio/settings.ts";
import driver from "../../src/drivers/minio.ts";
import { tarEnd, tarEntries, tarHeader, tarPadding } from "../../src/drivers/tar.ts";
import { FakeS3 } from "../fakes/s3-server.ts";
import { backupOf, contextOf, instanceOf, scriptCluster } from "../fakes/script-cluster.ts";

interface Sent {
  readonly name: string;
  readonly input: Record<string, unknown>;
}

/** A server that gives each command to `answer`. */
function serverWith(answer: (sent: Sent) => unknown): Server {
  const client = {
    async send(command: { constructor: { name: string }; input: Record<string, unknown> }) {
      return answer({ name: command.constructor.name.replace(/Command$/, ""), input: command.input });
    },
  };
  return { client, signal: AbortSignal.timeout(20_000) } as unknown as Server;
}

function refusal(name: string): S3ServiceException {
  return new S3ServiceException({ name, message: name, $fault: "client", $metadata: {} });
}

function listed(Key: string, Size: number, more: object = {}) {
  return { Key, Size, VersionId: "null", IsLatest: true, LastModified: new Date(0), ...more };
}

function content(bytes: Buffer, more: object = {}) {
  const ETag = `"${createHash("md5").update(bytes).digest("hex")}"`;
  return { Body: Readable.from([bytes], { objectMode: false }), ContentLength: bytes.byteLength, ETag, ...more };
}

function newCounts() {
  return { objects: 0, deleteMarkers: 0, vanished: 0 };
}

const plainBucket = { name: "b", isVersioned: false };

async function archiveOf(server: Server, counts = newCounts()) {
  const tar = await collect(bucketArchive(server, plainBucket, counts), 64 * 1024 * 1024);
  const entries: { name: string; text: string }[] = [];
  for await (const entry of tarEntries(Readable.from([tar], { objectMode: false })))
    entries.push({ name: entry.name, text: (await collect(entry.content, 64 * 1024 * 1024)).toString() });
  return entries;
}

describe("an archive of a bucket", () => {
  test("holds a record and the content of each object, and leaves out what vanished after it was listed", async () => {
    const counts = newCounts();
    const server = serverWith(({ name, input }) => {
      if (name === "ListObjectVersions")
        return { Versions: [listed("a", 1), listed("gone", 1), listed("%D0%B6+z", 2)] };
      if (input["Key"] === "gone") throw refusal("NoSuchKey");
      return content(Buffer.from(input["Key"] === "a" ? "A" : "ZZ"), { ContentType: "text/x" });
    });
    const entries = await archiveOf(server, counts);
    expect(entries.map((each) => each.name)).toEqual(["1.json", "1.data", "2.json", "2.data"]);
    expect(JSON.parse(entries[2]?.text ?? "")).toMatchObject({ key: "ж z", headers: { ContentType: "text/x" } });
    expect(entries[3]?.text).toBe("ZZ");
    expect(counts).toEqual({ objects: 2, deleteMarkers: 0, vanished: 1 });
  });

  test("is of the object that is there when it was replaced by a large one since it was listed", async () => {
    const large = Buffer.alloc(3 * 1024 * 1024, "x");
    const server = serverWith(({ name }) =>
      name === "ListObjectVersions" ? { Versions: [listed("a", 1)] } : content(large),
    );
    expect((await archiveOf(server))[1]?.text.length).toBe(large.byteLength);
  });

  test.each([10, 3 * 1024 * 1024])("fails when an object of %i bytes is not what its ETag says", async (bytes) => {
    const server = serverWith(({ name }) =>
      name === "ListObjectVersions"
        ? { Versions: [listed("a", bytes)] }
        : content(Buffer.alloc(bytes), { ETag: `"${"0".repeat(32)}"` }),
    );
    await expect(archiveOf(server)).rejects.toMatchObject({ outcome: "storage-failed" });
  });

  test.each([-1, 1])("fails when an object is longer or shorter than promised (%i)", async (more) => {
    const server = serverWith(({ name }) =>
      name === "ListObjectVersions"
        ? { Versions: [listed("a", 5)] }
        : content(Buffer.alloc(5), { ContentLength: 5 + more }),
    );
    await expect(archiveOf(server)).rejects.toMatchObject({ outcome: "stream-lost" });
  });

  test("fails when the server refuses an object, and when the listing stands still", async () => {
    const refusing = serverWith(({ name }) => {
      if (name === "ListObjectVersions") return { Versions: [listed("a", 1)] };
      throw refusal("SlowDown");
    });
    await expect(archiveOf(refusing)).rejects.toThrow("SlowDown");
    const still = serverWith(() => ({ IsTruncated: true, NextKeyMarker: "k", NextVersionIdMarker: "v" }));
    await expect(archiveOf(still)).rejects.toThrow(/does not go on/);
  });

  test("has the versions of a key from the oldest to the newest, with markers between", async () => {
    const at = (ms: number) => ({ LastModified: new Date(ms), IsLatest: ms === 4, VersionId: `${ms}` });
    const server = serverWith(({ name, input }) =>
      name === "ListObjectVersions"
        ? {
            Versions: [listed("k", 1, at(4)), listed("k", 1, at(1))],
            DeleteMarkers: [listed("k", 0, at(3)), listed("k", 0, at(2))],
          }
        : content(Buffer.from(String(input["Key"]))),
    );
    const records = (await archiveOf(server)).filter((each) => each.name.endsWith(".json"));
    expect(records.map((each) => JSON.parse(each.text).versionId)).toEqual(["1", "2", "3", "4"]);
  });
});

test("an object whose content does not go on is given up after five minutes", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const silent = new Readable({ read: () => {} });
    const server = serverWith(({ name }) =>
      name === "ListObjectVersions" ? { Versions: [listed("a", 1)] } : content(Buffer.from("x"), { Body: silent }),
    );
    const refused = expect(archiveOf(server)).rejects.toThrow("nothing more of the answer came for 300 s");
    await vi.advanceTimersByTimeAsync(300_000);
    await refused;
  } finally {
    vi.useRealTimers();
  }
});

describe("filling a bucket", () => {
  async function* tarOf(...members: readonly (readonly [name: string, content: string])[]) {
    for (const [name, text] of members) {
      const bytes = Buffer.from(text);
      yield Buffer.concat([tarHeader(name, bytes.byteLength), bytes, tarPadding(bytes.byteLength)]);
    }
    yield tarEnd;
  }

  test("puts versions of a key one after the other", async () => {
    const sent: string[] = [];
    let running = 0;
    const server = serverWith(async ({ name, input }) => {
      running += 1;
      expect(running, "two versions of one key at a time").toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      running -= 1;
      sent.push(`${name} ${input["Body"] ?? ""}`);
      return {};
    });
    const k = JSON.stringify({ key: "k" });
    const marker = JSON.stringify({ key: "k", deleteMarker: true });
    const tar = tarOf(["1.json", k], ["1.data", "one"], ["2.json", marker], ["3.json", k], ["3.data", "three"]);
    await fillBucket(server, "b", tar, () => false);
    expect(sent).toEqual(["PutObject one", "DeleteObject ", "PutObject three"]);
  });

  test.each([
    { title: "content without a record", members: [["1.data", "x"]] },
    { title: "a record that is no JSON", members: [["1.json", "{"]] },
    { title: "a record without a key", members: [["1.json", '{"key":""}']] },
    { title: "a key that is no text", members: [["1.json", '{"key":{"a":1}}']] },
  ] as const)("refuses $title", async ({ members }) => {
    const server = serverWith(() => ({}));
    await expect(fillBucket(server, "b", tarOf(...members), () => false)).rejects.toMatchObject({
      outcome: "invalid-snapshot",
    });
  });

  test("fails when one of many puts fails", async () => {
    const server = serverWith(({ input }) => {
      if (input["Key"] === "7") throw refusal("InternalError");
      return {};
    });
    const members = Array.from({ length: 20 }, (_, n) => [
      [`${n}.json`, JSON.stringify({ key: `${n}` })] as const,
      [`${n}.data`, "x"] as const,
    ]).flat();
    await expect(fillBucket(server, "b", tarOf(...members), () => false)).rejects.toThrow("InternalError");
  });
});

describe("a bucket that is there although it was deleted", () => {
  async function sentFor(hasLock: boolean) {
    const sent: string[] = [];
    const server = serverWith(({ name }) => {
      sent.push(name);
      if (name === "CreateBucket") throw refusal("BucketAlreadyOwnedByYou");
      if (name === "GetObjectLockConfiguration" && !hasLock) throw refusal("ObjectLockConfigurationNotFoundError");
      if (name === "PutObjectLockConfiguration" && !hasLock) throw refusal("InvalidBucketState");
      return {};
    });
    await createBucket(server, { name: "b", versioning: "Enabled" });
    return sent;
  }

  test("because a service has made it again is taken, though it has no lock", async () => {
    expect(await sentFor(false)).toEqual(expect.arrayContaining(["DeleteBucketPolicy", "PutBucketVersioning"]));
  });

  test("because it holds locked objects loses its default retention", async () => {
    expect(await sentFor(true)).toContain("PutObjectLockConfiguration");
  });
});

describe("a bucket that needs a lock, and that a service has made again without one,", () => {
  /** @param times how often the service does. */
  function remadeBy(times: number) {
    let [isThere, remade] = [true, 1];
    const sent: string[] = [];
    const server = serverWith(({ name }) => {
      sent.push(name);
      if (name === "CreateBucket" && isThere) throw refusal("BucketAlreadyOwnedByYou");
      if (name === "GetObjectLockConfiguration") throw refusal("ObjectLockConfigurationNotFoundError");
      if (name === "DeleteBucket") isThere = remade++ < times;
      return {};
    });
    const made = makeBucket(server, { name: "b", versioning: "Enabled", lock: { ObjectLockEnabled: "Enabled" } });
    return { sent, made };
  }

  test("is removed and made with one", async () => {
    const { sent, made } = remadeBy(1);
    await made;
    expect(sent.slice(-2)).toEqual(["DeleteBucket", "CreateBucket"]);
    expect(sent).not.toContain("PutObjectLockConfiguration");
  });

  test("ends the restore when the service does not stop", async () => {
    const { made } = remadeBy(Number.POSITIVE_INFINITY);
    await expect(made).rejects.toMatchObject({
      outcome: "storage-failed",
      message: expect.stringMatching(/"b" needs a lock/),
    });
  });
});

test("a bucket is emptied again when the server was busy", async () => {
  let errors: readonly object[] = [{ Key: "a", VersionId: "null", Code: "SlowDown" }];
  const server = serverWith(({ name }) => {
    if (name === "ListObjectVersions") return { Versions: [listed("a", 1)] };
    const Errors = errors;
    errors = [];
    return { Errors };
  });
  expect(await removeBucket(server, "b")).toEqual([]);
});

describe("emptying a bucket", () => {
  function refusing(error: object): Server {
    return serverWith(({ name }) =>
      name === "ListObjectVersions"
        ? { Versions: [listed("a", 1, { ETag: '"e"' })] }
        : { Errors: [{ Key: "a", VersionId: "null", ...error }] },
    );
  }

  test.each([
    { Code: "InvalidRequest", Message: "Object is WORM protected and cannot be overwritten" },
    { Code: "AccessDenied", Message: "Access Denied because object protected by object lock." },
  ])("tells what is locked: $Code", async (error) => {
    const says = `b/a (null): ${error.Message}`;
    expect(await emptyBucket(refusing(error), "b")).toEqual([{ key: "a", etag: '"e"', says }]);
  });

  test.each([
    { Code: "SlowDown", Message: "Please reduce your request rate" },
    { Code: "InternalError" },
    { Code: "AccessDenied", Message: "Access Denied." },
    { Code: "InvalidRequest", Message: "Bad request" },
  ])("fails when an object is not deleted for another reason: $Code $Message", async (error) => {
    const says = `cannot delete b/a (null): ${error.Message ?? error.Code}`;
    await expect(emptyBucket(refusing(error), "b")).rejects.toMatchObject({ name: error.Code, message: says });
  });
});

describe("a bucket that holds snapshots, under whatever name,", () => {
  async function minioWith(buckets: Readonly<Record<string, readonly string[]>>) {
    const server = await new FakeS3().start();
    for (const [name, keys] of Object.entries(buckets)) {
      const bucket = server.bucket(name);
      for (const key of keys) bucket.plant(key, "x");
    }
    const cluster = scriptCluster(() => "minio version RELEASE.2026-02-02T00-00-00Z\n");
    const port = Number(new URL(server.url).port);
    const connected = { ...cluster, connect: async () => connect(port, "127.0.0.1") } as typeof cluster;
    const credentials = { MINIO_ROOT_USER: "root", MINIO_ROOT_PASSWORD: "password" };
    const context = { ...contextOf(connected, AbortSignal.timeout(20_000)), credentials };
    return { server, context, instance: instanceOf("minio") };
  }
  const stored = {
    "kaa-backups": ["12-02-2021-15-28-37.tar.gz", "readme"],
    "kaa-partial": ["12-02-2021-15-28-37.partial.tar.gz"],
    "kaa-data": ["folder/12-02-2021-15-28-37.tar.gz", "12-02-2021.tar.gz"],
  };
  const kept = "left out, as buckets of snapshots are: kaa-backups, kaa-partial";

  test("is not backed up", async () => {
    const { server, context, instance } = await minioWith(stored);
    await using _ = server;
    expect(await driver.inspect(instance, context)).toMatchObject({ contents: ["kaa-data"], warnings: [kept] });
  });

  test("is kept by a restore of a snapshot that has it not, and the plan says so", async () => {
    const { server, context, instance } = await minioWith(stored);
    await using _ = server;
    const plan = await driver.plan(instance, backupOf({ buckets: [] }, {}), context);
    expect(plan.drops).toEqual(["bucket kaa-data with all its objects"]);
    expect(plan.warnings).toContain(kept);
    server.buckets.all.delete("kaa-data"); // the fake cannot delete buckets
    await driver.restore(instance, backupOf({ buckets: [] }, {}), context);
    expect(server.bucket("kaa-backups").objects.size).toBe(2);
  });

  test("is replaced by a restore of a snapshot that has it", async () => {
    const { server, context, instance } = await minioWith(stored);
    await using _ = server;
    const facts = { buckets: [{ name: "kaa-partial", versioning: "" }] };
    const plan = await driver.plan(instance, backupOf(facts, {}), context);
    expect(plan.drops).toEqual(["kaa-data", "kaa-partial"].map((name) => `bucket ${name} with all its objects`));
    expect(plan.warnings).toContain("left out, as buckets of snapshots are: kaa-backups");
    expect(plan.obstacles).toEqual([]);
  });
});

describe("a server that keeps its connection", () => {
  async function limited() {
    const server = await new FakeS3().start();
    server.bucket("b").plant("k", Buffer.alloc(1000));
    const credentials = { accessKeyId: "root", secretAccessKey: "password" };
    const client = new S3Client({ endpoint: server.url, region: "us-east-1", credentials, forcePathStyle: true });
    addAnswerLimit(client, 200);
    return { server, client };
  }

  test("and does not answer is given up, and not asked again", async () => {
    const { server, client } = await limited();
    await using _ = server;
    server.fault({ action: () => "hang", times: Number.POSITIVE_INFINITY });
    await expect(client.send(new ListBucketsCommand({}))).rejects.toThrow("nothing more of the answer came for 0.2 s");
    expect(server.log.length).toBe(1);
    client.destroy();
  });

  test.each(["list", "object"])("and ends its answer in the middle is given up: %s", async (what) => {
    const { server, client } = await limited();
    await using _ = server;
    server.fault({ action: (run) => ({ ...run(), stallAfterBytes: 20 }), times: Number.POSITIVE_INFINITY });
    const read = async () => {
      if (what === "list") return await client.send(new ListBucketsCommand({}));
      const { Body } = await client.send(new GetObjectCommand({ Bucket: "b", Key: "k" }));
      return await collect(unstalled(Body as unknown as Readable, 200), 1000);
    };
    await expect(read()).rejects.toThrow("nothing more of the answer came for 0.2 s");
    client.destroy();
  });
});

describe("locked leftovers", () => {
  const record = (key: string, etag: string): ObjectRecord => ({ key, etag, versionId: "1", modified: "" });
  const locked = (key: string, etag: string) => ({ key, etag, says: `${key} ${etag}` });

  test("take the place of the oldest version of their key, and of no other", () => {
    const leftovers = new Leftovers([locked("a", "1"), locked("b", "2"), locked("c", "1"), locked("c", "2")]);
    const asked = [record("a", "1"), record("a", "1"), record("b", "1"), record("b", "2"), record("c", "1")];
    expect(asked.map((each) => leftovers.isThere(each))).toEqual([true, false, false, false, false]);
    expect(leftovers.unwanted().map(({ says }) => says)).toEqual(["b 2", "c 1", "c 2"]);
  });
});

test.each([null, {}, { buckets: "x" }, { buckets: [{}] }, { buckets: [{ name: "a", versioning: "on" }] }])(
  "a manifest whose buckets are %j is refused",
  (facts) => {
    expect(() => parseSettings(facts)).toThrow(/damaged/);
  },
);
