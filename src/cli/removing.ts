/** What `delete` and `prune` share. They remove the snapshots of one namespace, `-n`, and in S3 they hold its lock: a
 *  restore that reads one of them, and a backup that is about to add one, are not disturbed. */
import type { Removal, RemoveScope } from "../remove.ts";
import type { Store } from "../stores/store.ts";
import type { Flags } from "./command.ts";
import { clusterFlags, outputFlags, storageFlags, storeFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import { clusterOf, scopeOf, storeOf } from "./options.ts";

const { "source-namespace": _source, ...whereFlags } = storeFlags; // -n says whose, for its lock is needed
const { all: _all, storage: _storage, "release-name-prefix": _prefix, ...driverFlags } = storageFlags; // a snapshot goes whole

const confirmFlags = { yes: { type: "boolean", alias: "y", describe: "Do it, and do not ask" } } as const;

export type RemovingFlags = Flags<
  typeof whereFlags & typeof driverFlags & typeof clusterFlags & typeof outputFlags & typeof confirmFlags
>;

export const removingGroups = {
  Options: confirmFlags,
  Where: whereFlags,
  Storages: driverFlags,
  Cluster: clusterFlags,
  Output: outputFlags,
} as const;

export const removingOutcomes = [
  "attention",
  "invalid-snapshot",
  "not-found",
  "cluster",
  "forbidden",
  "busy",
  "credentials",
  "object-store",
  "local-disk",
  "refused",
] as const;

/** A directory is reached without a cluster: its namespace is known only if it was given. */
export async function removingFrom(
  session: Session,
  parsed: RemovingFlags,
): Promise<{ readonly scope: RemoveScope; readonly store: Store }> {
  const { io, reporter } = session;
  const told = { reporter, signal: io.signal };
  const flags = { ...parsed, "source-namespace": undefined };
  if (parsed.local === true) {
    const store = await storeOf(flags, "", io, reporter);
    return { scope: { ...told, namespace: parsed.namespace, cluster: undefined }, store };
  }
  const connection = await clusterOf(parsed, io);
  const namespace = connection.defaultNamespace;
  const whole = { all: undefined, storage: undefined, "release-name-prefix": undefined };
  const cluster = await scopeOf(session, connection, { ...flags, ...whole });
  return { scope: { ...told, namespace, cluster }, store: await storeOf(flags, namespace, io, reporter) };
}

/** True when everything that was to go is gone, whole. */
export function isClean(removals: readonly Removal[]): boolean {
  return removals.every(({ removed, problems }) => removed && problems.length === 0);
}
