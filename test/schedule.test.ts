/** What is told of the chart's CronJob. */
import { beforeEach, expect, test } from "vitest";
import { type Fields, record } from "../src/base/json.ts";
import type { Cluster } from "../src/cluster/cluster.ts";
import { recordRun } from "../src/record.ts";
import { exitOf, findSchedule, missedRuns, scheduleState, setPaused, startRun } from "../src/schedule.ts";
import { type FakeObjects, fakeObjects } from "./fakes/objects.ts";

const { signal } = new AbortController();
const labels = { "app.kubernetes.io/name": "pbm", "app.kubernetes.io/component": "backup" };
let objects: FakeObjects;
let cluster: Cluster;
beforeEach(() => {
  objects = fakeObjects();
  cluster = { objects } as Partial<Cluster> as Cluster;
});

function keepCronJob(name: string, spec: Fields = {}, status: Fields = {}) {
  const metadata = { name, namespace: "kaa", uid: `uid of ${name}`, labels, creationTimestamp: "2026-11-20T10:00:00Z" };
  const template = { metadata: { labels }, spec: { backoffLimit: 3, template: { spec: { containers: [] } } } };
  const all = {
    schedule: "0 0 * * *",
    timeZone: "Etc/UTC",
    startingDeadlineSeconds: 3600,
    jobTemplate: template,
    ...spec,
  };
  objects.kept.set(`cronjobs/${name}`, { metadata, spec: all, status });
}

test("there must be exactly one, or its name is given", async () => {
  await expect(findSchedule(cluster, "kaa", signal)).rejects.toMatchObject({
    outcome: "not-found",
    hints: ["the Helm chart pbm makes one"],
  });
  keepCronJob("one");
  expect((await findSchedule(cluster, "kaa", signal)).name).toBe("one");
  keepCronJob("two");
  await expect(findSchedule(cluster, "kaa", signal)).rejects.toMatchObject({
    outcome: "usage",
    hints: ["schedules: one, two"],
  });
  expect((await findSchedule(cluster, "kaa", signal, "two")).name).toBe("two");
});

test("a CronJob of somebody else is none of ours", async () => {
  keepCronJob("one");
  objects.kept.set("cronjobs/other", { metadata: { name: "other", labels: { "app.kubernetes.io/name": "other" } } });
  expect((await findSchedule(cluster, "kaa", signal)).name).toBe("one");
});

const at = (time: string) => new Date(`2026-11-${time}Z`);

test.each([
  { title: "nothing, on the day of the last start", now: at("22T23:00:00"), missed: [] },
  { title: "nothing, while the run may still start late", now: at("23T00:59:00"), missed: [] },
  { title: "a run, once it may not start any more", now: at("23T01:01:00"), missed: [at("23T00:00:00")] },
  { title: "each of several", now: at("24T02:00:00"), missed: [at("23T00:00:00"), at("24T00:00:00")] },
])("missed: $title", async ({ now, missed }) => {
  keepCronJob("one", {}, { lastScheduleTime: "2026-11-22T00:00:00Z" });
  expect(missedRuns(await findSchedule(cluster, "kaa", signal), now)).toEqual(missed);
});

test("missed: counted from its making when it never started; nothing when paused, or in a form that only Kubernetes knows", async () => {
  const missedOf = async (spec: Fields) => {
    keepCronJob("one", spec);
    return missedRuns(await findSchedule(cluster, "kaa", signal), at("22T12:00:00"));
  };
  expect(await missedOf({})).toEqual([at("21T00:00:00"), at("22T00:00:00")]);
  expect(await missedOf({ suspend: true })).toEqual([]);
  expect(await missedOf({ schedule: "@every 1h" })).toEqual([]);
  expect(await missedOf({ schedule: "* * * * *" })).toHaveLength(100);
});

test("the state joins the record, the newest Job of this CronJob, and the next runs", async () => {
  keepCronJob("one");
  const jobOf = (name: string, uid: string, created: string, conditions: readonly Fields[]) =>
    objects.kept.set(`jobs/${name}`, {
      metadata: { name, labels, creationTimestamp: created, ownerReferences: [{ uid }] },
      status: { conditions },
    });
  const failed = { type: "Failed", status: "True", reason: "PodFailurePolicy", message: "exit code 7" };
  jobOf("one-1", "uid of one", "2026-11-22T00:00:00Z", [{ type: "Complete", status: "True" }]);
  jobOf("one-2", "uid of one", "2026-11-23T00:00:00Z", [{ type: "Complete", status: "False" }, failed]);
  jobOf("other-3", "uid of other", "2026-11-24T00:00:00Z", []);
  const run = {
    outcome: "ok",
    complete: true,
    startedAt: at("22T00:00:00"),
    endedAt: at("22T00:01:00"),
    job: "one-1",
    fileName: "22-11-2026-00-00-00.tar.gz",
    sizeBytes: 5,
    message: "",
  } as const;
  await recordRun({ cluster, namespace: "kaa" }, run, signal);
  const broken = { ...run, outcome: "forbidden", complete: false, job: "one-2", fileName: "" } as const;
  await recordRun({ cluster, namespace: "kaa" }, broken, signal);
  const state = await scheduleState(cluster, await findSchedule(cluster, "kaa", signal), signal);
  expect(state).toMatchObject({ lastJob: { name: "one-2", phase: "failed", reason: "PodFailurePolicy" } });
  expect(state).toMatchObject({ last: broken, lastComplete: run });
  expect(state.next).toHaveLength(3);
  expect(state.next.every((time) => time.getUTCHours() === 0 && time > new Date())).toBe(true);
});

test("a record that somebody has spoilt is no record", async () => {
  keepCronJob("one");
  objects.kept.set("configmaps/kaa-backup-status", { data: { last: "{", lastComplete: "[1]" } });
  const state = await scheduleState(cluster, await findSchedule(cluster, "kaa", signal), signal);
  expect(state).toMatchObject({ last: undefined, lastComplete: undefined, lastJob: undefined });
});

test("a run now is a Job of the template that the CronJob owns", async () => {
  keepCronJob("one");
  const name = await startRun(cluster, await findSchedule(cluster, "kaa", signal), signal);
  expect(name).toMatch(/^one-manual-[0-9a-f]{8}$/);
  expect(objects.kept.get(`jobs/${name}`)).toMatchObject({
    metadata: { labels, ownerReferences: [{ kind: "CronJob", uid: "uid of one", controller: true }] },
    spec: { backoffLimit: 3 },
  });
});

test("pause and resume change nothing but that", async () => {
  keepCronJob("one");
  const before = objects.kept.get("cronjobs/one");
  const schedule = await findSchedule(cluster, "kaa", signal);
  await setPaused(cluster, schedule, true, signal);
  expect(objects.kept.get("cronjobs/one")).toEqual({ ...before, spec: { ...record(before?.["spec"]), suspend: true } });
  expect((await findSchedule(cluster, "kaa", signal)).isPaused).toBe(true);
  await setPaused(cluster, schedule, false, signal);
  expect((await findSchedule(cluster, "kaa", signal)).isPaused).toBe(false);
});

test("the exit code of a Job is that of the container that ended last", async () => {
  const pod = (name: string, finishedAt: string, exitCode: number) =>
    objects.kept.set(`pods/${name}`, {
      metadata: { labels: { "batch.kubernetes.io/job-name": "one" } },
      status: { containerStatuses: [{ state: { terminated: { exitCode, finishedAt, reason: "Error" } } }] },
    });
  const place = { namespace: "kaa", name: "one" };
  expect(await exitOf(cluster, place, signal)).toBeUndefined();
  pod("a", "2026-11-22T00:00:00Z", 11);
  pod("b", "2026-11-22T00:01:00Z", 7);
  expect(await exitOf(cluster, place, signal)).toEqual({ exitCode: 7, reason: "Error" });
});
