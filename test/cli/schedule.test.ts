/** `schedule`: its document is what docs/output.md shows, and what people are told of each state. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { shownSchedule } from "../../src/cli/schedule.ts";
import type { RunRecord } from "../../src/record.ts";
import type { JobState, ScheduleState } from "../../src/schedule.ts";
import { nightly } from "../fakes/schedule.ts";

const at = (time: string) => new Date(`2026-11-${time}.000Z`);
const good: RunRecord = {
  outcome: "ok",
  startedAt: at("25T00:00:02"),
  endedAt: at("25T00:01:02"),
  job: "kaa-pbm-29400960",
  fileName: "25-11-2026-00-00-02.tar.gz",
  complete: true,
  sizeBytes: 2426,
  message: "",
};
const broken: RunRecord = {
  outcome: "forbidden",
  startedAt: at("26T00:00:02"),
  endedAt: at("26T00:00:03"),
  job: "kaa-pbm-29402400",
  fileName: "",
  complete: false,
  sizeBytes: 0,
  message: "cannot list pods",
};
const job: JobState = {
  name: "kaa-pbm-29402400",
  createdAt: at("26T00:00:00"),
  phase: "failed",
  reason: "PodFailurePolicy",
  message: "Container pbm failed with exit code 7",
};
const state: ScheduleState = {
  schedule: nightly,
  lastJob: job,
  last: broken,
  lastComplete: good,
  next: [at("27T00:00:00")],
  missed: [],
};
const now = at("26T03:00:00");

test("the document is that of docs/output.md", () => {
  const page = readFileSync(new URL("../../docs/output.md", import.meta.url), "utf8");
  const documented = /^```json schedule\n(.*?)^```$/ms.exec(page)?.[1] ?? "";
  expect(`${JSON.stringify({ schema: 1, ...shownSchedule(state, undefined, now).document }, null, 2)}\n`).toBe(
    documented,
  );
});

test("people are told in a few lines", () => {
  expect(shownSchedule(state, "at 00:00", now).table()).toBe(
    `Schedule:    0 0 * * * (Etc/UTC): at 00:00
CronJob:     kaa-pbm
State:       active
Last run:    Failed (forbidden): cannot list pods, in 1 s, 2h ago, Job kaa-pbm-29402400
Last good:   25-11-2026-00-00-02.tar.gz (2.4 KiB), 26h ago
Next runs:   2026-11-27 00:00 UTC
Missed:      none
`,
  );
});

const lineOf = (changed: Partial<ScheduleState>, name: string) =>
  new RegExp(`^${name}: +(.*)$`, "m").exec(shownSchedule({ ...state, ...changed }, undefined, now).table())?.[1];

test.each<{ title: string; changed: Partial<ScheduleState>; says: string }>([
  { title: "none yet", changed: { lastJob: undefined, last: undefined }, says: "none yet" },
  {
    title: "one that runs",
    changed: { lastJob: { ...job, phase: "running" } },
    says: "running since 2026-11-26 00:00 UTC, Job kaa-pbm-29402400",
  },
  {
    title: "one that was killed and told nothing: Kubernetes' word counts, not the record of the run before",
    changed: { last: good },
    says: "Failed, Job kaa-pbm-29402400: PodFailurePolicy: Container pbm failed with exit code 7",
  },
  {
    title: "one that made a snapshot",
    changed: { lastJob: { ...job, phase: "succeeded" }, last: good },
    says: "Complete: 25-11-2026-00-00-02.tar.gz (2.4 KiB), in 1 min 0 s, 26h ago, Job kaa-pbm-29400960",
  },
  {
    title: "one that made a partial snapshot",
    changed: {
      lastJob: undefined,
      last: { ...good, outcome: "attention", complete: false, message: "vault: no token" },
    },
    says: "Partial (attention): 25-11-2026-00-00-02.tar.gz (2.4 KiB), in 1 min 0 s, 26h ago, Job kaa-pbm-29400960; vault: no token",
  },
  {
    title: "one that made a whole snapshot, and could not prune",
    changed: { lastJob: job, last: { ...good, job: job.name, outcome: "attention", message: "nothing was pruned" } },
    says: "Complete (attention): 25-11-2026-00-00-02.tar.gz (2.4 KiB), in 1 min 0 s, 26h ago, Job kaa-pbm-29402400; nothing was pruned",
  },
])("the last run: $title", ({ changed, says }) => {
  expect(lineOf(changed, "Last run")).toBe(says);
});

test("runs that were missed are counted since the first", () => {
  const missed = [at("24T00:00:00"), at("25T00:00:00")];
  expect(lineOf({ missed }, "Missed")).toBe("2 since 2026-11-24 00:00 UTC");
});
