/** Pods of the chart's Job that are ended in the middle of a run: there is no snapshot, nothing stays open, and the pod that
 *  replaces them succeeds. */
import { type ChildProcess, spawn } from "node:child_process";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { bedEnvironment, inPod, kubectl, program, type Ran } from "./bed.ts";
import { type Deployment, prepareDeployment } from "./deployment.ts";
import { eventually, killInPod } from "./in-cluster.ts";

const namespace = "production-kaa";
const here = ["-n", namespace];
let chart: Deployment;
let holder: ChildProcess | undefined;
let running: Promise<Ran>;
let before: readonly string[];
let pod: string;

const psql = (sql: string, database = "postgres") =>
  inPod(namespace, "postgresql", `psql -qXAt -v ON_ERROR_STOP=1 -d ${database} -f -`, sql);
const dropAll = () =>
  psql("drop database if exists ended_1 with (force); drop database if exists ended_2 with (force)");

beforeAll(async () => {
  await dropAll();
  // The first is large enough to be uploaded before the second is dumped, which a test holds up.
  await psql("create database ended_1");
  await psql("create database ended_2");
  await psql(
    "create extension pgcrypto; create table blobs as select n, gen_random_bytes(1024) as blob from generate_series(1, 40000) n",
    "ended_1",
  );
  await psql("create table held as select 1 as n", "ended_2");
  chart = await prepareDeployment(namespace, { storages: ["postgresql"] });
  await chart.install();
});
afterAll(async () => {
  await chart?.remove();
  await dropAll();
});
afterEach(letGo); // also when the test has failed: the next one must not meet its run

/** Starts a run that has uploaded something and waits for a table that somebody holds. */
async function startHeldRun(): Promise<void> {
  await chart.quiet();
  before = await chart.snapshots();
  const env = { ...process.env, ...bedEnvironment() };
  const sql = "begin; lock table held in access exclusive mode; select pg_sleep(600)";
  const login = `export PGPASSWORD=$(secret POSTGRES_POSTGRES_PASSWORD); exec psql -qX -U postgres -d ended_2 -c '${sql}'`;
  holder = spawn("kubectl", [...here, "exec", "kaa-postgresql-0", "--", "bash", "-c", login], { env, stdio: "ignore" });
  await eventually("the table is held", 30, async () => {
    const locks = await psql("select count(*) from pg_locks where relation = 'held'::regclass and granted", "ended_2");
    return locks.trim() === "1" ? true : undefined;
  });
  const known = new Set((await chart.podsOf("backup")).map(({ name }) => name));
  running = program(["schedule", "run", "--wait", ...here]);
  pod = await eventually(
    "a pod runs",
    60,
    async () => (await chart.podsOf("backup")).find(({ name, phase }) => !known.has(name) && phase === "Running")?.name,
  );
  await eventually("an upload is open", 90, async () => ((await chart.bucket.openUploads()) > 0 ? true : undefined));
}

async function letGo(): Promise<void> {
  await psql(
    "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()",
  );
  holder?.kill();
}

test("by SIGTERM: no snapshot and no open upload; the pod that replaces it succeeds", async () => {
  await startHeldRun();
  await kubectl([...here, "delete", "pod", pod]); // waits until it is gone
  expect(await chart.bucket.openUploads()).toBe(0);
  expect(await chart.snapshots()).toEqual(before);
  expect(await chart.events()).toMatch(
    /^BackupFailed terminated \(exit code 143\): stopped by SIGTERM; no snapshot was/m,
  );
  await letGo();
  const ran = await running;
  expect(ran.code, ran.stderr).toBe(0);
  expect(await chart.snapshots()).toHaveLength(before.length + 1);
  expect(await chart.bucket.openUploads()).toBe(0);
});

test("by SIGKILL: no snapshot; its lock frees itself, and the next one cleans up and succeeds (PR-03)", async () => {
  await startHeldRun();
  await killInPod(namespace, pod);
  await eventually("the pod has failed", 30, async () =>
    (await chart.podsOf("backup")).some(({ name, phase }) => name === pod && phase === "Failed") ? true : undefined,
  );
  expect(await chart.snapshots()).toEqual(before);
  await letGo();
  const ran = await running;
  expect(ran.code, ran.stderr).toBe(0);
  expect(await chart.snapshots()).toHaveLength(before.length + 1);
  expect(await chart.bucket.openUploads()).toBe(0);
});
