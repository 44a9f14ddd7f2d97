/** What a run tells of its end: Events, the record, metrics at a gateway on loopback. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { BackupResult } from "../../src/backup.ts";
import { UserError } from "../../src/base/errors.ts";
import { record } from "../../src/base/json.ts";
import { runReportOf, withRestoreEvents } from "../../src/cli/report.ts";
import { eventTeller } from "../../src/events.ts";
import { readRuns } from "../../src/record.ts";
import { type FakeObjects, fakeObjects } from "../fakes/objects.ts";

const env = { JOB_NAME: "pbm-1", JOB_UID: "j", POD_NAME: "pbm-1-x", POD_UID: "p" };
const jobEnv = Object.fromEntries(Object.entries(env).map(([name, value]) => [`KAA_BACKUP_${name}`, value]));
let objects: FakeObjects;
let gateway: Server;
let pushed: { method: string | undefined; url: string | undefined; body: string }[];
let status: number;
let url: string;

beforeEach(async () => {
  objects = fakeObjects();
  pushed = [];
  status = 202;
  gateway = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    pushed.push({ method: request.method, url: request.url, body });
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => gateway.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(gateway.address() as AddressInfo).port}`;
});
afterEach(() => {
  gateway.closeAllConnections();
  gateway.close();
});

function place(signal = new AbortController().signal) {
  const warnings: string[] = [];
  const session = { io: { env: jobEnv, signal }, reporter: { warning: (text: string) => warnings.push(text) } };
  const cluster = { objects, defaultNamespace: "production-kaa" };
  return { session: session as never, cluster: cluster as never, warnings };
}

const digest = { bytes: 1024, sha256: "" };
const made: BackupResult = {
  fileName: "23-11-2026-18-05-09.tar.gz",
  location: "s3://storage-backup--production-kaa",
  sizeBytes: 2048,
  failures: [],
  shrunk: [],
  manifest: {
    instances: [
      {
        storage: "postgresql",
        instance: 'kaa-"quoted"',
        startedAt: "2026-11-23T18:05:09.000Z",
        finishedAt: "2026-11-23T18:05:11.500Z",
        streams: [{ plain: digest }, { plain: digest }],
      },
    ],
  } as never,
};

function events() {
  return [...objects.kept].flatMap(([key, event]) => (key.startsWith("events/") ? [event] : []));
}

const all = () => ({ report: true, "metrics-url": url });

test("a complete snapshot is told as an Event of the Job, in the record, and as metrics that are added to the gateway's", async () => {
  const { session, cluster, warnings } = place();
  const report = await runReportOf(session, cluster, all());
  expect(await report.published(made, "ok")).toBe(true);
  expect(warnings).toEqual([]);
  expect(events()).toEqual([
    expect.objectContaining({
      type: "Normal",
      reason: "BackupSucceeded",
      note: "s3://storage-backup--production-kaa/23-11-2026-18-05-09.tar.gz (2.0 KiB, 1 storages, 0 s)",
      regarding: { apiVersion: "batch/v1", kind: "Job", namespace: "production-kaa", name: "pbm-1", uid: "j" },
    }),
  ]);
  const { last, lastComplete } = await readRuns({ cluster, namespace: "production-kaa" }, AbortSignal.timeout(1000));
  expect(last).toMatchObject({ outcome: "ok", job: "pbm-1", sizeBytes: 2048, fileName: made.fileName });
  expect(lastComplete).toEqual(last);
  const [push] = pushed;
  expect(push).toMatchObject({ method: "POST", url: "/metrics/job/kaa-backup/namespace/production-kaa" });
  const lines = (push?.body ?? "").split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  expect(lines.map((line) => line.replace(/(timestamp_seconds) \d{10}(\.\d+)?$/, "$1 NOW"))).toEqual([
    "kaa_backup_last_run_timestamp_seconds NOW",
    expect.stringMatching(/^kaa_backup_last_run_duration_seconds 0(\.\d+)?$/),
    "kaa_backup_last_run_exit_code 0",
    'kaa_backup_storage_duration_seconds{storage="postgresql",instance="kaa-\\"quoted\\""} 2.5',
    'kaa_backup_storage_size_bytes{storage="postgresql",instance="kaa-\\"quoted\\""} 2048',
    "kaa_backup_last_success_timestamp_seconds NOW",
    "kaa_backup_last_success_size_bytes 2048",
    expect.stringMatching(/^kaa_backup_last_success_duration_seconds 0(\.\d+)?$/),
  ]);
});

test("pruning that worked is an Event of its own; pruning that failed is a warning, and the snapshot is no less the last good one", async () => {
  const { session, cluster } = place();
  const report = await runReportOf(session, cluster, all());
  await report.published({ ...made, pruned: { decisions: [], removals: [] } }, "ok");
  const failed = new UserError("refused", "the clock of this machine is 10 minutes ahead", {
    effect: "nothing was removed",
  });
  await report.published({ ...made, pruned: failed }, "attention");
  const note = `older snapshots were not pruned: refused: ${failed.message}; nothing was removed`;
  expect(events().map(({ type, reason }) => `${type} ${reason}`)).toEqual([
    "Normal BackupSucceeded",
    "Normal Pruned",
    "Normal BackupSucceeded",
    "Warning PruneFailed",
  ]);
  expect(events().at(-1)).toMatchObject({ note });
  const { last, lastComplete } = await readRuns({ cluster, namespace: "production-kaa" }, AbortSignal.timeout(1000));
  expect(last).toMatchObject({ outcome: "attention", complete: true, message: note });
  expect(lastComplete).toEqual(last);
  expect(pushed.at(-1)?.body).toMatch(/^kaa_backup_last_success_timestamp_seconds /m);
});

test("a dump that has shrunk or is there no more is an Event of its own, and the run needs a look", async () => {
  const { session, cluster } = place();
  const report = await runReportOf(session, cluster, all());
  const mariadb = { storage: "mariadb", instance: "kaa-mariadb" };
  const last = { ...mariadb, snapshotName: "22-11-2026-18-05-09", bytes: 5_000_000 };
  const shrunk = [
    { ...mariadb, bytes: 1000, last },
    { ...mariadb, bytes: 0, last },
  ];
  await report.published({ ...made, shrunk }, "attention");
  const note =
    "mariadb/kaa-mariadb has only 1000 B, after 4.8 MiB in 22-11-2026-18-05-09: is everything still there?; " +
    "mariadb/kaa-mariadb is in 22-11-2026-18-05-09 and runs here no more: was that meant?";
  expect(events()).toMatchObject([
    { type: "Normal", reason: "BackupSucceeded" },
    { type: "Warning", reason: "BackupShrunk", note },
  ]);
  const runs = await readRuns({ cluster, namespace: "production-kaa" }, AbortSignal.timeout(1000));
  expect(runs.last).toMatchObject({ outcome: "attention", complete: true, message: note });
});

test("a partial snapshot is a warning, and no success", async () => {
  const { session, cluster } = place();
  const failure = { storage: "a", instance: "b", error: new UserError("storage-failed", "exit code\u001b[31m 1") };
  const report = await runReportOf(session, cluster, all());
  await report.published({ ...made, failures: [failure] }, "attention");
  expect(events()).toMatchObject([{ type: "Warning", reason: "BackupPartial" }]);
  expect(events()[0]?.["note"]).toMatch(/ without a\/b: exit code\\u\{1b\}\[31m 1$/);
  const { last, lastComplete } = await readRuns({ cluster, namespace: "production-kaa" }, AbortSignal.timeout(1000));
  expect(last).toMatchObject({ outcome: "attention", complete: false });
  expect(lastComplete).toBeUndefined();
  expect(pushed[0]?.body).toContain("kaa_backup_last_run_exit_code 3");
  expect(pushed[0]?.body).not.toContain("last_success");
});

test("a failure leaves the figures of the last success at the gateway and in the record", async () => {
  const { session, cluster } = place();
  await (await runReportOf(session, cluster, all())).published(made, "ok");
  const report = await runReportOf(session, cluster, all());
  await report.failed(new UserError("forbidden", "cannot list pods", { effect: "nothing was changed" }));
  expect(events()[1]).toMatchObject({
    type: "Warning",
    reason: "BackupFailed",
    note: "forbidden (exit code 7): cannot list pods; nothing was changed",
  });
  const { last, lastComplete } = await readRuns({ cluster, namespace: "production-kaa" }, AbortSignal.timeout(1000));
  expect(last).toMatchObject({ outcome: "forbidden", fileName: "", message: "cannot list pods" });
  expect(lastComplete).toMatchObject({ fileName: made.fileName });
  expect(pushed[1]?.method).toBe("POST");
  expect(pushed[1]?.body).not.toMatch(/last_success|storage_/);
});

test("a run that was told to stop says so, whatever broke in stopping", async () => {
  const stopped = new UserError("terminated", "stopped by SIGTERM");
  const { session, cluster } = place(AbortSignal.abort(stopped));
  await (await runReportOf(session, cluster, all())).failed(new UserError("stream-lost", "connection lost"));
  expect(events()).toMatchObject([{ note: "terminated (exit code 143): stopped by SIGTERM" }]);
});

test("what cannot be told is a warning each, and the run needs a look", async () => {
  const { session, cluster, warnings } = place();
  for (const verb of ["create events", "patch configmaps"]) objects.forbidden.add(verb);
  status = 500;
  const report = await runReportOf(session, cluster, all());
  expect(await report.published(made, "ok")).toBe(false);
  expect(warnings).toEqual([
    expect.stringContaining('cannot patch resource "configmaps"'),
    expect.stringContaining(`the metrics were not taken by ${url}`),
    expect.stringContaining('cannot create resource "events"'),
  ]);
});

test("a gateway that is away is a warning", async () => {
  const { session, cluster, warnings } = place();
  await new Promise((resolve) => gateway.close(resolve));
  const report = await runReportOf(session, cluster, all());
  expect(await report.published(made, "ok")).toBe(false);
  expect(warnings).toEqual([expect.stringContaining("the metrics were not taken")]);
});

test.each([
  { title: "no URL", "metrics-url": "pushgateway" },
  { title: "another protocol", "metrics-url": "file:///x" },
  { title: "a password in the URL", "metrics-url": "http://user:secret@gateway" },
])("--metrics-url with $title is refused, without the password in the message", async (flags) => {
  const { session, cluster } = place();
  const refused = runReportOf(session, cluster, { report: undefined, ...flags });
  await expect(refused).rejects.toMatchObject({ outcome: "usage" });
  await expect(refused).rejects.not.toThrow(/secret/);
});

test("--report outside of a Job is refused; without it nothing is told", async () => {
  const { session, cluster } = place();
  const outside = { ...(session as object), io: { env: {}, signal: new AbortController().signal } } as never;
  const flags = { report: true, "metrics-url": undefined };
  await expect(runReportOf(outside, cluster, flags)).rejects.toMatchObject({ outcome: "usage" });
  const silent = await runReportOf(outside, cluster, { report: undefined, "metrics-url": undefined });
  expect(await silent.published(made, "ok")).toBe(true);
  expect(objects.kept.size).toBe(0);
});

test("a restore tells its beginning and its end", async () => {
  const { session, cluster } = place();
  const subject = { namespace: "kaa", job: { name: "pbm-restore", uid: "j" }, pod: { name: "x", uid: "p" } };
  const teller = eventTeller(cluster, subject);
  expect(await withRestoreEvents(session, teller, "D", async () => ({ code: 0, end: "restored" }))).toBe(0);
  const failing = withRestoreEvents(session, teller, "D", async () => {
    throw new UserError("invalid-snapshot", "it is cut");
  });
  await expect(failing).rejects.toMatchObject({ outcome: "invalid-snapshot" });
  expect(events().map((each) => [record(each)["reason"], record(each)["note"]])).toEqual([
    ["RestoreStarted", "D"],
    ["RestoreSucceeded", "D: restored"],
    ["RestoreStarted", "D"],
    ["RestoreFailed", "D: invalid-snapshot (exit code 4): it is cut"],
  ]);
});

test("an Event's text is cut where Kubernetes would refuse it", async () => {
  const { cluster } = place();
  const subject = { namespace: "kaa", job: { name: "j", uid: "j" }, pod: { name: "x", uid: "p" } };
  const teller = eventTeller(cluster, subject);
  teller.tell({ type: "Normal", reason: "R", note: "x".repeat(2000) });
  expect(await teller.settled()).toEqual([]);
  expect(events()[0]?.["note"]).toHaveLength(1024);
});
