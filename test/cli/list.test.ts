/** `list`: what it prints, and what that costs. */
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { snapshotName } from "../../src/base/snapshot-name.ts";
import { FakeS3, refuse } from "../fakes/s3-server.ts";
import { daily, plantIn, snapshotAt } from "../snapshots.ts";
import { session } from "./session.ts";

const s3 = new FakeS3({ pageSize: 100 });
const day = 86_400_000;
const now = Date.now();
const ago = (days: number) => new Date(Math.floor(now / 1000) * 1000 - days * day);

beforeAll(async () => {
  await s3.start();
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "a-secret-that-must-not-leak");
  for (const date of daily(1000, ago(1))) s3.bucket("storage-backup--many").plant(`${snapshotName(date)}.tar.gz`, "x");
  for (const date of daily(200, ago(1))) plantIn(s3.bucket("storage-backup--some"), await snapshotAt(date));
  plantIn(
    s3.bucket("storage-backup--kaa"),
    await snapshotAt(ago(1), { holds: ["mariadb/a", "opendistro/b", "opendistro/c"] }),
    await snapshotAt(ago(2), { lacks: ["vault/kaa-vault"] }),
  );
  s3.bucket("storage-backup--kaa").plant("opendistro/kaa/b/index-0", "not a snapshot of ours");
  plantIn(s3.bucket("storage-backup--clock"), await snapshotAt(ago(-3)), await snapshotAt(ago(1)));
  s3.bucket("somebody-elses").plant("01-01-2024-00-00-00.tar.gz", "not looked at");
}, 120_000);
beforeEach(() => {
  s3.log.length = 0;
  s3.clearFaults();
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await s3[Symbol.asyncDispose]();
});

const list = (...argv: readonly string[]) => session(["list", ...argv], { AWS_ENDPOINT_URL: s3.url });

test("a plain list of 1,000 snapshots asks for the pages of the listing and nothing else", async () => {
  for (const format of ["table", "json", "yaml", "name", "jsonpath={.snapshots[0].name}"]) {
    s3.log.length = 0;
    const ran = await list("-n", "many", "-o", format);
    expect(ran.code).toBe(0);
    expect(s3.operations).toEqual(Array.from({ length: 10 }, () => "ListObjectsV2"));
  }
});

test("a wide list asks for two things of each snapshot, of at most eight at once, and reads only the file's end", async () => {
  let [running, most] = [0, 0];
  s3.fault({
    operation: ["HeadObject", "GetObject"],
    times: Number.POSITIVE_INFINITY,
    action: async (run) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      return run();
    },
  });
  const ran = await list("-n", "some", "-o", "wide");
  expect(ran.code).toBe(0);
  expect(ran.stdout.trimEnd().split("\n")).toHaveLength(201);
  const counts = Object.groupBy(s3.operations, (operation) => operation);
  expect(Object.fromEntries(Object.entries(counts).map(([name, each]) => [name, each?.length]))).toEqual({
    ListObjectsV2: 2,
    HeadObject: 200,
    GetObject: 200,
  });
  expect(most).toBeGreaterThan(1);
  expect(most).toBeLessThanOrEqual(8);
  for (const { operation, headers } of s3.log)
    if (operation === "GetObject") expect(headers["range"]).toMatch(/^bytes=\d+-\d+$/);
});

test("a wide list says what each snapshot holds, what it lacks, and what is kept outside the file", async () => {
  const { code, stdout } = await list("-n", "kaa", "-o", "wide");
  expect(code).toBe(0);
  const [head, newest, older, ...rest] = stdout.trimEnd().split("\n");
  expect(head).toMatch(/^NAME +STATUS +SIZE +AGE +NAMESPACE +RELEASE +TOOL +STORAGES$/);
  expect(newest).toMatch(/Complete .* 24h +kaa +kaa +0\.1\.0 +mariadb, opendistro \(outside the file\)$/);
  expect(older).toMatch(/Partial .* 2d +kaa +kaa +0\.1\.0 +postgresql, MISSING vault$/);
  expect(rest).toEqual([]);
});

test("a snapshot that is damaged or archived is listed as unreadable; the others are listed as they are", async () => {
  const bucket = s3.bucket("storage-backup--bad");
  const [good, cut, archived] = await Promise.all([1, 2, 3].map((days) => snapshotAt(ago(days))));
  plantIn(bucket, good!, archived!);
  bucket.plant(cut!.fileName, cut!.bytes.subarray(0, -20));
  bucket.current(archived!.fileName)!.storageClass = "GLACIER";
  const { code, stdout, stderr } = await list("-n", "bad", "-o", "wide");
  expect(stdout.split("\n").map((line) => line.split(/ {2,}/)[1])).toEqual([
    "STATUS",
    "Complete",
    "Unreadable",
    "Unreadable",
    undefined,
  ]);
  expect(stderr).toMatch(/warning cannot read ".*": the file's end: not that of a snapshot/);
  expect(stderr).toMatch(/it is archived \(GLACIER\)/);
  expect(code).toBe(3);
  expect((await list("-n", "bad")).code).toBe(0);
});

test("an outage while reading is the list's failure, not the snapshots'", async () => {
  s3.fault({ operation: "GetObject", times: Number.POSITIVE_INFINITY, action: refuse(403, "AccessDenied") });
  const { code, stdout } = await list("-n", "kaa", "-o", "wide");
  expect(code).toBe(12);
  expect(stdout).toBe("");
});

test("a snapshot dated in the future is flagged, and comes first", async () => {
  const { code, stdout, stderr } = await list("-n", "clock");
  expect(code).toBe(0);
  expect(stdout.split("\n")[1]).toMatch(/ in 2d$|in 71h$| in 3d$/);
  expect(stderr).toMatch(/^warning \S+ is dated in the future: a clock was wrong, there or here$/m);
  const json = JSON.parse((await list("-n", "clock", "-o", "json")).stdout);
  expect(json.snapshots.map((each: { future: boolean }) => each.future)).toEqual([true, false]);
});

test("-A lists the buckets of all namespaces, and no other bucket", async () => {
  const { code, stdout } = await list("-A");
  expect(code).toBe(0);
  const lines = stdout.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^NAMESPACE +NAME +STATUS +SIZE +AGE$/);
  const namespaces = new Set(lines.slice(1).map((line) => line.split(" ")[0]));
  expect([...namespaces]).toEqual(["bad", "clock", "kaa", "many", "some"]);
  expect(s3.operations).not.toContain("HeadObject");
  expect(new Set(s3.log.map(({ operation }) => operation))).toEqual(new Set(["ListBuckets", "ListObjectsV2"]));
  const json = JSON.parse((await list("--all-namespaces", "-o", "json")).stdout);
  expect(json.snapshots[0]).toMatchObject({ namespace: "bad", location: "s3://storage-backup--bad" });
});

test("-A goes on past a bucket that may not be read, and says so", async () => {
  s3.fault({ operation: "ListObjectsV2", nth: 2, action: refuse(403, "AccessDenied") });
  const { code, stdout, stderr } = await list("-A");
  expect(code).toBe(3);
  expect(stderr).toMatch(/^warning cannot list s3:\/\/storage-backup--clock: access denied/m);
  expect(stdout).toMatch(/^bad /m);
  expect(stdout).toMatch(/^kaa /m);
  expect(stdout).not.toMatch(/^clock /m);
});

test("-A needs the right to list buckets, and says which", async () => {
  s3.fault({ operation: "ListBuckets", action: refuse(403, "AccessDenied") });
  const { code, stdout, stderr } = await list("-A");
  expect({ code, stdout }).toEqual({ code: 12, stdout: "" });
  expect(stderr).toContain("s3:ListAllMyBuckets");
});

test.each([["--local"], ["--bucket", "b"], ["--source-namespace", "b"]])(
  "-A and %s exclude each other",
  async (...flag) => {
    expect(await list("-A", ...flag)).toMatchObject({ code: 2, stdout: "" });
    expect(s3.log).toEqual([]);
  },
);
