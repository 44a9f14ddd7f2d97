/** Tells those who do not read a run's log how it ended: Events and a record in the namespace (`--report`), metrics
 *  (`--metrics-url`). What cannot be told changes nothing about the snapshot, but it does need a look. */

import type { BackupResult } from "../backup.ts";
import { messageOf, type Outcome, outcomes, UserError } from "../base/errors.ts";
import type { Reporter } from "../base/reporter.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { EventTeller, Subject, TellEvent } from "../events.ts";
import type { ShrunkDump } from "../expectation.ts";
import type { RunRecord } from "../record.ts";
import type { InstanceEntry } from "../snapshot/toc.ts";
import { asUserError } from "../storages.ts";
import { endOf } from "./ending.ts";
import type { Io } from "./io.ts";
import { summaryOfPruned } from "./keep.ts";
import type { Session } from "./main.ts";
import { durationText, printable, sizeText } from "./text.ts";

export const reportFlags = {
  report: {
    type: "boolean",
    describe: "For Jobs: tell the end by Kubernetes Events and in ConfigMap kaa-backup-status",
  },
} as const;

export const metricsFlags = {
  "metrics-url": { type: "string", describe: "Push metrics to this Prometheus Pushgateway" },
} as const;

/** The Job and the pod that this program runs in; the chart sets these variables from the downward API.
 *  @throws UserError `usage`. */
export function subjectOf(env: Readonly<Record<string, string | undefined>>, namespace: string): Subject {
  const [job, jobUid, pod, podUid] = ["JOB_NAME", "JOB_UID", "POD_NAME", "POD_UID"].map(
    (name) => env[`KAA_BACKUP_${name}`],
  );
  if (!job || !jobUid || !pod || !podUid) {
    throw new UserError("usage", "--report is for Jobs: it needs the name and uid of the Job and of its pod", {
      hints: [
        "set KAA_BACKUP_JOB_NAME, _JOB_UID, _POD_NAME and _POD_UID from the downward API, as the Helm chart does",
      ],
    });
  }
  return { namespace, job: { name: job, uid: jobUid }, pod: { name: pod, uid: podUid } };
}

/** Events about this program's Job; without `--report` nothing is told. */
export async function eventsOf(
  session: Session,
  cluster: Cluster,
  flags: { readonly report: boolean | undefined },
): Promise<EventTeller> {
  if (flags.report !== true) return { tell: () => {}, settled: async () => [] };
  const { eventTeller } = await import("../events.ts");
  return eventTeller(cluster, subjectOf(session.io.env, cluster.defaultNamespace));
}

/** The session's reporter, which also tells an Event for each task that ends. */
export function reporterWithEvents(reporter: Reporter, events: EventTeller, prefix: string): Reporter {
  return {
    ...reporter,
    finished(task, summary) {
      reporter.finished(task, summary);
      events.tell({ type: "Normal", reason: `${prefix}Progress`, note: `${task}: ${summary}` });
    },
    failed(task, error) {
      reporter.failed(task, error);
      events.tell({ type: "Warning", reason: `${prefix}Progress`, note: `${task} failed: ${messageOf(error)}` });
    },
  };
}

const restoreEnds = {
  restored: { type: "Normal", reason: "RestoreSucceeded" },
  "restored, but something needs a look": { type: "Warning", reason: "RestoreSucceeded" },
  "was restored before": { type: "Normal", reason: "RestoreSkipped" },
} as const;
export type RestoreEnd = keyof typeof restoreEnds;

/** Runs a restore, telling Events of its beginning and its end.
 *  @param what "12-02-2021-15-28-37 of namespace production-kaa" */
export async function withRestoreEvents(
  { io, reporter }: Session,
  events: EventTeller,
  what: string,
  work: () => Promise<{ readonly code: number; readonly end: RestoreEnd }>,
): Promise<number> {
  events.tell({ type: "Normal", reason: "RestoreStarted", note: printable(what) });
  const settle = async () => {
    const problems = await events.settled();
    for (const problem of problems) reporter.warning(untold(problem));
    return problems.length === 0;
  };
  try {
    const { code, end } = await work();
    events.tell({ ...restoreEnds[end], note: printable(`${what}: ${end}`) });
    return (await settle()) ? code : outcomes.attention.code;
  } catch (thrown) {
    events.tell({ type: "Warning", reason: "RestoreFailed", note: printable(`${what}: ${failureText(io, thrown)}`) });
    await settle();
    throw thrown;
  }
}

/** "forbidden (exit code 7): cannot list pods …; nothing was changed" */
function failureText(io: Io, thrown: unknown): string {
  const error = asUserError(endOf(thrown, io.signal));
  const effect = error.effect === undefined ? "" : `; ${error.effect}`;
  return `${error.outcome} (exit code ${error.exitCode}): ${error.message}${effect}`;
}

function untold(problem: string): string {
  return `the run's end was not told everywhere: ${problem}`;
}

/** What `create` tells of its end. */
export interface RunReport {
  /** @returns false, after warnings, when something could not be told. */
  published(result: BackupResult, outcome: Outcome): Promise<boolean>;
  failed(error: unknown): Promise<void>;
}

const recordMs = 10_000;

/** @throws UserError `usage` when `--report` or `--metrics-url` cannot work. */
export async function runReportOf(
  session: Session,
  cluster: Cluster,
  flags: { readonly report: boolean | undefined; readonly "metrics-url": string | undefined },
): Promise<RunReport> {
  const startedAt = new Date();
  const { io, reporter } = session;
  const namespace = cluster.defaultNamespace;
  const gatewayUrl = gatewayOf(flags["metrics-url"]);
  const events = await eventsOf(session, cluster, flags);
  const job = flags.report === true ? subjectOf(io.env, namespace).job.name : "";

  /** @returns whether all of it was told. */
  const tell = async (run: RunRecord, told: readonly TellEvent[], storages: readonly InstanceEntry[]) => {
    for (const event of told) events.tell({ ...event, note: printable(event.note) });
    const problems: string[] = [];
    const attempt = async (work: () => Promise<void>) => {
      await work().catch((error: unknown) => problems.push(messageOf(error)));
    };
    if (flags.report === true)
      await attempt(async () => {
        const { recordRun } = await import("../record.ts");
        await recordRun({ cluster, namespace }, run, AbortSignal.timeout(recordMs));
      });
    if (gatewayUrl !== undefined)
      await attempt(async () => {
        const { pushMetrics } = await import("./metrics.ts");
        await pushMetrics(gatewayUrl, namespace, run, storages);
      });
    problems.push(...(await events.settled()));
    for (const problem of problems) reporter.warning(untold(problem));
    return problems.length === 0;
  };

  return {
    async published({ fileName, location, sizeBytes, manifest, failures, shrunk, pruned }, outcome) {
      const isComplete = failures.length === 0;
      const endedAt = new Date();
      const took = durationText(endedAt.getTime() - startedAt.getTime());
      const where = `${location}/${fileName} (${sizeText(sizeBytes)}, ${manifest.instances.length} storages, ${took})`;
      const missing = failures
        .map(({ storage, instance, error }) => `${storage}/${instance}: ${error.message}`)
        .join("; ");
      const smaller = shrunk.map(shrunkText).join("; ");
      const pruning = pruned && summaryOfPruned(pruned);
      const isPruned = pruning === undefined || pruning.problems.length === 0;
      const run: RunRecord = {
        outcome,
        complete: isComplete,
        startedAt,
        endedAt,
        job,
        fileName,
        sizeBytes,
        message: isPruned ? [missing, smaller].filter((each) => each !== "").join("; ") : pruning.text,
      };
      const event: TellEvent = isComplete
        ? { type: "Normal", reason: "BackupSucceeded", note: where }
        : { type: "Warning", reason: "BackupPartial", note: `${where} without ${missing}` };
      const events: TellEvent[] = [event];
      if (smaller !== "") events.push({ type: "Warning", reason: "BackupShrunk", note: smaller });
      if (pruning !== undefined)
        events.push({
          type: isPruned ? "Normal" : "Warning",
          reason: isPruned ? "Pruned" : "PruneFailed",
          note: pruning.text,
        });
      return await tell(run, events, manifest.instances);
    },
    async failed(thrown) {
      const { outcome, message } = asUserError(endOf(thrown, io.signal));
      const run: RunRecord = {
        outcome,
        complete: false,
        startedAt,
        endedAt: new Date(),
        job,
        fileName: "",
        sizeBytes: 0,
        message,
      };
      await tell(run, [{ type: "Warning", reason: "BackupFailed", note: failureText(io, thrown) }], []);
    },
  };
}

/** "postgresql/kaa-postgresql has only 1.2 MB, after 3.4 GB in 12-02-2021-15-28-37: …" */
export function shrunkText({ storage, instance, bytes, last }: ShrunkDump): string {
  const task = `${storage}/${instance}`;
  if (bytes === 0) return `${task} is in ${last.snapshotName} and runs here no more: was that meant?`;
  return `${task} has only ${sizeText(bytes)}, after ${sizeText(last.bytes)} in ${last.snapshotName}: is everything still there?`;
}

/** @throws UserError `usage` for what is no URL, or holds a password, which everybody would see in the process list. */
function gatewayOf(text: string | undefined): string | undefined {
  if (text === undefined || text === "") return undefined;
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new UserError("usage", "--metrics-url is the URL of a Pushgateway: http://pushgateway:9091");
  if (url.username !== "" || url.password !== "")
    throw new UserError("usage", "--metrics-url must not hold a password: everybody sees it in the process list");
  return text;
}
