/** The chart pbm on the real cluster, with real helm and the real image, as the dependency of an installer chart: all seven
 *  storages are backed up by the schedule, destroyed, and restored by three values. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { inPod, kubectl, logIn, program, resetBed } from "./bed.ts";
import { type Deployment, prepareDeployment } from "./deployment.ts";
import { eventually } from "./in-cluster.ts";
import { credentialsOf, everyContent, natives } from "./natives.ts";

const namespace = "production-kaa";
const here = ["-n", namespace];
const storages = Object.keys(natives).sort();
const nightly = "pbm.config.backup.schedule=0 0 * * *";
let chart: Deployment;
let before: Record<string, string>;

beforeAll(async () => {
  await resetBed(namespace);
  for (const native of Object.values(natives)) await native.seed(namespace);
  before = await everyContent(namespace);
  chart = await prepareDeployment(namespace, { schedule: "* * * * *" });
});
afterAll(async () => {
  await chart?.remove();
  await resetBed(namespace);
});

describe("the schedule", () => {
  test("fires by itself: a snapshot of all seven appears in a bucket that it made, and the outcome is told", async () => {
    expect(await chart.bucket.exists()).toBe(false);
    expect(await chart.install()).toContain('on the schedule "* * * * *" (UTC)');
    const [name = ""] = await eventually("a snapshot", 180, async () => {
      const found = await chart.snapshots();
      return found.length > 0 ? found : undefined;
    });
    expect((await chart.upgrade(nightly)).code).toBe(0);
    const verified = await program(["verify", name, ...here]);
    expect(verified.code, verified.stderr).toBe(0);
    const described = JSON.parse((await program(["describe", name, ...here, "-o", "json"])).stdout);
    expect(described.manifest).toMatchObject({ complete: true, namespace });
    expect(described.manifest.instances.map((each: { storage: string }) => each.storage).sort()).toEqual(storages);
    const shown = await eventually("recorded", 60, async () => {
      const ran = await program(["schedule", ...here]);
      return /Last good:\s+\d\d-/.test(ran.stdout) ? ran.stdout : undefined;
    });
    expect(shown).toMatch(/^Schedule: +0 0 \* \* \* \(Etc\/UTC\): at 00:00$/m);
    expect(shown).toMatch(/^State: +active$/m);
    expect(await chart.events()).toMatch(/^BackupSucceeded s3:\/\/storage-backup--production-kaa\/\d\d-.* 7 storages/m);
  });

  test("pause and resume, which doctor tells; a run now, with its exit code", async () => {
    await chart.quiet(); // a run of the first schedule may still be on its way
    const toldByDoctor = async () => {
      const ran = await program(["doctor", ...here, "-o", "json"], { env: await credentialsOf(namespace) });
      expect(ran.code, ran.stdout).toBe(0);
      return JSON.parse(ran.stdout).checks.find((each: { name: string }) => each.name === "schedule");
    };
    expect((await program(["schedule", "pause", ...here])).code).toBe(0);
    expect(await toldByDoctor()).toMatchObject({
      status: "warning",
      detail: expect.stringMatching(/^PAUSED; at 00:00/),
    });
    expect((await program(["schedule", "resume", ...here])).code).toBe(0);
    const earlier = await chart.snapshots();
    const ran = await program(["schedule", "run", "--wait", "-o", "json", ...here]);
    expect(ran.code, ran.stderr).toBe(0);
    expect(JSON.parse(ran.stdout)).toEqual({ schema: 1, job: expect.stringMatching(/^installer-pbm-manual-/) });
    expect(await chart.snapshots()).toHaveLength(earlier.length + 1);
    const state = JSON.parse((await program(["schedule", "-o", "json", ...here])).stdout);
    expect(state).toMatchObject({ last: { outcome: "ok", complete: true }, missed: [] });
    expect(await toldByDoctor()).toMatchObject({
      status: "ok",
      detail: expect.stringMatching(
        /^at 00:00 \(Etc\/UTC\); last good run 20.* UTC; next run 20\d\d-\d\d-\d\d 00:00 UTC/,
      ),
    });
  });
});

describe("a restore by values", () => {
  const values = (date: string) => [
    nightly,
    "pbm.config.restore.run=true",
    `pbm.config.restore.backupDate=${date}`,
    `pbm.config.restore.sourceNamespace=${namespace}`,
  ];
  const jobName = async () => {
    const labels = ["-l", "app.kubernetes.io/name=pbm,app.kubernetes.io/component=restore"];
    return await kubectl([...here, "get", "jobs", ...labels, "-o", "jsonpath={.items[*].metadata.name}"]);
  };
  const ended = async (job: string) => {
    await kubectl([...here, "wait", "--for=condition=Complete", `job/${job}`, "--timeout=400s"]);
    return await kubectl([...here, "logs", `job/${job}`]);
  };

  test("values that are missing are named, and nothing changes", async () => {
    const ran = await chart.upgrade("pbm.config.restore.run=true", "pbm.config.restore.backupDate=12-02-2021-15-28-37");
    expect(ran.code).not.toBe(0);
    expect(ran.stderr).toContain("pbm.config.restore.run is true, but pbm.config.restore.sourceNamespace is missing");
    expect(ran.stderr).not.toContain("backupDate is missing");
    expect(await jobName()).toBe("");
  });

  test("brings all seven back, once: not by a second upgrade, and not by one after the Job has gone", async () => {
    const [date = ""] = await chart.snapshots();
    for (const native of Object.values(natives)) await native.damage(namespace);
    const damaged = await everyContent(namespace);
    for (const name of storages) expect(damaged[name], `${name} was not damaged`).not.toBe(before[name]);

    const first = await chart.upgrade(...values(date));
    expect(first.code, first.stderr).toBe(0);
    const job = await jobName();
    expect(await ended(job)).toMatch(/RESTORED/);
    expect(await everyContent(namespace)).toEqual(before);
    await logIn(namespace);
    const told = await chart.events();
    expect(told).toContain(`RestoreSucceeded ${date} of namespace ${namespace}: restored`);
    for (const storage of storages) expect(told).toMatch(new RegExp(`^RestoreProgress ${storage}/`, "m"));

    await inPod(namespace, "postgresql", "psql -qX -c 'create database since_then'");
    const since = await everyContent(namespace);
    expect((await chart.upgrade(...values(date))).code).toBe(0);
    expect(await jobName(), "the same Job").toBe(job);
    expect(await chart.podsOf("restore")).toHaveLength(1);
    await kubectl([...here, "delete", "job", job]);
    expect((await chart.upgrade(...values(date))).code).toBe(0);
    expect(await ended(job)).toMatch(new RegExp(`${date} was restored by installer-pbm-restore-.* nothing to do`));
    expect(await everyContent(namespace)).toEqual(since);
  });
});

test("snapshots that no value keeps go after the next run", async () => {
  // Neither a restore that was asked for, nor its Job, stands in the way of later values.
  expect((await chart.upgrade(nightly, "pbm.config.backup.keepLast=1")).code).toBe(0);
  const [newest] = await chart.snapshots();
  const ran = await program(["schedule", "run", "--wait", ...here]);
  expect(ran.code, ran.stderr).toBe(0);
  const left = await chart.snapshots();
  expect(left).toHaveLength(1);
  expect(left).not.toContain(newest);
  expect(await chart.events()).toMatch(/^Pruned pruned: \d+ of \d+ snapshots removed$/m);
});
