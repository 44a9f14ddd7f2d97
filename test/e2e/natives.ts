/** The storages as their own tools and APIs see them, never through our code: awkward data put in, everything told, damage
 *  done that only a restore undoes. */

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import {
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  ListBucketsCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { bedEnvironment, damage, dumps, inPod, kubectl, run, secret, seed } from "./bed.ts";

/** One storage of a namespace of the bed. */
export interface Native {
  seed(namespace: string): Promise<void>;
  /** Everything a restore must bring back, as text; the same text means the same content. */
  contents(namespace: string): Promise<string>;
  /** Prepares a place of its own, returns what writes one more thing there, and what removes it all again. */
  writer(namespace: string): Promise<{ write(n: number): Promise<unknown>; remove(): Promise<unknown> }>;
  damage(namespace: string): Promise<void>;
}

async function serviceIp(namespace: string, name: string): Promise<string> {
  return await kubectl(["-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}"]);
}

// --- InfluxDB: influx in the pod

const influxLogin =
  'export INFLUX_USERNAME=$INFLUXDB_ADMIN_USER INFLUX_PASSWORD=${INFLUXDB_ADMIN_USER_PASSWORD:-$(cat "$INFLUXDB_ADMIN_USER_PASSWORD_FILE")}; i() { influx -precision ns -execute "$@"; };';

const influxdb: Native = {
  async seed(namespace) {
    await inPod(
      namespace,
      "influxdb",
      `${influxLogin} i 'create database "ä b\\"q"'; i 'create database empty'; i 'create database kaa'
      i 'create retention policy "two" on kaa duration 0s replication 1 shard duration 24h default'
      i "create user reader with password 'x'"; i 'grant read on kaa to reader'
      i 'create continuous query "cq 1" on kaa begin select mean(v) into kaa.autogen.mm from kaa.two.m group by time(1h) end'
      for n in 1 2 3; do influx -database kaa -execute "insert m,tag=a\\ b$n v=$n,s=\\"strä\\" 170000000000000000$n"; done
      influx -database 'ä b"q' -execute 'insert x,t=1 v=2 1700000000000000000'`,
    );
  },
  // The server makes _internal by itself, at a time of its own, and a backup leaves it out.
  contents: (namespace) =>
    inPod(
      namespace,
      "influxdb",
      `${influxLogin} i 'show databases' -format csv | grep -v ,_internal$ | sort
      i 'show continuous queries' -format csv | grep -v -e ^_internal, -e ^name,name, | sort
      for q in 'show grants for reader' 'show retention policies on kaa' \\
        'select * from kaa.two.m' 'select * from "ä b\\"q"..x'; do i "$q" || true; done; i 'show users' -format csv | sort`,
    ),
  async writer(namespace) {
    const influx = (query: string) => inPod(namespace, "influxdb", `${influxLogin} ${query}`);
    await influx("i 'create database writer'");
    return {
      write: (n) => influx(`influx -database writer -execute 'insert w v=${n}'`),
      remove: () => influx("i 'drop database writer'"),
    };
  },
  async damage(namespace) {
    await inPod(
      namespace,
      "influxdb",
      `${influxLogin} i 'drop database "ä b\\"q"'; i 'create database later'; influx -database kaa -execute 'insert m,tag=late v=9'
      i "create user later with password 'z'"; i 'revoke all privileges from reader'; i 'drop continuous query "cq 1" on kaa'`,
    );
  },
};

// --- MongoDB: commands by the bed's own client, one a line

export async function mongo(namespace: string, database: string, ...commands: readonly object[]): Promise<string> {
  const login = "export MONGO_USER=$MONGODB_ROOT_USER MONGO_PASSWORD=$(secret MONGODB_ROOT_PASSWORD);";
  const lines = commands.map((each) => `${JSON.stringify(each)}\n`).join("");
  return await inPod(namespace, "mongodb", `${login} mongo-command "${database}"`, lines);
}

const mongodb: Native = {
  async seed(namespace) {
    const binary = { $binary: { base64: "AAEC/w==", subType: "00" } };
    const documents = [
      { _id: 1, a: "ä\u0001" },
      { _id: 2, d: 1.5 },
      { _id: 3, b: binary },
    ];
    await mongo(namespace, "kaa", { insert: "things", documents }, { create: "empty" });
    await mongo(namespace, "kaa", { createIndexes: "things", indexes: [{ key: { a: 1 }, name: "a_1" }] });
    await mongo(namespace, "kaa", { createUser: "app", pwd: "app's", roles: [] });
    await mongo(namespace, "odd-db", { insert: "x y", documents: [{ _id: 1 }] });
  },
  contents: async (namespace) =>
    [
      await mongo(namespace, "admin", { listDatabases: 1, nameOnly: true }),
      await mongo(
        namespace,
        "kaa",
        { find: "things" },
        { listIndexes: "things" },
        { listCollections: 1, nameOnly: true },
      ),
      await mongo(namespace, "kaa", { usersInfo: 1 }),
      await mongo(namespace, "odd-db", { find: "x y" }),
    ].join(""),
  async writer(namespace) {
    const write = (n: number) => mongo(namespace, "writer", { insert: "w", documents: [{ _id: n }] });
    await write(-1);
    return { write, remove: () => mongo(namespace, "writer", { dropDatabase: 1 }) };
  },
  async damage(namespace) {
    await mongo(namespace, "kaa", { drop: "empty" }, { dropUser: "app" }, { insert: "later", documents: [{ _id: 1 }] });
    await mongo(namespace, "kaa", { delete: "things", deletes: [{ q: { _id: 1 }, limit: 1 }] });
    await mongo(namespace, "kaa", { createUser: "later", pwd: "x", roles: [] });
    await mongo(namespace, "laterdb", { insert: "later", documents: [{ _id: 1 }] });
  },
};

// --- Vault: its HTTP API

export function vaultToken(namespace: string): string {
  return readFileSync(`${bedEnvironment()["BED_RUN"]}/vault/${namespace}/root-token`, "utf8").trim();
}

/** With whichever token opens it: a restore from elsewhere changes them. */
async function vault(namespace: string, method: string, path: string, body?: object): Promise<unknown> {
  const url = `http://${await serviceIp(namespace, "kaa-vault")}:8200/v1/${path}`;
  for (const owner of [namespace, "production-kaa", "stage-kaa"]) {
    const headers = { "X-Vault-Token": vaultToken(owner) };
    const answer = await fetch(url, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) });
    const text = await answer.text();
    if (answer.status === 403) continue;
    if (!answer.ok && answer.status !== 404) throw new Error(`Vault: ${method} ${path}: ${answer.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }
  throw new Error(`no known token opens the Vault of ${namespace}`);
}

const vaultNative: Native = {
  async seed(namespace) {
    const mounts = (await vault(namespace, "GET", "sys/mounts")) as Record<string, unknown>;
    if (mounts["seeds/"] === undefined)
      await vault(namespace, "POST", "sys/mounts/seeds", { type: "kv", options: { version: "2" } });
    await vault(namespace, "POST", "seeds/data/a%20b/one", { data: { secret: "ä", number: 1 } });
    await vault(namespace, "POST", "seeds/data/a%20b/one", { data: { secret: "second version" } });
    await vault(namespace, "POST", "seeds/data/two", { data: { from: namespace } });
    await vault(namespace, "PUT", "sys/policies/acl/seed", { policy: 'path "seeds/*" { capabilities = ["read"] }' });
  },
  async contents(namespace) {
    const read = async (path: string) => {
      const { data } = ((await vault(namespace, "GET", path)) ?? {}) as { data?: unknown };
      return `${path} ${JSON.stringify(data)}\n`;
    };
    const paths = ["seeds/data/a%20b/one?version=1", "seeds/data/a%20b/one", "seeds/data/two", "seeds/data/later"];
    const policies = ["sys/policies/acl?list=true", "sys/policies/acl/seed"];
    return (await Promise.all([...paths, ...policies].map(read))).join("");
  },
  async writer(namespace) {
    return {
      write: (n) => vault(namespace, "POST", "seeds/data/writer", { data: { n } }),
      remove: () => vault(namespace, "DELETE", "seeds/metadata/writer"),
    };
  },
  async damage(namespace) {
    await vault(namespace, "DELETE", "seeds/metadata/a%20b/one");
    await vault(namespace, "POST", "seeds/data/later", { data: { later: true } });
    await vault(namespace, "DELETE", "sys/policies/acl/seed");
  },
};

/** Puts so many secrets of half a megabyte into Vault that do not compress. */
export async function fillVault(namespace: string, secrets: number): Promise<void> {
  for (let n = 0; n < secrets; n++)
    await vault(namespace, "POST", `seeds/data/noise/${n}`, {
      data: { noise: randomBytes(400_000).toString("base64") },
    });
}

// --- MinIO: its S3 API

export async function minioClient(namespace: string): Promise<S3Client> {
  return new S3Client({
    endpoint: `http://${await serviceIp(namespace, "kaa-minio")}:9000`,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: {
      accessKeyId: await secret(namespace, "kaa-minio", "root-user"),
      secretAccessKey: await secret(namespace, "kaa-minio", "root-password"),
    },
  });
}

const odd = { ContentType: "text/x-odd; charset=utf-8", Metadata: { who: "me" }, Tagging: "t%201=v%20%2B" };

const minio: Native = {
  async seed(namespace) {
    const s3 = await minioClient(namespace);
    for (const Bucket of ["seeds-plain", "seeds-versioned", "seeds-empty"])
      await s3.send(new CreateBucketCommand({ Bucket }));
    for (const Key of ["a b/ü+%25&=.txt", "dir/", ".hidden", "quote\"'<>"])
      await s3.send(new PutObjectCommand({ Bucket: "seeds-plain", Key, Body: Key, ...odd }));
    const large = Buffer.alloc(20_000_000, "0123456789abcdef");
    await s3.send(new PutObjectCommand({ Bucket: "seeds-plain", Key: "large", Body: large }));
    await s3.send(new PutObjectCommand({ Bucket: "seeds-plain", Key: "empty", Body: Buffer.alloc(0) }));
    const Bucket = "seeds-versioned";
    await s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Enabled" } }));
    for (const Body of ["first", "second"]) await s3.send(new PutObjectCommand({ Bucket, Key: "v", Body }));
    await s3.send(new DeleteObjectCommand({ Bucket, Key: "v" }));
    await s3.send(new PutObjectCommand({ Bucket, Key: "v", Body: "after deletion" }));
  },
  async contents(namespace) {
    const s3 = await minioClient(namespace);
    const { Buckets = [] } = await s3.send(new ListBucketsCommand({}));
    const lines: string[] = [];
    for (const Bucket of Buckets.map(({ Name = "" }) => Name).filter((name) => !name.startsWith("storage-backup--"))) {
      lines.push(`bucket ${Bucket}`);
      const { Versions = [], DeleteMarkers = [] } = await s3.send(new ListObjectVersionsCommand({ Bucket }));
      for (const { Key, IsLatest } of DeleteMarkers) lines.push(`${Key} deleted ${IsLatest}`);
      for (const { Key = "", VersionId, IsLatest } of Versions) {
        const at = { Bucket, Key, ...(VersionId !== "null" && { VersionId }) };
        const { Body, ContentLength, ContentType, Metadata } = await s3.send(new GetObjectCommand(at));
        const { TagSet } = await s3.send(new GetObjectTaggingCommand(at));
        const hash = createHash("sha256");
        for await (const chunk of Body as Readable) hash.update(chunk); // objects may be large
        const about = JSON.stringify([ContentLength, hash.digest("hex"), ContentType, Metadata, TagSet]);
        lines.push(`${Key} ${IsLatest} ${about}`);
      }
    }
    return lines.join("\n");
  },
  async writer(namespace) {
    const s3 = await minioClient(namespace);
    const Bucket = "writer";
    await s3.send(new CreateBucketCommand({ Bucket }));
    const keys: string[] = [];
    return {
      async write(n) {
        keys.push(`${n}`);
        await s3.send(new PutObjectCommand({ Bucket, Key: `${n}`, Body: "w" }));
      },
      async remove() {
        for (const Key of keys) await s3.send(new DeleteObjectCommand({ Bucket, Key }));
        await s3.send(new DeleteBucketCommand({ Bucket }));
      },
    };
  },
  async damage(namespace) {
    const s3 = await minioClient(namespace);
    await s3.send(new DeleteObjectCommand({ Bucket: "seeds-plain", Key: "large" }));
    await s3.send(new PutObjectCommand({ Bucket: "seeds-plain", Key: "dir/", Body: "changed" }));
    await s3.send(new PutObjectCommand({ Bucket: "seeds-versioned", Key: "v", Body: "later" }));
    await s3.send(new CreateBucketCommand({ Bucket: "later" }));
    await s3.send(new PutObjectCommand({ Bucket: "later", Key: "k", Body: "later" }));
  },
};

// --- Open Distro: its REST API, by curl, which takes the node's own certificate

async function search(namespace: string, method: string, path: string, body?: object): Promise<string> {
  const scheme = namespace === "stage-kaa" ? "http" : "https";
  const url = `${scheme}://${await serviceIp(namespace, "kaa-opendistro-es-client-service")}:9200/${path}`;
  const password = await secret(namespace, "kaa-opendistro", "password");
  const config = `user = ${JSON.stringify(`admin:${password}`)}\n`;
  const data = body === undefined ? [] : ["-H", "content-type: application/json", "-d", JSON.stringify(body)];
  const strict = method === "GET" ? [] : ["--fail-with-body"]; // what is gone is told as gone
  const ran = await run("curl", ["-sSk", ...strict, "-K", "-", "-X", method, url, ...data], { input: config });
  if (ran.code !== 0) throw new Error(`Open Distro: ${method} ${path}: ${ran.stderr}${ran.stdout}`);
  return ran.stdout;
}

const opendistro: Native = {
  async seed(namespace) {
    await search(namespace, "PUT", "seeds-1", { aliases: { seeds: {} }, settings: { number_of_replicas: 0 } });
    for (const id of [1, 2, 3]) await search(namespace, "PUT", `seeds-1/_doc/${id}?refresh=true`, { text: "ä", id });
    await search(namespace, "PUT", "seeds-empty", { settings: { number_of_replicas: 0 } });
    await search(namespace, "PUT", "seeds-closed", { settings: { number_of_replicas: 0 } });
    await search(namespace, "PUT", "seeds-closed/_doc/1?refresh=true", { text: "closed" });
    await search(namespace, "POST", "seeds-closed/_close");
    await search(namespace, "PUT", "_index_template/seeds", { index_patterns: ["seeds-*"], priority: 7 });
    await search(namespace, "PUT", "_ingest/pipeline/seeds", { processors: [], description: "ä" });
  },
  contents: async (namespace) =>
    [
      await search(namespace, "GET", "_cat/indices?expand_wildcards=all&h=index,status,docs.count&s=index"),
      await search(namespace, "GET", "_cat/aliases?h=alias,index&s=alias"),
      await search(namespace, "GET", "seeds-1*/_search?sort=id&filter_path=hits.hits._id,hits.hits._source"),
      await search(namespace, "GET", "_index_template/*"),
      await search(namespace, "GET", "_ingest/pipeline/*"),
    ].join(""),
  async writer(namespace) {
    await search(namespace, "PUT", "writer", { settings: { number_of_replicas: 0 } });
    return {
      write: (n) => search(namespace, "PUT", `writer/_doc/${n}`, { n }),
      remove: () => search(namespace, "DELETE", "writer"),
    };
  },
  async damage(namespace) {
    await search(namespace, "DELETE", "seeds-1");
    await search(namespace, "DELETE", "seeds-closed");
    await search(namespace, "DELETE", "_index_template/seeds");
    await search(namespace, "PUT", "later/_doc/1?refresh=true", { later: true });
    await search(namespace, "PUT", "_ingest/pipeline/later", { processors: [] });
  },
};

/** PostgreSQL and MariaDB are filled and damaged together. */
async function sqlWriter(namespace: string, storage: "postgresql" | "mariadb") {
  const client = storage === "postgresql" ? "psql -qX -d postgres -c" : "mariadb $at -D kaa -e";
  const sql = (statement: string) => inPod(namespace, storage, `${client} '${statement}'`);
  await sql("create table writer (n int)");
  return { write: (n: number) => sql(`insert into writer values (${n})`), remove: () => sql("drop table writer") };
}

const objectPartBytes = 64 * 1024 * 1024;

/** Puts an object into a bucket of MinIO that does not compress: so many parts of 64 MiB. */
export async function putLargeObject(namespace: string, parts: number): Promise<void> {
  const s3 = await minioClient(namespace);
  const at = { Bucket: "seeds-plain", Key: "noise" };
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand(at));
  const Body = randomBytes(objectPartBytes);
  const Parts: { PartNumber: number; ETag: string | undefined }[] = [];
  for (let PartNumber = 1; PartNumber <= parts; PartNumber++) {
    Body.writeUInt32LE(PartNumber, 0);
    const { ETag } = await s3.send(new UploadPartCommand({ ...at, UploadId, PartNumber, Body }));
    Parts.push({ PartNumber, ETag });
  }
  await s3.send(new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }));
}

export const natives: Readonly<Record<string, Native>> = {
  influxdb,
  mariadb: {
    seed: async () => {},
    contents: dumps.mariadb,
    writer: (namespace) => sqlWriter(namespace, "mariadb"),
    damage: async () => {},
  },
  minio,
  mongodb,
  opendistro,
  postgresql: { seed, contents: dumps.postgresql, writer: (namespace) => sqlWriter(namespace, "postgresql"), damage },
  vault: vaultNative,
};

/** What the program is given for a namespace, beyond what it finds in the pods. */
export async function credentialsOf(namespace: string): Promise<Record<string, string>> {
  return {
    VAULT_TOKEN: vaultToken(namespace),
    OPENDISTRO_USERNAME: "admin",
    OPENDISTRO_PASSWORD: await secret(namespace, "kaa-opendistro", "password"),
  };
}

export async function everyContent(namespace: string): Promise<Record<string, string>> {
  const entries = Object.entries(natives).map(
    async ([name, native]) => [name, await native.contents(namespace)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}
