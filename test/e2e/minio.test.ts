/** MinIO on the real bed, with the built program. What is compared is read through S3's own client, not through our driver. */
import { createHash } from "node:crypto";
import * as s3 from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addUtf8Headers } from "../../src/drivers/minio/headers.ts";
import { kubectl, program, secret } from "./bed.ts";

const production = "production-kaa";
const stage = "stage-kaa";
const where = ["--bucket", "minio-snapshots", "--storage", "minio"];
const random = Buffer.from(Array.from({ length: 20 * 1024 * 1024 }, (_, n) => (n * 2_654_435_761) >>> 13));
const clients = new Map<string, s3.S3Client>();

async function clientFor(namespace: string): Promise<s3.S3Client> {
  const path = "jsonpath={.spec.clusterIP}";
  const address = await kubectl(["-n", namespace, "get", "service", "kaa-minio", "-o", path]);
  const client = new s3.S3Client({
    endpoint: `http://${address}:9000`,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: {
      accessKeyId: await secret(namespace, "kaa-minio", "root-user"),
      secretAccessKey: await secret(namespace, "kaa-minio", "root-password"),
    },
  });
  addUtf8Headers(client);
  return client;
}

function at(namespace: string): s3.S3Client {
  const client = clients.get(namespace);
  if (client === undefined) throw new Error(`no client for ${namespace}`);
  return client;
}

async function buckets(namespace: string): Promise<readonly string[]> {
  return ((await at(namespace).send(new s3.ListBucketsCommand({}))).Buckets ?? []).map((each) => each.Name ?? "");
}

/** Every version and delete marker, newest first. All of these buckets fit one page. */
async function versions(namespace: string, Bucket: string) {
  const page = await at(namespace).send(new s3.ListObjectVersionsCommand({ Bucket }));
  const all = [
    ...(page.Versions ?? []).map((each) => ({ ...each, isMarker: false })),
    ...(page.DeleteMarkers ?? []).map((each) => ({ ...each, isMarker: true })),
  ];
  const time = (each: { LastModified?: Date | undefined }) => each.LastModified?.getTime() ?? 0;
  return all.sort((a, b) => ((a.Key ?? "") < (b.Key ?? "") ? -1 : a.Key === b.Key ? time(b) - time(a) : 1));
}

/** Deletes everything, also what is locked by governance or a legal hold. */
async function wipe(namespace: string): Promise<void> {
  const client = at(namespace);
  for (const Bucket of await buckets(namespace)) {
    const lock = await orAbsent(client.send(new s3.GetObjectLockConfigurationCommand({ Bucket })));
    const isLockable = typeof lock !== "string";
    for (const { Key, VersionId, isMarker } of await versions(namespace, Bucket)) {
      const one = { Bucket, Key, VersionId };
      if (isLockable && !isMarker)
        await client.send(new s3.PutObjectLegalHoldCommand({ ...one, LegalHold: { Status: "OFF" } }));
      await client.send(new s3.DeleteObjectCommand({ ...one, ...(isLockable && { BypassGovernanceRetention: true }) }));
    }
    await client.send(new s3.DeleteBucketCommand({ Bucket }));
  }
}

async function orAbsent<T>(answer: Promise<T>): Promise<T | string> {
  return await answer.catch((error: Error) => error.name);
}

/** What the buckets hold; ids and dates of versions differ by nature and are left out, as is what the writer writes. */
async function everything(namespace: string) {
  const client = at(namespace);
  const found: Record<string, unknown> = {};
  for (const Bucket of await buckets(namespace)) {
    if (!Bucket.startsWith("e2e-")) continue;
    const of = { Bucket };
    const objects = [];
    for (const { Key, VersionId, isMarker, IsLatest } of await versions(namespace, Bucket)) {
      if (Key?.startsWith("writer/")) continue;
      if (isMarker) {
        objects.push({ Key, IsLatest, isMarker });
        continue;
      }
      const one = { ...of, Key, VersionId };
      const got = await client.send(new s3.GetObjectCommand(one));
      const bytes = (await got.Body?.transformToByteArray()) ?? new Uint8Array();
      const { ContentType, ContentDisposition, CacheControl, ContentEncoding, Metadata } = got;
      const { ObjectLockMode, ObjectLockRetainUntilDate, ObjectLockLegalHoldStatus } = got;
      const { TagSet } = await client.send(new s3.GetObjectTaggingCommand(one));
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const lock = { ObjectLockMode, ObjectLockRetainUntilDate, ObjectLockLegalHoldStatus };
      const told = { ContentType, ContentDisposition, CacheControl, ContentEncoding, Metadata };
      objects.push({ Key, IsLatest, size: bytes.byteLength, sha256, ...told, ...lock, TagSet });
    }
    const rules = await orAbsent(client.send(new s3.GetBucketLifecycleConfigurationCommand(of)).then((a) => a.Rules));
    found[Bucket] = {
      objects,
      versioning: (await client.send(new s3.GetBucketVersioningCommand(of))).Status,
      policy: await orAbsent(client.send(new s3.GetBucketPolicyCommand(of)).then((a) => a.Policy)),
      tags: await orAbsent(client.send(new s3.GetBucketTaggingCommand(of)).then((a) => a.TagSet)),
      lock: await orAbsent(
        client.send(new s3.GetObjectLockConfigurationCommand(of)).then((a) => a.ObjectLockConfiguration),
      ),
      rules,
    };
  }
  return found;
}

async function seed(namespace: string): Promise<void> {
  const client = at(namespace);
  // Buffers: with a text Node would send the headers as UTF-8, and not as they are.
  const put = (Bucket: string, Key: string, Body: string | Buffer, more: Partial<s3.PutObjectCommandInput> = {}) =>
    client.send(new s3.PutObjectCommand({ Bucket, Key, Body: Buffer.from(Body), ...more }));
  for (const Bucket of ["e2e-plain", "e2e-versioned", "e2e-suspended", "e2e-empty", "storage-backup--e2e"])
    await client.send(new s3.CreateBucketCommand({ Bucket }));
  await put("storage-backup--e2e", "kept", "a snapshot");

  await put("e2e-plain", "a b+c&d=e?f#g%20h", "awkward");
  await put("e2e-plain", "ключ/日本/😀.txt", "unicode", {
    ContentType: "text/plain; charset=utf-8",
    ContentDisposition: "attachment; filename*=UTF-8''Z%C3%BCrich.txt",
    CacheControl: "max-age=60",
    Metadata: { city: "Zürich", plain: "x y" },
    Tagging: "a+b=c+d%2F1%40x",
  });
  await put("e2e-plain", "folder/", "");
  await put("e2e-plain", "quotes \"'<>&amp;", "q");
  await put("e2e-plain", "encoded", Buffer.from([31, 139, 0, 255]), { ContentEncoding: "gzip" });
  await put("e2e-plain", "large", random, { ContentType: "image/png", Metadata: { n: "1" }, Tagging: "large=yes" });
  const Statement = [
    { Effect: "Allow", Principal: { AWS: ["*"] }, Action: ["s3:GetObject"], Resource: ["arn:aws:s3:::e2e-plain/*"] },
  ];
  const Policy = JSON.stringify({ Version: "2012-10-17", Statement });
  await client.send(new s3.PutBucketPolicyCommand({ Bucket: "e2e-plain", Policy }));
  const Tagging = { TagSet: [{ Key: "team", Value: "Kaa + co @ x/y" }] };
  await client.send(new s3.PutBucketTaggingCommand({ Bucket: "e2e-plain", Tagging }));

  for (const Bucket of ["e2e-versioned", "e2e-suspended"]) {
    const VersioningConfiguration = { Status: "Enabled" } as const;
    await client.send(new s3.PutBucketVersioningCommand({ Bucket, VersioningConfiguration }));
    for (const text of ["one", "two", "three"]) await put(Bucket, "v", text, { Metadata: { text } });
    await client.send(new s3.DeleteObjectCommand({ Bucket, Key: "v" }));
    await put(Bucket, "v", "four");
    await put(Bucket, "gone", "gone");
    await client.send(new s3.DeleteObjectCommand({ Bucket, Key: "gone" }));
    await client.send(new s3.DeleteObjectCommand({ Bucket, Key: "only a marker" }));
  }
  const Rules: s3.LifecycleRule[] = [
    { ID: "old", Status: "Enabled", Filter: { Prefix: "logs/" }, NoncurrentVersionExpiration: { NoncurrentDays: 30 } },
    { ID: "date", Status: "Enabled", Filter: { Prefix: "x/" }, Expiration: { Date: new Date("2099-01-01T00:00:00Z") } },
  ];
  const lifecycle = { Bucket: "e2e-versioned", LifecycleConfiguration: { Rules } };
  await client.send(new s3.PutBucketLifecycleConfigurationCommand(lifecycle));
  const VersioningConfiguration = { Status: "Suspended" } as const;
  await client.send(new s3.PutBucketVersioningCommand({ Bucket: "e2e-suspended", VersioningConfiguration }));
}

async function damage(namespace: string): Promise<void> {
  const client = at(namespace);
  await client.send(new s3.PutObjectCommand({ Bucket: "e2e-plain", Key: "large", Body: "changed" }));
  await client.send(new s3.PutObjectCommand({ Bucket: "e2e-plain", Key: "later", Body: "later" }));
  await client.send(new s3.DeleteObjectCommand({ Bucket: "e2e-plain", Key: "a b+c&d=e?f#g%20h" }));
  await client.send(new s3.PutObjectCommand({ Bucket: "e2e-versioned", Key: "v", Body: "later" }));
  await client.send(new s3.DeleteBucketLifecycleCommand({ Bucket: "e2e-versioned" }));
  await client.send(new s3.DeleteBucketPolicyCommand({ Bucket: "e2e-plain" }));
  await client.send(new s3.DeleteBucketCommand({ Bucket: "e2e-empty" }));
  await client.send(new s3.CreateBucketCommand({ Bucket: "e2e-later" }));
}

/** Another run of the namespace may hold its lock for a moment. */
async function patiently(args: readonly string[], env: Record<string, string> = {}) {
  for (let n = 0; ; n++) {
    const ran = await program(args, { env });
    if (ran.code !== 11 || n === 20) return ran;
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}

async function create(namespace: string): Promise<string> {
  const created = await patiently(["create", "-n", namespace, ...where, "-o", "json"]);
  expect(created.code, created.stderr).toBe(0);
  return JSON.parse(created.stdout).name as string;
}

beforeAll(async () => {
  for (const namespace of [production, stage]) {
    clients.set(namespace, await clientFor(namespace));
    await wipe(namespace);
  }
});
afterAll(async () => {
  for (const namespace of [production, stage]) await wipe(namespace);
  const store = new s3.S3Client({ forcePathStyle: true, ...storeLogin(await storeEnvironment()) });
  const Bucket = "minio-snapshots";
  const { Contents = [] } = await store.send(new s3.ListObjectsV2Command({ Bucket }));
  for (const { Key } of Contents) await store.send(new s3.DeleteObjectCommand({ Bucket, Key }));
  await store.send(new s3.DeleteBucketCommand({ Bucket }));
});

async function storeEnvironment(): Promise<Record<string, string>> {
  const { bedEnvironment } = await import("./bed.ts");
  return bedEnvironment();
}

function storeLogin(env: Record<string, string>) {
  return {
    endpoint: env["AWS_ENDPOINT_URL"] ?? "",
    region: env["AWS_REGION"] ?? "",
    credentials: {
      accessKeyId: env["AWS_ACCESS_KEY_ID"] ?? "",
      secretAccessKey: env["AWS_SECRET_ACCESS_KEY"] ?? "",
    },
  };
}

describe("without locks", () => {
  let before: Awaited<ReturnType<typeof everything>>;
  let date = "";

  test("a snapshot is made while a writer writes", async () => {
    await seed(production);
    before = await everything(production);
    let writing = true;
    const writer = (async () => {
      for (let n = 0; writing; n++) {
        const Key = `writer/${n % 50}`;
        await at(production).send(new s3.PutObjectCommand({ Bucket: "e2e-plain", Key, Body: `${n}` }));
        if (n % 3 === 0) await at(production).send(new s3.DeleteObjectCommand({ Bucket: "e2e-plain", Key }));
      }
    })();
    try {
      date = await create(production);
    } finally {
      writing = false;
      await writer;
    }
    expect(await everything(production), "create changed its source").toEqual(before);
  });

  test("a restore brings every version and setting back, removes what came later, and leaves buckets of snapshots", async () => {
    await damage(production);
    expect(await everything(production)).not.toEqual(before);
    const restored = await patiently(["restore", "--date", date, "-n", production, ...where, "--yes", "-o", "json"]);
    expect(restored.code, restored.stderr).toBe(0);
    expect(JSON.parse(restored.stdout)).toMatchObject({ differences: [], failures: [] });
    expect(await everything(production)).toEqual(before);
    const kept = await at(production).send(new s3.GetObjectCommand({ Bucket: "storage-backup--e2e", Key: "kept" }));
    expect(await kept.Body?.transformToString()).toBe("a snapshot");
  });

  test("a restore into a namespace with another password gives the same", async () => {
    const to = ["-n", stage, "--source-namespace", production];
    const restored = await patiently(["restore", "--date", date, ...to, ...where, "--yes"]);
    expect(restored.code, restored.stderr).toBe(0);
    expect(await everything(stage)).toEqual(before);
    expect(await buckets(stage)).not.toContain("storage-backup--e2e");
  });

  test("a wrong password is named, and nothing is published", async () => {
    const ran = await patiently(["create", "-n", production, ...where], { MINIO_ROOT_PASSWORD: "not this one" });
    expect(ran.code).toBe(12);
    expect(ran.stderr).toMatch(/SignatureDoesNotMatch/);
    expect(ran.stderr).not.toContain("not this one");
    const listed = await program(["list", "-n", production, "--bucket", "minio-snapshots", "-o", "name"]);
    expect(listed.stdout.trim().split("\n")).toEqual([date]);
  });
});

describe("with locks", () => {
  test("retention and legal holds come back, and a locked object of later is listed", async () => {
    const client = at(production);
    const Bucket = "e2e-locked";
    await client.send(new s3.CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
    const lock = {
      ObjectLockMode: "GOVERNANCE",
      ObjectLockRetainUntilDate: new Date(Math.ceil(Date.now() / 1000) * 1000 + 3_600_000),
    } as const;
    await client.send(new s3.PutObjectCommand({ Bucket, Key: "retained", Body: "first", ...lock }));
    await client.send(new s3.PutObjectCommand({ Bucket, Key: "retained", Body: "second" }));
    await client.send(new s3.PutObjectCommand({ Bucket, Key: "held", Body: "held", ObjectLockLegalHoldStatus: "ON" }));
    const Rule = { DefaultRetention: { Mode: "GOVERNANCE", Days: 1 } } as const;
    const ObjectLockConfiguration = { ObjectLockEnabled: "Enabled", Rule } as const;
    await client.send(new s3.PutObjectLockConfigurationCommand({ Bucket, ObjectLockConfiguration }));
    const before = await everything(production);
    const date = await create(production);

    const to = ["-n", stage, "--source-namespace", production];
    const fresh = await patiently(["restore", "--date", date, ...to, ...where, "--yes"]);
    expect(fresh.code, fresh.stderr).toBe(0);
    expect(await everything(stage)).toEqual(before);

    await client.send(new s3.PutObjectCommand({ Bucket, Key: "later", Body: "later" }));
    const restored = await patiently(["restore", "--date", date, "-n", production, ...where, "--yes"]);
    expect(restored.code, restored.stderr).toBe(3);
    expect(restored.stderr).toMatch(/locked, so not removed: e2e-locked\/later/);
    const objects = (await everything(production))[Bucket] as { objects: { Key: string }[] };
    const others = { ...objects, objects: objects.objects.filter((each) => each.Key !== "later") };
    expect(others).toEqual(before[Bucket]);
  });
});
