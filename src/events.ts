/** Kubernetes Events about the Job that this program runs in: what `kubectl describe job` and `kubectl get events` show. */
import { messageOf } from "./base/errors.ts";
import type { Cluster } from "./cluster/cluster.ts";

/** The Job, and its pod, that Events are about. */
export interface Subject {
  readonly namespace: string;
  readonly job: { readonly name: string; readonly uid: string };
  readonly pod: { readonly name: string; readonly uid: string };
}

export interface TellEvent {
  readonly type: "Normal" | "Warning";
  /** Read by programs: "BackupSucceeded". */
  readonly reason: string;
  readonly note: string;
}

/** Tells Events one after the other, without making its caller wait. */
export interface EventTeller {
  tell(event: TellEvent): void;
  /** Waits until all are told. @returns what went wrong, once for each reason. */
  settled(): Promise<readonly string[]>;
}

/** Limit of Kubernetes for `note`. Source: k8s.io/kubernetes pkg/apis/core/validation/events.go. */
const longestNote = 1024;
/** Events are told while a run ends, also after SIGTERM: they must not use up its time. */
const tellMs = 10_000;

export function eventTeller(cluster: Pick<Cluster, "objects">, subject: Subject): EventTeller {
  const problems = new Set<string>();
  let last: Promise<unknown> = Promise.resolve();
  return {
    tell(event) {
      last = last
        .then(() =>
          cluster.objects.create("events", subject.namespace, body(subject, event), AbortSignal.timeout(tellMs)),
        )
        .catch((error: unknown) => problems.add(messageOf(error)));
    },
    async settled() {
      await last;
      return [...problems];
    },
  };
}

function body({ namespace, job, pod }: Subject, { type, reason, note }: TellEvent) {
  return {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { generateName: `${job.name}-`, namespace },
    eventTime: new Date().toISOString().replace("Z", "000Z"), // Kubernetes' MicroTime
    reportingController: "kaa-backup",
    reportingInstance: pod.name.slice(0, 128),
    action: "Run",
    type,
    reason,
    note: note.length > longestNote ? `${note.slice(0, longestNote - 1)}…` : note,
    regarding: { apiVersion: "batch/v1", kind: "Job", namespace, ...job },
    related: { apiVersion: "v1", kind: "Pod", namespace, ...pod },
  };
}
