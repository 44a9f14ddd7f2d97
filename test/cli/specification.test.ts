/** What each command line of Kaa's documentation of the earlier tool means: whose pods are looked at, which storage, which
 *  bucket or directory, which snapshot. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { driverNames, isDriverName, loadDriver } from "../../src/drivers/registry.ts";
import { FakeApiServer } from "../fakes/api-server.ts";
import { FakeS3 } from "../fakes/s3-server.ts";
import { plantIn, snapshotAt, writeTo } from "../snapshots.ts";
import { commandLines, lines, wordsOf } from "./platform-backup.ts";
import { session } from "./session.ts";

const values: Readonly<Record<string, string>> = {
  "release-name-prefix": "kaa",
  "k8s-namespace": "stage-kaa",
  "backup-date": "12-02-2021-15-28-37",
  "source-k8s-namespace": "production-kaa",
};

// The pod is nobody's whom we know: each command line is understood, and then finds nothing that it could change.
const cluster = new FakeApiServer([{ namespace: "stage-kaa", name: "stranger-0", labels: {}, env: {} }]);
const s3 = new FakeS3();
const folder = mkdtempSync(join(tmpdir(), "kaa-specification-"));

beforeAll(async () => {
  await Promise.all([cluster.start(), s3.start()]);
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "a-secret-that-must-not-leak");
  const holds = (names: readonly string[]) => names.map((name) => `${name}/kaa-${name}`);
  const startedAt = new Date("2021-02-12T15:28:37Z");
  const inS3 = await snapshotAt(startedAt, { namespace: "production-kaa", holds: holds(driverNames) });
  plantIn(s3.bucket("storage-backup--production-kaa"), inS3);
  const local = await snapshotAt(startedAt, {
    namespace: "stage-kaa",
    holds: holds(driverNames.filter((each) => each !== "opendistro")),
  });
  writeTo(folder, local);
});
beforeEach(() => {
  s3.log.length = 0;
  cluster.requests.length = 0;
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await Promise.all([cluster.stop(), s3[Symbol.asyncDispose]()]);
  rmSync(folder, { recursive: true });
});

async function run(line: string) {
  const environment = {
    KUBECONFIG: cluster.kubeconfig,
    AWS_ENDPOINT_URL: s3.url,
    AWS_DEFAULT_REGION: "eu-west-7",
    KAA_BACKUP_DIR: folder,
  };
  return await session(wordsOf(line, values), environment, { name: "backup" });
}

test.each(commandLines)("%s", async (line, kind, storage) => {
  const ran = await run(line);
  const isLocal = kind.endsWith("Locally");
  const isCreate = kind.startsWith("create");
  expect(ran).toMatchObject({ code: 8, stdout: "" });
  const where = 'runs in namespace "stage-kaa"';
  const alone = (title: string) => `error storage-not-ready: no ${title} of release "kaa…" ${where}\n`;
  const titles = await Promise.all(driverNames.map(async (name) => (await loadDriver(name)).title));
  if (storage !== undefined && isDriverName(storage)) {
    expect(ran.stderr).toContain(alone((await loadDriver(storage)).title));
    expect(titles.filter((title) => ran.stderr.includes(title))).toHaveLength(1);
  } else if (isCreate) {
    for (const title of titles)
      expect(ran.stderr).toContain(
        isLocal && title === "Open Distro" ? "Open Distro is left out" : `no ${title} ${where}\n`,
      );
  } else expect(ran.stderr).toContain(alone(titles[0] ?? "")); // the first of those in the snapshot
  expect(ran.stderr).toContain(isCreate ? "no snapshot was published" : "nothing was changed");
  expect(ran.stderr.includes("Open Distro is left out")).toBe(isLocal && storage === undefined);

  expect(cluster.requests.map(({ url }) => url.replace(/\?.*/, ""))).toEqual([
    "/api/v1/namespaces/stage-kaa",
    "/api/v1/namespaces/stage-kaa/pods",
  ]);
  // Nothing is created before it is known what; a restore has read the right snapshot of the right bucket.
  const readFrom = s3.log.map(({ operation, bucket, key }) => `${operation} ${bucket}/${key}`);
  const file = "storage-backup--production-kaa/12-02-2021-15-28-37.tar.gz";
  const reads = ["ListObjectsV2 storage-backup--production-kaa/", `HeadObject ${file}`, `GetObject ${file}`];
  expect([...new Set(readFrom)]).toEqual(kind === "restoreFromS3" ? reads : []);
});

test("all thirty of the page are here", () => {
  expect(commandLines).toHaveLength(30);
  expect(new Set(commandLines.map(([line]) => line)).size).toBe(30);
});

test("AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY count for old commands and for new", async () => {
  await run(lines.restoreFromS3);
  const env = { AWS_ENDPOINT_URL: s3.url, AWS_DEFAULT_REGION: "eu-west-7" };
  await session(["list", "-n", "production-kaa"], env);
  await session(["list", "-n", "production-kaa"], { ...env, AWS_REGION: "eu-west-8" });
  const scopes = s3.log.map(({ headers }) => /Credential=(\S+?),/.exec(headers["authorization"] ?? "")?.[1]);
  const dated = scopes.map((each) => each?.replace(/\/\d{8}\//, "/DATE/"));
  expect([...new Set(dated)]).toEqual([
    "AKIAFAKEFAKEFAKEFAKE/DATE/eu-west-7/s3/aws4_request",
    "AKIAFAKEFAKEFAKEFAKE/DATE/eu-west-8/s3/aws4_request",
  ]);
});

test.each([
  ["MARIADB_ROOT_PWD", "mariadb"],
  ["POSTGRES_ROOT_PWD", "postgresql"],
  ["OPENDISTRO_USERNAME", "opendistro"],
  ["OPENDISTRO_PASSWORD", "opendistro"],
] as const)("%s is a credential of %s", async (variable, storage) => {
  expect((await loadDriver(storage)).credentialVariables).toContain(variable);
});
