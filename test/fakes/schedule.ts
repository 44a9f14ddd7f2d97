import type { Schedule } from "../../src/schedule.ts";

/** A schedule at midnight, which last came due on 26 November 2026. */
export const nightly: Schedule = {
  name: "kaa-pbm",
  namespace: "kaa",
  cron: "0 0 * * *",
  timeZone: "Etc/UTC",
  isPaused: false,
  createdAt: new Date("2026-11-20T00:00:00Z"),
  lastScheduledAt: new Date("2026-11-26T00:00:00Z"),
  startingDeadlineMs: 0,
  uid: "1",
  jobTemplate: {},
};
