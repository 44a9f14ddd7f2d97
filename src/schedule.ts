/** The schedule that the chart has made in a namespace: a CronJob, found by its labels. What it did, what it missed, what
 *  comes next; and its being run, paused and resumed. */
import { randomBytes } from "node:crypto";
import { Cron } from "croner";
import { UserError } from "./base/errors.ts";
import { type Fields, list, record, text } from "./base/json.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { type RunRecord, readRuns } from "./record.ts";

/** As the chart sets them on the CronJob and its Jobs. */
const scheduleLabels = "app.kubernetes.io/name=pbm,app.kubernetes.io/component=backup";
/** Kubernetes starts a run a little late. */
const usualLatenessMs = 120_000;
const mostMissed = 100;

export interface Schedule {
  readonly name: string;
  readonly namespace: string;
  /** "0 0 * * *" */
  readonly cron: string;
  readonly timeZone: string;
  readonly isPaused: boolean;
  readonly createdAt: Date;
  readonly lastScheduledAt: Date | undefined;
  readonly startingDeadlineMs: number;
  readonly uid: string;
  readonly jobTemplate: Fields;
}

export interface JobState {
  readonly name: string;
  readonly createdAt: Date;
  readonly phase: "running" | "succeeded" | "failed";
  /** Kubernetes' reason for a failure, and its words. */
  readonly reason: string;
  readonly message: string;
}

export interface ScheduleState {
  readonly schedule: Schedule;
  /** The newest Job that is still known; the record of what it did may be older or newer. */
  readonly lastJob: JobState | undefined;
  readonly last: RunRecord | undefined;
  readonly lastComplete: RunRecord | undefined;
  readonly next: readonly Date[];
  /** Times since the last start at which nothing started, oldest first; at most 100. Empty when paused. */
  readonly missed: readonly Date[];
}

/** All schedules of a namespace: mostly one, or none. */
export async function findSchedules(
  cluster: Cluster,
  namespace: string,
  signal: AbortSignal,
): Promise<readonly Schedule[]> {
  return (await cluster.objects.list("cronjobs", namespace, scheduleLabels, signal)).map(parseSchedule);
}

/** @param name which one, when a namespace has several.
 *  @throws UserError `not-found` when there is none, `usage` when there are several. */
export async function findSchedule(
  cluster: Cluster,
  namespace: string,
  signal: AbortSignal,
  name?: string,
): Promise<Schedule> {
  const found = await findSchedules(cluster, namespace, signal);
  const wanted = name === undefined ? found : found.filter((each) => each.name === name);
  const names = found.map((each) => each.name).join(", ");
  const [first, second] = wanted;
  if (first === undefined) {
    throw new UserError(
      "not-found",
      `namespace "${namespace}" has no schedule${name === undefined ? "" : ` "${name}"`}`,
      {
        hints: [names === "" ? "the Helm chart pbm makes one" : `schedules: ${names}`],
      },
    );
  }
  if (second !== undefined)
    throw new UserError("usage", `namespace "${namespace}" has several schedules`, { hints: [`schedules: ${names}`] });
  return first;
}

/** All that can be told about a schedule. For `schedule` and `doctor`. */
export async function scheduleState(cluster: Cluster, schedule: Schedule, signal: AbortSignal): Promise<ScheduleState> {
  const { namespace } = schedule;
  const jobs = await cluster.objects.list("jobs", namespace, scheduleLabels, signal);
  const ours = jobs.filter((each) =>
    list(record(each["metadata"])["ownerReferences"]).some((owner) => owner["uid"] === schedule.uid),
  );
  const [lastJob] = ours.map(parseJob).sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime());
  const now = new Date();
  return {
    schedule,
    lastJob,
    ...(await readRuns({ cluster, namespace }, signal)),
    next: schedule.isPaused ? [] : timesAfter(schedule, now, 3),
    missed: missedRuns(schedule, now),
  };
}

/** Times at which a run should have started, and none did. */
export function missedRuns(schedule: Schedule, now: Date): readonly Date[] {
  if (schedule.isPaused) return [];
  const latenessMs = Math.max(schedule.startingDeadlineMs, usualLatenessMs);
  const since = schedule.lastScheduledAt ?? schedule.createdAt;
  return timesAfter(schedule, since, mostMissed).filter((time) => time.getTime() + latenessMs < now.getTime());
}

/** Empty when the text is none that we understand: Kubernetes also knows "@every 1h". */
function timesAfter({ cron, timeZone }: Schedule, from: Date, count: number): readonly Date[] {
  try {
    return new Cron(cron, { timezone: timeZone }).nextRuns(count, from);
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) return [];
    throw error;
  }
}

/** "at 00:00", or nothing for what cannot be put into words. */
export async function cronInWords(cron: string): Promise<string | undefined> {
  const { default: cronstrue } = await import("cronstrue");
  const words = cronstrue.toString(cron, { throwExceptionOnParseError: false, use24HourTimeFormat: true });
  return words.startsWith("An error occurred") ? undefined : `${words.charAt(0).toLowerCase()}${words.slice(1)}`;
}

export async function setPaused(cluster: Cluster, schedule: Schedule, isPaused: boolean, signal: AbortSignal) {
  await cluster.objects.patch("cronjobs", schedule, { spec: { suspend: isPaused } }, signal);
}

/** Starts a run now, whatever the clock says, also when paused.
 *  @returns the name of its Job. */
export async function startRun(cluster: Cluster, schedule: Schedule, signal: AbortSignal): Promise<string> {
  const { namespace, jobTemplate } = schedule;
  const name = `${schedule.name.slice(0, 45)}-manual-${randomBytes(4).toString("hex")}`;
  const metadata = record(jobTemplate["metadata"]);
  const body = {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name,
      namespace,
      labels: record(metadata["labels"]),
      annotations: { ...record(metadata["annotations"]), "cronjob.kubernetes.io/instantiate": "manual" },
      // As kubectl create job --from=cronjob/… does: the history limits count it, and it goes with its CronJob.
      ownerReferences: [
        { apiVersion: "batch/v1", kind: "CronJob", name: schedule.name, uid: schedule.uid, controller: true },
      ],
    },
    spec: record(jobTemplate["spec"]),
  };
  await cluster.objects.create("jobs", namespace, body, signal);
  return name;
}

export async function readJob(
  cluster: Cluster,
  place: { readonly namespace: string; readonly name: string },
  signal: AbortSignal,
): Promise<JobState> {
  const job = await cluster.objects.get("jobs", place, signal);
  if (job === undefined) throw new UserError("not-found", `Job "${place.name}" is gone`);
  return parseJob(job);
}

/** How the last container of a Job's pods ended; undefined when no pod is left that tells. */
export async function exitOf(
  cluster: Cluster,
  place: { readonly namespace: string; readonly name: string },
  signal: AbortSignal,
): Promise<{ readonly exitCode: number; readonly reason: string } | undefined> {
  const pods = await cluster.objects.list(
    "pods",
    place.namespace,
    `batch.kubernetes.io/job-name=${place.name}`,
    signal,
  );
  const ends = pods
    .flatMap((pod) => list(record(pod["status"])["containerStatuses"]))
    .map((status) => record(record(status["state"])["terminated"]))
    .filter((end) => typeof end["exitCode"] === "number")
    .sort((a, b) => (text(a["finishedAt"]) < text(b["finishedAt"]) ? 1 : -1));
  const [last] = ends;
  return last === undefined ? undefined : { exitCode: Number(last["exitCode"]), reason: text(last["reason"]) };
}

function parseSchedule(object: Fields): Schedule {
  const metadata = record(object["metadata"]);
  const spec = record(object["spec"]);
  const lastScheduled = text(record(object["status"])["lastScheduleTime"]);
  return {
    name: text(metadata["name"]),
    namespace: text(metadata["namespace"]),
    uid: text(metadata["uid"]),
    cron: text(spec["schedule"]),
    timeZone: text(spec["timeZone"]) || "Etc/UTC",
    isPaused: spec["suspend"] === true,
    createdAt: new Date(text(metadata["creationTimestamp"])),
    lastScheduledAt: lastScheduled === "" ? undefined : new Date(lastScheduled),
    startingDeadlineMs: (Number(spec["startingDeadlineSeconds"]) || 0) * 1000,
    jobTemplate: record(spec["jobTemplate"]),
  };
}

function parseJob(object: Fields): JobState {
  const metadata = record(object["metadata"]);
  const conditions = list(record(object["status"])["conditions"]).filter((each) => each["status"] === "True");
  const failed = conditions.find((each) => each["type"] === "Failed");
  const isDone = conditions.some((each) => each["type"] === "Complete");
  return {
    name: text(metadata["name"]),
    createdAt: new Date(text(metadata["creationTimestamp"])),
    phase: failed !== undefined ? "failed" : isDone ? "succeeded" : "running",
    reason: text(failed?.["reason"]),
    message: text(failed?.["message"]),
  };
}
