/** The indices of a cluster: named, counted, deleted, restored. */
import { setTimeout as pause } from "node:timers/promises";
import { UserError } from "../../base/errors.ts";
import { field } from "../commands.ts";
import type { Context } from "../driver.ts";
import { ApiError, askPatiently, type SearchApi } from "./api.ts";
import { allButSecurity, isSecurity } from "./snapshots.ts";

const pollMs = 1000;
/** A restore that has not moved for so long has failed: a shard that nobody can hold waits for ever. */
const stuckMs = 600_000;
const namesAtOnce = 20;

export interface Index {
  readonly name: string;
  readonly health: string;
  readonly isClosed: boolean;
  readonly documents: number;
  readonly bytes: number;
}

/** All indices but those of the security plugin, closed and hidden ones too. */
export async function indicesOf(api: SearchApi): Promise<readonly Index[]> {
  const path = "/_cat/indices?format=json&bytes=b&expand_wildcards=all&h=index,health,status,docs.count,pri.store.size";
  const rows = (await api.call("GET", path)) as readonly unknown[];
  return rows
    .map((row) => ({
      name: String(field(row, "index")),
      health: String(field(row, "health")),
      isClosed: field(row, "status") === "close",
      documents: Number(field(row, "docs.count") ?? 0),
      bytes: Number(field(row, "pri.store.size") ?? 0),
    }))
    .filter(({ name }) => !isSecurity(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What a cluster holds at one moment. */
export interface Survey {
  readonly indices: readonly Index[];
  /** Documents of closed indices are not counted: the engine does not tell them. */
  readonly counts: Readonly<Record<string, number>>;
}

export async function survey(api: SearchApi): Promise<Survey> {
  await api.call("POST", "/_refresh?expand_wildcards=open,hidden&ignore_unavailable=true").catch((error: unknown) => {
    if (!(error instanceof ApiError)) throw error; // one index that cannot be refreshed does not spoil the counting
  });
  const indices = await indicesOf(api);
  const aliases = (await api.call("GET", "/_cat/aliases?format=json&expand_wildcards=all&h=alias,index")) as unknown[];
  const counts = {
    indices: indices.length,
    documents: indices.reduce((sum, each) => sum + each.documents, 0),
    aliases: aliases.filter((each) => !isSecurity(String(field(each, "index")))).length,
  };
  return { indices, counts };
}

/** An index that was there all the time must be in the snapshot: a restore deletes what is not.
 *  @throws UserError `storage-failed`. */
export function requireAll(taken: readonly string[], before: Survey, after: Survey): void {
  const there = new Set(after.indices.map(({ name }) => name));
  const missing = before.indices.map(({ name }) => name).filter((name) => there.has(name) && !taken.includes(name));
  if (missing.length > 0)
    throw new UserError("storage-failed", `Open Distro's snapshot lacks these indices: ${missing.join(", ")}`);
}

const recoveryWait = "60s";

/** As `indicesOf`, after a while for shards that are being found again, as they are when a node has just started.
 *  Source: Elasticsearch 7.10 reference, cluster health API, which answers 408 when the time is over. */
export async function recoveredIndicesOf(api: SearchApi): Promise<readonly Index[]> {
  const indices = await indicesOf(api);
  if (!indices.some(({ health }) => health === "red")) return indices;
  const path = `/_cluster/health?wait_for_status=yellow&timeout=${recoveryWait}`;
  await api.call("GET", path).catch((error: unknown) => {
    if (!(error instanceof ApiError)) throw error; // whatever it says, the indices tell
  });
  return await indicesOf(api);
}

/** @throws UserError `storage-not-ready`: what has lost a shard cannot be dumped whole. */
export function requireHealthy(indices: readonly Index[]): void {
  const red = indices.filter(({ health }) => health === "red").map(({ name }) => name);
  if (red.length > 0) throw new UserError("storage-not-ready", `these indices have lost shards: ${red.join(", ")}`);
}

export async function deleteIndices(api: SearchApi, names: readonly string[]): Promise<void> {
  // The index that a data stream writes to cannot be deleted without the stream. Engines before 7.9 know none.
  const streams = field(await api.find("/_data_stream"), "data_streams");
  for (const stream of Array.isArray(streams) ? streams : [])
    await api.call("DELETE", `/_data_stream/${encodeURIComponent(String(field(stream, "name")))}`);
  for (let from = 0; from < names.length; from += namesAtOnce) {
    const some = names
      .slice(from, from + namesAtOnce)
      .map(encodeURIComponent)
      .join(",");
    await api.call("DELETE", `/${some}?expand_wildcards=all&ignore_unavailable=true`);
  }
}

/** Longest wait for the engine to take note that a restore has ended, which it does a moment after the last shard is there:
 *  until then it closes no index of it. Seen on OpenSearch 3.8. */
const restoredMs = 60_000;

/** Closes indices that were closed when they were dumped, for the engine restores every index open. Their shards are there
 *  when it returns, unless that takes too long.
 *  Source: RestoreService of Elasticsearch 7.10 and of OpenSearch, which set the state OPEN.
 *  @returns what the engine refuses, for people. */
export async function closeIndices(
  api: SearchApi,
  names: readonly string[],
  { signal }: Context,
): Promise<readonly string[]> {
  if (names.length === 0) return [];
  const giveUpAt = performance.now() + restoredMs;
  const refused: string[] = [];
  for (const name of names) {
    let refusal = await refusedClosing(api, name);
    while (refusal !== undefined && /being restored/.test(refusal) && performance.now() < giveUpAt) {
      await pause(pollMs, undefined, { signal });
      refusal = await refusedClosing(api, name);
    }
    if (refusal !== undefined) refused.push(`index "${name}" was closed and is open now: ${refusal}`);
  }
  await recoveredIndicesOf(api);
  return refused;
}

async function refusedClosing(api: SearchApi, name: string): Promise<string | undefined> {
  try {
    await api.call("POST", `/${encodeURIComponent(name)}/_close`);
    return undefined;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return error.message;
  }
}

/** Restores all indices of a snapshot and waits until every primary shard is there. */
export async function restoreIndices(
  api: SearchApi,
  from: { readonly repository: string; readonly snapshot: string; readonly indices: readonly string[] },
  context: Context,
): Promise<void> {
  const { repository, snapshot, indices } = from;
  if (indices.length === 0) return;
  await api.call("POST", `/_snapshot/${repository}/${snapshot}/_restore`, {
    indices: allButSecurity, // not the names: data streams would come back as plain indices
    include_global_state: false,
    include_aliases: true,
    partial: false,
  });
  const ask = (path: string) => askPatiently(context.signal, () => api.call("GET", path));
  let last = "";
  let movedAt = performance.now();
  while (true) {
    const health = field(await ask("/_cluster/health?level=indices&expand_wildcards=all"), "indices");
    const waiting = indices.filter((name) => {
      const status = field(field(health, name), "status");
      return status !== "green" && status !== "yellow";
    });
    if (waiting.length === 0) return;
    const recovery = "/_cat/recovery?format=json&active_only=true&h=index,shard,bytes_recovered&bytes=b";
    const rows = (await ask(recovery)) as unknown[];
    const bytes = rows.reduce<number>((sum, row) => sum + Number(field(row, "bytes_recovered") ?? 0), 0);
    const now = `${waiting.join(",")} ${bytes}`;
    if (now !== last) movedAt = performance.now();
    last = now;
    if (performance.now() - movedAt > stuckMs)
      throw new UserError("storage-failed", `Open Distro does not get on restoring ${waiting.join(", ")}`);
    await pause(pollMs, undefined, { signal: context.signal });
  }
}
