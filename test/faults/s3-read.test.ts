/** Faults of an S3 store while it is read, listed or emptied (S3-19 to S3-24), each in a whole run of the program. */
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { describe, expect, test as oneAfterAnother, vi } from "vitest";
import { certificateFor } from "../fakes/certificate.ts";
import type { FakeAnswer } from "../fakes/s3-operations.ts";
import { change, type Fault, type FaultAction, refuse, reset } from "../fakes/s3-server.ts";
import { impatient } from "../stores/places.ts";
import { expectInvariants } from "./invariants.ts";
import { bucket, Stage } from "./stage.ts";

vi.setConfig({ maxConcurrency: 4 });
const test = oneAfterAnother.concurrent;

const pod = "function";
const forever = Number.POSITIVE_INFINITY;
const get = "GetObject";

/** A snapshot, and what a restore and a verify of it make of the faults. */
async function readMeeting(faults: readonly Fault[], outcome: "ok" | "object-store", says?: RegExp) {
  await using stage = await Stage.set({ pod });
  const date = await stage.snapshot();
  for (const command of ["verify", "restore"] as const) {
    const before = await stage.state();
    for (const fault of faults) stage.s3.fault(fault);
    const quick = await stage.quickly({ s3: { timing: { ...impatient, connectMs: 10_000 } } });
    const ended = await quick[command](date);
    if (says !== undefined) expect(ended.stderr).toMatch(says);
    await expectInvariants(stage, before, ended, { command: command === "verify" ? "read" : command, outcome });
  }
}

function shortBody(given: FakeAnswer): FakeAnswer {
  const body = (given.body as Buffer).subarray(0, 1000);
  return { ...given, body, headers: { ...given.headers, "content-length": "1000" } };
}

function longBody(given: FakeAnswer): FakeAnswer {
  const body = Buffer.concat([given.body as Buffer, Buffer.from("more")]);
  return { ...given, body, headers: { ...given.headers, "content-length": String(body.byteLength) } };
}

const otherRange = change((given) => ({
  ...given,
  headers: { ...given.headers, "content-range": "bytes 6-1005/9999" },
}));

describe("S3-19: a download", () => {
  test.each([
    ["is reset before it begins", reset],
    ["is reset after one byte", change((given) => ({ ...given, cutAfterBytes: 1 }))],
    ["falls silent in the middle", change((given) => ({ ...given, stallAfterBytes: 30_000 }))],
    ["is shorter than was asked for, and says that it is whole", change(shortBody)],
    ["is longer than was asked for", change(longBody)],
    ["meets 503", refuse(503, "SlowDown")],
  ])("%s: it goes on where it stopped", async (_, action) => {
    await readMeeting([{ operation: get, nth: 2, action }], "ok");
  });

  test.each([
    ["is always reset", reset],
    ["never brings a byte", change((given: FakeAnswer) => ({ ...given, cutAfterBytes: 0 }))],
    ["is always of another range", otherRange],
    ["is always of the whole object", (() => ({ status: 200, body: "x".repeat(300_000) })) as FaultAction],
  ])("%s: it is given up", async (_, action) => {
    await readMeeting([{ operation: get, times: forever, action }], "object-store");
  });
});

describe("S3-20: while a restore reads it, the object", () => {
  test.each([
    ["is replaced", false, "object-store"],
    ["is removed", false, "object-store"],
    ["is replaced", true, "ok"],
    ["is removed", true, "object-store"],
  ] as const)("%s (a bucket with versions: %s)", async (how, versions, outcome) => {
    await using stage = await Stage.set({ pod, s3: { versions } });
    const date = await stage.snapshot();
    const key = `${date}.tar.gz`;
    const before = await stage.state();
    const store = stage.s3.bucket(bucket);
    stage.s3.fault({
      operation: get,
      nth: 2,
      action: (run) => {
        const given = run();
        if (how === "is replaced") store.plant(key, "x".repeat(1_000_000));
        else store.delete(key, versions ? (store.current(key)?.id ?? null) : null);
        return { ...given, cutAfterBytes: 10_000 };
      },
    });
    const ended = await stage.restore(date, "--storage", "mariadb");
    if (outcome !== "ok") expect(ended.stderr).toContain("changed or removed while being read");
    // Somebody has done that, not the restore.
    if (how === "is replaced" && versions) store.delete(key, store.current(key)?.id ?? null);
    else store.objects.delete(key);
    const deleted = versions && how === "is replaced" ? [] : [key];
    await expectInvariants(stage, before, ended, { command: "restore", outcome, deleted });
  });
});

describe("S3-21: a listing", () => {
  test("of many pages with others' objects among ours shows ours, and prune touches no other", async () => {
    await using stage = await Stage.set({ pod, s3: { pageSize: 2 } });
    const date = await stage.snapshot();
    const store = stage.s3.bucket(bucket);
    const foreign = ["../01-02-2021-15-28-37.tar.gz", `opendistro/${date}.tar.gz`, "index.html", `${date}.tar.gz.bak`];
    for (const key of [...foreign, "é\u0001<&>", `${date}.tar.gz\n`]) store.plant(key, "data");
    const before = await stage.state();
    const listed = await stage.run(["list", ...stage.cluster, "-o", "name"]);
    expect(listed.stdout).toBe(`${date}\n`);
    await expectInvariants(stage, before, listed, { command: "read", outcome: "ok" });
    const pruned = await stage.run(["prune", ...stage.cluster, "--keep-last", "1", "--yes"]);
    await expectInvariants(stage, before, pruned, { command: "delete", outcome: "ok" });
  });

  test.each([
    ["repeats its token", /<NextC.*Token>/, "<NextContinuationToken>a</NextContinuationToken>"],
    ["has no token for its next page", /<NextC.*Token>/, ""],
    ["repeats a page", /<Key>.*?<\/Key>/, "<Key>01-02-2021-15-28-37.tar.gz</Key>"],
  ])("that always %s is ended, and removes nothing", async (_, what, by) => {
    await using stage = await Stage.set({ pod, s3: { pageSize: 1 } });
    for (let count = 0; count < 3; count++) await stage.snapshot();
    const before = await stage.state();
    const damaged = change((given) => ({ ...given, body: String(given.body).replace(what, by) }));
    const prune = ["prune", ...stage.cluster, "--keep-last", "1", "--yes"];
    for (const argv of [["list", ...stage.cluster], prune]) {
      stage.s3.fault({ operation: "ListObjectsV2", times: forever, action: damaged });
      const ended = await stage.run(argv);
      const command = argv[0] === "prune" ? "delete" : "read";
      await expectInvariants(stage, before, ended, { command, outcome: "object-store" });
    }
  });

  test("that may not be made names the right (S3-16)", async () => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    const before = await stage.state();
    const prune = ["prune", ...stage.cluster, "--keep-last", "1", "--yes"];
    for (const argv of [["list", ...stage.cluster], ["verify", date, ...stage.cluster], prune]) {
      stage.s3.fault({ operation: "ListObjectsV2", times: forever, action: refuse(403, "AccessDenied") });
      const ended = await stage.run(argv);
      expect(ended.stderr).toContain("s3:ListBucket");
      const command = argv[0] === "prune" ? "delete" : "read";
      await expectInvariants(stage, before, ended, { command, outcome: "credentials" });
    }
  });
});

test("S3-22: an archived snapshot is told as such by verify and restore, with what fetches it", async () => {
  await using stage = await Stage.set({ pod });
  const date = await stage.snapshot();
  const [version] = stage.s3.bucket(bucket).objects.get(`${date}.tar.gz`) ?? [];
  if (version === undefined) throw new Error("no snapshot");
  version.storageClass = "GLACIER";
  const before = await stage.state();
  const verified = await stage.run(["verify", date, ...stage.cluster]);
  expect(verified.stderr).toMatch(/archived|GLACIER/);
  expect(verified.stderr).toContain("restore-object");
  await expectInvariants(stage, before, verified, { command: "read", outcome: "object-store" });
  const restored = await stage.restore(date);
  await expectInvariants(stage, before, restored, { command: "restore", outcome: "object-store" });
});

test("S3-23: a snapshot that is locked stays, prune goes on with the others, and that needs a look", async () => {
  await using stage = await Stage.set({ pod, s3: { versions: false } });
  const dates = [await stage.snapshot(), await stage.snapshot(), await stage.snapshot()];
  const before = await stage.state();
  const words = "Access Denied because object protected by object lock.";
  stage.s3.fault({ operation: "DeleteObject", action: refuse(403, "AccessDenied", words) });
  const ended = await stage.run(["prune", ...stage.cluster, "--keep-last", "1", "--yes"]);
  expect(ended.stderr).toContain(words);
  const gone = [...before.objects.keys()].filter(
    (each) => !stage.s3.bucket(bucket).objects.has(each.split(" ")[0] ?? ""),
  );
  expect(gone).toHaveLength(1);
  expect(dates.slice(0, 2).some((date) => gone[0]?.startsWith(date))).toBe(true);
  await expectInvariants(stage, before, ended, { command: "delete", outcome: "attention", deleted: [gone[0] ?? ""] });
});

describe("S3-24: the endpoint", () => {
  test("has no TLS: it is used, and told once", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const ended = await stage.create();
    expect(ended.stderr.match(/is reached without TLS/g)).toHaveLength(1);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("has a certificate that nobody trusts: no request is sent over it", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    let requests = 0;
    const server = createServer(certificateFor("elsewhere"), (_, response) => {
      requests += 1;
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const ended = await stage.run(["create", ...stage.cluster, "--storage", "mariadb"], {
      env: { AWS_ENDPOINT_URL: url },
    });
    server.close();
    expect(requests).toBe(0);
    expect(ended.stderr).toMatch(/the certificate of \S+ is not trusted/);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "object-store" });
  });

  test.each(["ftp://host", "no url", "https://user:secret@host"])("is called %s", async (endpoint) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const ended = await stage.run(["create", ...stage.cluster, "--storage", "mariadb"], {
      env: { AWS_ENDPOINT_URL: endpoint },
    });
    expect(ended.stderr).not.toContain("secret");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "usage" });
  });
});
