/** `schedule`: what the chart's CronJob did and will do, and a hand on it. */
import { setTimeout as pause } from "node:timers/promises";
import { outcomes, UserError, withEffect } from "../base/errors.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { RunRecord } from "../record.ts";
import type { Schedule, ScheduleState } from "../schedule.ts";
import { timeText } from "../schedule-check.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { createCommand } from "./create.ts";
import { clusterFlags, outputFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import { clusterOf } from "./options.ts";
import { factsText, type Print, printerFor, type Shown } from "./output.ts";
import { ageText, durationText, sizeText } from "./text.ts";

const spec = {
  command: "schedule [action]",
  describe: "Show the schedule that the Helm chart made; run it now, pause or resume it",
  details: `Shows what the chart's CronJob did, missed and will do. pause lasts until resume, or until the next helm upgrade.`,
  positionals: {
    action: { choices: ["show", "run", "pause", "resume"] as const, default: "show" as const, describe: "What to do" },
  },
  groups: {
    Options: {
      wait: { type: "boolean", describe: "With run: wait for its end and give its exit code" },
      cronjob: { type: "string", describe: "Which CronJob, when the namespace has several of ours" },
    },
    Cluster: clusterFlags,
    Output: outputFlags,
  },
  examples: [
    ["schedule -n production-kaa", "last run, next runs, missed runs"],
    ["schedule run --wait -n production-kaa", "a backup now; ends with the exit code of that run"],
    ["schedule pause -n production-kaa", "no backups until schedule resume"],
  ],
  outcomes: createCommand.spec.outcomes, // with --wait any that the run in the cluster had
} as const satisfies CommandSpec;

type ScheduleFlags = ParsedOf<typeof spec>;

export const scheduleCommand = defineCommand(spec, schedule);

async function schedule(session: Session, parsed: ScheduleFlags): Promise<number> {
  if (parsed.wait === true && parsed.action !== "run") throw new UserError("usage", "--wait goes with schedule run");
  const print = await printerFor(session.io, parsed.output);
  const { cronInWords, findSchedule, scheduleState, setPaused } = await import("../schedule.ts");
  const { signal } = session.io;
  const cluster = await clusterOf(parsed, session.io, session.reporter);
  const found = await findSchedule(cluster, cluster.defaultNamespace, signal, parsed.cronjob);
  switch (parsed.action) {
    case "show": {
      const words = await cronInWords(found.cron);
      print(shownSchedule(await scheduleState(cluster, found, signal), words, new Date()));
      return outcomes.ok.code;
    }
    case "run":
      return await runNow({ session, print, wait: parsed.wait === true }, cluster, found);
    case "pause":
    case "resume": {
      const isPaused = parsed.action === "pause";
      await setPaused(cluster, found, isPaused, signal);
      session.reporter.note(`schedule "${found.name}" is ${isPaused ? "paused" : "active"}`);
      return outcomes.ok.code;
    }
  }
}

/** @param words the schedule in words, if it can be put so. */
export function shownSchedule(state: ScheduleState, words: string | undefined, now: Date): Shown {
  const { schedule, lastJob, last, lastComplete, next, missed } = state;
  const { name, cron, timeZone, isPaused } = schedule;
  const good =
    lastComplete && `${lastComplete.fileName} (${sizeText(lastComplete.sizeBytes)}), ${ago(lastComplete, now)}`;
  const since = missed[0] === undefined ? "" : ` since ${timeText(missed[0])}`;
  return {
    document: { cronJob: name, schedule: cron, timeZone, paused: isPaused, lastJob, last, lastComplete, next, missed },
    names: [name],
    table: () =>
      factsText([
        ["Schedule", `${cron} (${timeZone})${words === undefined ? "" : `: ${words}`}`],
        ["CronJob", name],
        ["State", isPaused ? "paused" : "active"],
        ["Last run", lastRunText(lastJob, last, now)],
        ["Last good", good ?? "none"],
        ["Next runs", next.map(timeText).join(", ")],
        ["Missed", missed.length === 0 ? "none" : `${missed.length}${since}`],
      ]),
  };
}

function lastRunText(job: ScheduleState["lastJob"], last: RunRecord | undefined, now: Date): string {
  if (job?.phase === "running") return `running since ${timeText(job.createdAt)}, Job ${job.name}`;
  // A pod that was killed could not record its end: then Kubernetes' word counts.
  if (job?.phase === "failed" && last?.job !== job.name)
    return `Failed, Job ${job.name}: ${job.reason}: ${job.message}`;
  if (last === undefined) return job === undefined ? "none yet" : `${job.phase}, Job ${job.name}`;
  const took = durationText(last.endedAt.getTime() - last.startedAt.getTime());
  const what = last.fileName === "" ? last.message : `${last.fileName} (${sizeText(last.sizeBytes)})`;
  const state = last.fileName === "" ? "Failed" : last.complete ? "Complete" : "Partial";
  const why = last.outcome === "ok" ? "" : ` (${last.outcome})`;
  const more = last.fileName === "" || last.message === "" ? "" : `; ${last.message}`;
  return `${state}${why}: ${what}, in ${took}, ${ago(last, now)}${last.job === "" ? "" : `, Job ${last.job}`}${more}`;
}

function ago({ endedAt }: RunRecord, now: Date): string {
  return `${ageText(endedAt, now)} ago`;
}

const pollMs = 2000;

interface RunNow {
  readonly session: Session;
  readonly print: Print;
  readonly wait: boolean;
}

async function runNow({ session, print, wait }: RunNow, cluster: Cluster, found: Schedule): Promise<number> {
  const { reporter } = session;
  const { signal } = session.io;
  const { exitOf, readJob, startRun } = await import("../schedule.ts");
  const name = await startRun(cluster, found, signal);
  const place = { namespace: found.namespace, name };
  print({ document: { job: name }, names: [name], table: () => `started Job ${name}\n` });
  if (!wait) return outcomes.ok.code;
  reporter.started(name, { doing: "running" });
  for (;;) {
    const job = await readJob(cluster, place, signal);
    if (job.phase === "succeeded") {
      reporter.finished(name, "complete");
      return outcomes.ok.code;
    }
    if (job.phase === "failed") throw failureOf(job, await exitOf(cluster, place, signal), found.namespace);
    await pause(pollMs, undefined, { signal }).catch(() => {
      throw withEffect(signal.reason, `Job "${name}" goes on in the cluster`);
    });
  }
}

type JobEnd = { readonly exitCode: number; readonly reason: string } | undefined;

/** The error of the run in the pod, by its exit code; Kubernetes' reason when it had none of ours. */
function failureOf(job: { name: string; reason: string; message: string }, end: JobEnd, namespace: string): UserError {
  const known = Object.entries(outcomes).find(([name, { code }]) => name !== "ok" && code === end?.exitCode);
  const byReason =
    job.reason === "DeadlineExceeded" ? "deadline" : end?.reason === "OOMKilled" ? "resources" : undefined;
  // An entry's key is one of the table.
  const outcome = (known?.[0] as keyof typeof outcomes | undefined) ?? byReason ?? "internal";
  const how = end === undefined ? `${job.reason}: ${job.message}` : `exit code ${end.exitCode} (${end.reason})`;
  return new UserError(outcome, `Job "${job.name}" failed: ${known?.[1].meaning ?? how}`, {
    hints: [`kubectl logs -n ${namespace} job/${job.name}`],
    cause: how,
  });
}
