/** What became of runs, kept in ConfigMaps of the namespace: it outlives pods, Jobs and upgrades of the chart. `schedule`
 *  and `doctor` read it back. Only runs in the cluster write it (`--report`, `restore --once`). */
import { isOutcome, type Outcome, outcomes } from "./base/errors.ts";
import { record, text } from "./base/json.ts";
import type { Cluster, Objects } from "./cluster/cluster.ts";

const statusName = "kaa-backup-status";
export const restoresName = "kaa-backup-restores";
/** So that nobody takes it for leftovers. */
const labels = { "app.kubernetes.io/managed-by": "kaa-backup" };

/** How one run of `create` ended. */
export interface RunRecord {
  readonly outcome: Outcome;
  readonly startedAt: Date;
  readonly endedAt: Date;
  /** The Job whose pod it was. */
  readonly job: string;
  /** "" when nothing was published. */
  readonly fileName: string;
  /** Whether every storage is in the snapshot. */
  readonly complete: boolean;
  readonly sizeBytes: number;
  /** What went wrong, "" when nothing did. */
  readonly message: string;
}

/** Whose records are meant. */
export interface RecordPlace {
  readonly cluster: Pick<Cluster, "objects">;
  readonly namespace: string;
}

/** Records how a run ended; a run that published a complete snapshot also as the last good one. */
export async function recordRun({ cluster, namespace }: RecordPlace, run: RunRecord, signal: AbortSignal) {
  const value = JSON.stringify({ ...run, exitCode: outcomes[run.outcome].code });
  const values = { last: value, ...(run.complete && { lastComplete: value }) };
  await keep(cluster.objects, { namespace, name: statusName }, values, signal);
}

/** The last run, and the last that published a complete snapshot. */
export async function readRuns(
  { cluster, namespace }: RecordPlace,
  signal: AbortSignal,
): Promise<{ readonly last: RunRecord | undefined; readonly lastComplete: RunRecord | undefined }> {
  const values = await read(cluster.objects, { namespace, name: statusName }, signal);
  return { last: parseRun(values["last"]), lastComplete: parseRun(values["lastComplete"]) };
}

/** What is known of restoring one snapshot into this namespace: how the last try ended, and what has come of all. `started`: it
 *  runs, or died without a word. */
export interface RestoreRecord {
  readonly state: "started" | "failed" | "restored";
  readonly at: Date;
  /** Who did it: the name of a pod, mostly. */
  readonly by: string;
  readonly outcome: Outcome;
  /** Storages that hold what the snapshot holds, or have since been used. "all": none of the snapshot's is missing. */
  readonly storages: RestoredStorages;
  /** Those that the last try was of; undefined in records of versions that did not tell. */
  readonly tried?: readonly string[];
}

export type RestoredStorages = "all" | readonly string[];

/** @param key by `restoreKey`. */
export async function recordRestore(
  { cluster, namespace }: RecordPlace,
  key: string,
  restored: RestoreRecord,
  signal: AbortSignal,
): Promise<void> {
  await keep(cluster.objects, { namespace, name: restoresName }, { [key]: JSON.stringify(restored) }, signal);
}

export async function readRestore(
  { cluster, namespace }: RecordPlace,
  key: string,
  signal: AbortSignal,
): Promise<RestoreRecord | undefined> {
  const values = await read(cluster.objects, { namespace, name: restoresName }, signal);
  const fields = parseFields(values[key]);
  const state = (["started", "failed", "restored"] as const).find((each) => each === fields["state"]);
  if (state === undefined) return undefined;
  const storages = storagesOf(fields["storages"], state);
  const tried = fields["tried"];
  return {
    ...{ state, at: dateOf(fields["at"]), by: text(fields["by"]), outcome: outcomeOf(fields["outcome"]), storages },
    ...(Array.isArray(tried) && { tried: tried.map(text) }),
  };
}

/** Before storages were recorded, "restored" was said of everything. */
function storagesOf(value: unknown, state: RestoreRecord["state"]): RestoredStorages {
  if (Array.isArray(value)) return value.map(text);
  return value === "all" || (value === undefined && state === "restored") ? "all" : [];
}

/** A ConfigMap's key: dates have no dot, so two snapshots never share one. */
export function restoreKey(date: string, sourceNamespace: string): string {
  return `${date}.${sourceNamespace}`;
}

async function read(
  objects: Objects,
  place: { readonly namespace: string; readonly name: string },
  signal: AbortSignal,
): Promise<Readonly<Record<string, unknown>>> {
  return record((await objects.get("configmaps", place, signal))?.["data"]);
}

/** Puts values into a ConfigMap beside those that it holds. A merge patch, so that writers of other keys do no harm. */
async function keep(
  objects: Objects,
  place: { readonly namespace: string; readonly name: string },
  data: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  const patch = () => objects.patch("configmaps", place, { data }, signal);
  try {
    await patch();
    return;
  } catch (error) {
    if (!isOutcome(error, "not-found")) throw error;
  }
  const { name, namespace } = place;
  const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace, labels }, data };
  try {
    await objects.create("configmaps", namespace, body, signal);
  } catch (error) {
    if (!isOutcome(error, "busy")) throw error;
    await patch(); // somebody has just made it
  }
}

function parseRun(value: unknown): RunRecord | undefined {
  const fields = parseFields(value);
  if (text(fields["endedAt"]) === "") return undefined;
  return {
    outcome: outcomeOf(fields["outcome"]),
    startedAt: dateOf(fields["startedAt"]),
    endedAt: dateOf(fields["endedAt"]),
    job: text(fields["job"]),
    fileName: text(fields["fileName"]),
    complete: fields["complete"] === true,
    sizeBytes: Number(fields["sizeBytes"]) || 0,
    message: text(fields["message"]),
  };
}

/** Somebody may have edited it: what is no JSON is no record. */
function parseFields(value: unknown) {
  try {
    return record(JSON.parse(text(value) || "null"));
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

function outcomeOf(value: unknown): Outcome {
  const name = text(value);
  return Object.hasOwn(outcomes, name) ? (name as Outcome) : "internal"; // a key of the table
}

function dateOf(value: unknown): Date {
  const date = new Date(text(value));
  return Number.isNaN(date.getTime()) ? new Date(0) : date;
}
