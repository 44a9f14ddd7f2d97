/** The schedule as `doctor` tells of it. It may be paused, absent or hidden from this account: a backup by hand works all the
 *  same, so none of it is a failure. */
import { isOutcome } from "./base/errors.ts";
import type { Attempt, Check, Finding } from "./doctor.ts";
import type { JobState, Schedule, ScheduleState } from "./schedule.ts";
import type { Scope } from "./storages.ts";

type Place = Pick<Scope, "cluster" | "namespace" | "signal">;

export async function checkSchedules(place: Place, attempt: Attempt): Promise<readonly Check[]> {
  let found: readonly Schedule[] = [];
  const listing = await attempt("schedule", () =>
    unlessHidden(async () => {
      const { findSchedules } = await import("./schedule.ts");
      found = await findSchedules(place.cluster, place.namespace, place.signal);
      return { status: "skipped", detail: "none: the Helm chart pbm makes one" };
    }),
  );
  if (found.length === 0) return [listing];
  return await Promise.all(
    found.map((schedule) =>
      attempt(found.length === 1 ? "schedule" : `schedule ${schedule.name}`, () =>
        unlessHidden(async () => {
          const { cronInWords, scheduleState } = await import("./schedule.ts");
          const state = await scheduleState(place.cluster, schedule, place.signal);
          return findingOf(state, (await cronInWords(schedule.cron)) ?? schedule.cron, new Date());
        }),
      ),
    ),
  );
}

/** Who backs up by hand needs no right to see CronJobs. */
async function unlessHidden(work: () => Promise<Finding>): Promise<Finding> {
  try {
    return await work();
  } catch (error) {
    if (!isOutcome(error, "forbidden")) throw error;
    return { status: "skipped", detail: `hidden from this account: ${error.message}`, remedies: error.hints };
  }
}

/** @param words the schedule in words. */
export function findingOf(state: ScheduleState, words: string, now: Date): Finding {
  const { schedule, lastComplete, missed, next } = state;
  const { name, namespace, isPaused, timeZone } = schedule;
  const [since] = missed;
  const problem = problemOf(state);
  const facts = [
    isPaused ? "PAUSED" : undefined,
    `${words} (${timeZone})`,
    lastComplete === undefined ? "no good run yet" : `last good run ${timeText(lastComplete.endedAt)}`,
    problem?.detail,
    since === undefined ? undefined : `${missed.length} MISSED since ${timeText(since)}`,
    next[0] && `next run ${timeText(next[0])}, in ${waitText(next[0], now)}`,
  ];
  const which = `-n ${namespace} --cronjob ${name}`;
  const remedies = [
    ...(isPaused ? [`kubectl kaa-backup schedule resume ${which}`] : []),
    ...(problem === undefined ? [] : [problem.remedy]),
    ...(since === undefined
      ? []
      : [`kubectl describe cronjob -n ${namespace} ${name}; a run now: kubectl kaa-backup schedule run ${which}`]),
  ];
  return {
    status: remedies.length > 0 ? "warning" : "ok",
    detail: facts.filter((fact) => fact !== undefined).join("; "),
    remedies,
  };
}

/** What was wrong with the last run that has ended. */
function problemOf({ schedule, last, lastJob }: ScheduleState) {
  const logs = (job: string) => `kubectl logs -n ${schedule.namespace} job/${job}`;
  // A pod that was killed could not record its end: then Kubernetes' word counts.
  if (lastJob?.phase === "failed" && last?.job !== lastJob.name)
    return { detail: `the last run FAILED: ${reasonOf(lastJob)}`, remedy: logs(lastJob.name) };
  if (last === undefined || last.outcome === "ok") return undefined;
  const state = last.fileName === "" ? "FAILED" : last.complete ? "needs a look" : "is PARTIAL";
  const why = last.message === "" ? "" : `: ${last.message}`;
  return { detail: `the last run ${state} (${last.outcome})${why}`, remedy: logs(last.job) };
}

function reasonOf({ reason, message }: JobState): string {
  return message === "" ? reason : `${reason}: ${message}`;
}

/** "2026-11-26 00:00 UTC" */
export function timeText(time: Date): string {
  return `${time.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** "9 h", "25 min" */
function waitText(time: Date, now: Date): string {
  const minutes = Math.max(0, Math.round((time.getTime() - now.getTime()) / 60_000));
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}
