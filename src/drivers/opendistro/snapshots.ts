/** The engine's snapshots in a repository: looked at, taken, deleted. */
import { setTimeout as pause } from "node:timers/promises";
import { UserError } from "../../base/errors.ts";
import { field } from "../commands.ts";
import type { Context } from "../driver.ts";
import { askPatiently, type SearchApi } from "./api.ts";

/** Indices of the security plugin are bound to the cluster's certificates, and stay. "*" first: some versions take an
 *  exclusion at the beginning for a name (OpenSearch#6458). */
export const allButSecurity = "*,-.opendistro_security*,-.opendistro-security*,-.opensearch-security*";
export const isSecurity = (index: string) =>
  /^\.(opendistro_security|opendistro-security|opensearch-security)/.test(index);

/** What the names of our snapshots begin with; the snapshot's own follows. */
export const ownPrefix = "kaa-";

const pollMs = 1000;

export interface SnapshotState {
  readonly name: string;
  readonly state: string;
  readonly indices: readonly string[];
  /** Of the engine that took it; "" when it is not told. */
  readonly version: string;
  readonly reason: string;
}

/** The snapshots of a repository, only one of them, or those that are running ("_current"); none is an empty list. */
export async function snapshotsIn(
  api: SearchApi,
  repository: string,
  name = "_all",
): Promise<readonly SnapshotState[]> {
  const found = field(await api.find(`/_snapshot/${repository}/${name}`), "snapshots");
  return (Array.isArray(found) ? found : []).map((each: unknown) => {
    const [indices, failures] = [field(each, "indices"), field(each, "failures")];
    const failure: unknown = Array.isArray(failures) ? failures[0] : undefined;
    return {
      name: String(field(each, "snapshot")),
      state: String(field(each, "state")),
      version: String(field(each, "version") ?? ""),
      indices: Array.isArray(indices) ? indices.map(String) : [],
      reason: String(field(each, "reason") ?? field(failure, "reason") ?? "no reason given"),
    };
  });
}

/** A snapshot that has not moved for so long has failed. Bytes are counted by whole files, which have gigabytes. */
const stuckMs = 3_600_000;

/** Takes a snapshot and waits for its end. Only SUCCESS counts.
 *  @throws UserError `storage-failed`. */
export async function take(api: SearchApi, repository: string, name: string, context: Context): Promise<SnapshotState> {
  const path = `/_snapshot/${repository}/${name}`;
  await api.call("PUT", path, {
    indices: allButSecurity,
    expand_wildcards: "all", // by default "*" means no closed index
    include_global_state: false,
    ignore_unavailable: false,
    partial: false,
    metadata: { taken_by: "kubectl kaa-backup", namespace: context.namespace },
  });
  let [last, movedAt] = [-1, performance.now()];
  while (true) {
    const [found] = await askPatiently(context.signal, () => snapshotsIn(api, repository, name));
    if (found === undefined) throw new UserError("storage-failed", `Open Distro has lost its snapshot "${name}"`);
    if (found.state === "SUCCESS") return found;
    if (found.state !== "IN_PROGRESS")
      throw new UserError("storage-failed", `Open Distro's snapshot "${name}" is ${found.state}: ${found.reason}`);
    const status = field(await askPatiently(context.signal, () => api.find(`${path}/_status`)), "snapshots");
    const stats = field(Array.isArray(status) ? status[0] : undefined, "stats");
    const bytes = Number(field(field(stats, "processed"), "size_in_bytes") ?? 0);
    context.progress?.(bytes);
    if (bytes !== last) [last, movedAt] = [bytes, performance.now()];
    if (performance.now() - movedAt > stuckMs)
      throw new UserError("storage-failed", `Open Distro does not get on with its snapshot "${name}"`);
    await pause(pollMs, undefined, { signal: context.signal });
  }
}

/** Deletes a snapshot; the engine keeps what others share with it. */
export async function discard(api: SearchApi, repository: string, name: string): Promise<void> {
  await api.remove(`/_snapshot/${repository}/${name}`);
}
