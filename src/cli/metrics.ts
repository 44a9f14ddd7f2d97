/** Metrics for Prometheus, pushed: the pod of a Job is gone before anybody scrapes it (docs/decisions says more). A push
 *  adds to what the gateway holds, so the figures of the last success stay when a run fails. */
import { Gauge, Pushgateway, Registry } from "prom-client";
import { messageOf, outcomes, UserError } from "../base/errors.ts";
import type { RunRecord } from "../record.ts";
import type { InstanceEntry } from "../snapshot/toc.ts";

const pushMs = 10_000;

/** @param storages what the snapshot holds, when one was published.
 *  @throws UserError `attention` when the gateway does not take them. */
export async function pushMetrics(
  gatewayUrl: string,
  namespace: string,
  run: RunRecord,
  storages: readonly InstanceEntry[],
): Promise<void> {
  const registry = metricsOf(run, storages);
  const gateway = new Pushgateway(gatewayUrl, { timeout: pushMs }, registry);
  try {
    await gateway.pushAdd({ jobName: "kaa-backup", groupings: { namespace } });
  } catch (error) {
    throw new UserError("attention", `the metrics were not taken by ${gatewayUrl}: ${messageOf(error)}`);
  }
}

function metricsOf(run: RunRecord, storages: readonly InstanceEntry[]): Registry {
  const registry = new Registry();
  const set = (name: string, help: string, value: number) =>
    new Gauge({ name: `kaa_backup_${name}`, help, registers: [registry] }).set(value);
  const endedAt = run.endedAt.getTime() / 1000;
  const tookSeconds = (run.endedAt.getTime() - run.startedAt.getTime()) / 1000;
  set("last_run_timestamp_seconds", "When the last run ended", endedAt);
  set("last_run_duration_seconds", "How long the last run took", tookSeconds);
  set(
    "last_run_exit_code",
    "How the last run ended: 0 is complete, see docs/exit-codes.md",
    outcomes[run.outcome].code,
  );
  if (run.fileName !== "") {
    const labelNames = ["storage", "instance"];
    const each = (name: string, help: string, figureOf: (entry: InstanceEntry) => number) => {
      const gauge = new Gauge({ name: `kaa_backup_storage_${name}`, help, labelNames, registers: [registry] });
      for (const entry of storages) gauge.set({ storage: entry.storage, instance: entry.instance }, figureOf(entry));
    };
    each("duration_seconds", "How long the storage's dump took, in the last snapshot", durationSeconds);
    each("size_bytes", "Bytes of the storage's dump before compression, in the last snapshot", plainBytes);
  }
  if (run.complete) {
    set("last_success_timestamp_seconds", "When the last complete snapshot was published", endedAt);
    set("last_success_size_bytes", "Size of the last complete snapshot", run.sizeBytes);
    set("last_success_duration_seconds", "How long the last complete snapshot took", tookSeconds);
  }
  return registry;
}

function durationSeconds({ startedAt, finishedAt }: InstanceEntry): number {
  return Math.max(0, Date.parse(finishedAt) - Date.parse(startedAt)) / 1000;
}

function plainBytes({ streams }: InstanceEntry): number {
  return streams.reduce((sum, stream) => sum + stream.plain.bytes, 0);
}
