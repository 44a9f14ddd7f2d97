/** What doctor tells of the schedule. None of it is a failure: a backup by hand works without. */

import { expect, test } from "vitest";
import { UserError } from "../src/base/errors.ts";
import type { Cluster } from "../src/cluster/cluster.ts";
import type { Attempt } from "../src/doctor.ts";
import type { RunRecord } from "../src/record.ts";
import type { JobState, ScheduleState } from "../src/schedule.ts";
import { checkSchedules, findingOf } from "../src/schedule-check.ts";
import { fakeObjects } from "./fakes/objects.ts";
import { nightly } from "./fakes/schedule.ts";

const at = (time: string) => new Date(`2026-11-${time}Z`);
const good: RunRecord = {
  outcome: "ok",
  startedAt: at("26T00:00:02"),
  endedAt: at("26T00:01:02"),
  job: "kaa-pbm-2",
  fileName: "26-11-2026-00-00-02.tar.gz",
  complete: true,
  sizeBytes: 2426,
  message: "",
};
const job: JobState = { name: "kaa-pbm-2", createdAt: at("26T00:00:00"), phase: "succeeded", reason: "", message: "" };
const state: ScheduleState = {
  schedule: nightly,
  lastJob: job,
  last: good,
  lastComplete: good,
  next: [at("27T00:00:00"), at("28T00:00:00")],
  missed: [],
};
const now = at("26T15:00:00");
const beginning = "at 00:00 (Etc/UTC); last good run 2026-11-26 00:01 UTC";
const coming = "next run 2026-11-27 00:00 UTC, in 9 h";
const logs = "kubectl logs -n kaa job/kaa-pbm-2";

test.each<{ title: string; changed: Partial<ScheduleState>; status: string; detail: string; remedies: string[] }>([
  { title: "all is well", changed: {}, status: "ok", detail: `${beginning}; ${coming}`, remedies: [] },
  {
    title: "it has yet to run",
    changed: { lastJob: undefined, last: undefined, lastComplete: undefined },
    status: "ok",
    detail: `at 00:00 (Etc/UTC); no good run yet; ${coming}`,
    remedies: [],
  },
  {
    title: "it is paused",
    changed: { schedule: { ...state.schedule, isPaused: true }, next: [] },
    status: "warning",
    detail: `PAUSED; ${beginning}`,
    remedies: ["kubectl kaa-backup schedule resume -n kaa --cronjob kaa-pbm"],
  },
  {
    title: "runs were missed",
    changed: { missed: [at("24T00:00:00"), at("25T00:00:00")] },
    status: "warning",
    detail: `${beginning}; 2 MISSED since 2026-11-24 00:00 UTC; ${coming}`,
    remedies: [
      "kubectl describe cronjob -n kaa kaa-pbm; a run now: kubectl kaa-backup schedule run -n kaa --cronjob kaa-pbm",
    ],
  },
  {
    title: "the last run failed and said why",
    changed: { last: { ...good, fileName: "", complete: false, outcome: "forbidden", message: "cannot list pods" } },
    status: "warning",
    detail: `${beginning}; the last run FAILED (forbidden): cannot list pods; ${coming}`,
    remedies: [logs],
  },
  {
    title: "the last run was killed and said nothing",
    changed: {
      last: { ...good, job: "kaa-pbm-1" },
      lastJob: { ...job, phase: "failed", reason: "BackoffLimitExceeded" },
    },
    status: "warning",
    detail: `${beginning}; the last run FAILED: BackoffLimitExceeded; ${coming}`,
    remedies: [logs],
  },
  {
    title: "the last run could not prune",
    changed: { last: { ...good, outcome: "attention", message: "nothing was pruned" } },
    status: "warning",
    detail: `${beginning}; the last run needs a look (attention): nothing was pruned; ${coming}`,
    remedies: [logs],
  },
])("$title", ({ changed, status, detail, remedies }) => {
  expect(findingOf({ ...state, ...changed }, "at 00:00", now)).toEqual({ status, detail, remedies });
});

const attempt: Attempt = async (name, work) => ({ name, status: "ok", remedies: [], ...(await work()) });

async function checksOf(objects: ReturnType<typeof fakeObjects>) {
  const { signal } = new AbortController();
  return await checkSchedules(
    { cluster: { objects } as Partial<Cluster> as Cluster, namespace: "kaa", signal },
    attempt,
  );
}

function keepSchedule(objects: ReturnType<typeof fakeObjects>, name: string): void {
  const labels = { "app.kubernetes.io/name": "pbm", "app.kubernetes.io/component": "backup" };
  const metadata = { name, namespace: "kaa", uid: name, labels, creationTimestamp: new Date().toISOString() };
  objects.kept.set(`cronjobs/${name}`, { metadata, spec: { schedule: "30 2 * * 1" } });
}

test("a namespace without one is no failure, nor is an account that may not see it", async () => {
  const objects = fakeObjects();
  expect(await checksOf(objects)).toMatchObject([
    { name: "schedule", status: "skipped", detail: expect.stringMatching(/^none/) },
  ]);
  keepSchedule(objects, "kaa-pbm");
  expect(await checksOf(objects)).toMatchObject([
    { name: "schedule", status: "ok", detail: expect.stringMatching(/^at 02:30, only on Monday \(Etc\/UTC\)/) },
  ]);
  for (const right of ["list jobs", "get configmaps", "list cronjobs"]) {
    objects.forbidden.clear();
    objects.forbidden.add(right);
    expect(await checksOf(objects)).toMatchObject([
      { status: "skipped", detail: expect.stringMatching(/^hidden from this account/) },
    ]);
  }
});

test("each of several is told of by its name", async () => {
  const objects = fakeObjects();
  for (const name of ["one", "two"]) keepSchedule(objects, name);
  expect((await checksOf(objects)).map(({ name }) => name)).toEqual(["schedule one", "schedule two"]);
});

test("a cluster that fails is a failure", async () => {
  const objects = fakeObjects();
  objects.list = async () => {
    throw new UserError("cluster", "cannot list cronjobs: no answer");
  };
  await expect(checksOf(objects)).rejects.toMatchObject({ outcome: "cluster" });
});
