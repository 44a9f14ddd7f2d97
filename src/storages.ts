/** Which storages run in a namespace, and whether each could be dumped now. Used by backup, restore and `storages`. */
import { messageOf, type Outcome, UserError, withEffect } from "./base/errors.ts";
import type { Reporter } from "./base/reporter.ts";
import type { Cluster, Lock } from "./cluster/cluster.ts";
import type { Context, Driver, Inspection, Instance, Location } from "./drivers/driver.ts";
import { findInstances } from "./drivers/find.ts";
import { type DriverName, loadDriver } from "./drivers/registry.ts";
import type { StreamEntry } from "./snapshot/toc.ts";

/** What all use-cases are told about the cluster's side. */
export interface Scope {
  readonly cluster: Cluster;
  readonly namespace: string;
  /** Only Helm releases whose name begins so; "" for all. */
  readonly releasePrefix: string;
  /** Where drivers' credential variables are looked up. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** What configuration says of single storages, by their names. */
  readonly overrides?: Readonly<Record<string, StorageOverride>>;
  readonly compression: Context["compression"];
  readonly location: Location;
  readonly reporter: Reporter;
  readonly signal: AbortSignal;
}

export interface StorageOverride {
  /** Labels of its pods, in place of those that the driver looks for. */
  readonly selector?: Readonly<Record<string, string>>;
  readonly container?: string;
  /** Instances of it that are dumped at once. */
  readonly parallelism?: number;
}

export interface Found {
  readonly driver: Driver;
  readonly instances: readonly Instance[];
}

/** @throws UserError `not-found` when the namespace does not exist. */
export async function findStorages(scope: Scope, names: readonly DriverName[]): Promise<readonly Found[]> {
  await scope.cluster.checkNamespace(scope.namespace, scope.signal);
  const pods = await scope.cluster.listPods(scope.namespace, scope.signal);
  const loaded = await Promise.all(names.map(loadDriver));
  return loaded.map((known) => {
    const { selector, container } = scope.overrides?.[known.storage] ?? {};
    // Whoever names the labels means all pods that have them: which are servers, the driver cannot know better.
    const driver = selector === undefined ? known : { ...known, selectors: [selector], helpers: [] };
    const instances = findInstances(driver, pods, scope.releasePrefix);
    return {
      driver,
      instances: container === undefined ? instances : instances.map((each) => ({ ...each, container })),
    };
  });
}

/** Runs `work` while holding the namespace's lock, with a signal that also fires when the lock is lost.
 *  @throws UserError `busy` when another run holds it. */
export async function withLock<T>(
  scope: Scope,
  purpose: string,
  work: (locked: Scope, lock: Pick<Lock, "abandoned" | "confirm">) => Promise<T>,
): Promise<T> {
  const lock = await scope.cluster.lock(scope.namespace, purpose, scope.signal);
  // What the work has done stands, whatever becomes of the lock.
  const release = () =>
    lock.release().catch((error: unknown) => {
      scope.reporter.warning(`the lock was not released and will free itself within two minutes: ${messageOf(error)}`);
    });
  let result: T;
  try {
    result = await work({ ...scope, signal: AbortSignal.any([scope.signal, lock.lost]) }, lock);
  } catch (error) {
    await release();
    if (scope.signal.aborted || !lock.lost.aborted) throw error;
    // Whoever has taken the lock over also cleans up after us: what failed here failed because of that.
    const { effect } = asUserError(error);
    throw effect === undefined ? lock.lost.reason : withEffect(lock.lost.reason, effect);
  }
  await release();
  return result;
}

export function contextFor(scope: Scope, driver: Driver, instance: Instance): Context {
  const credentials = driver.credentialVariables.flatMap((name) => {
    const value = scope.environment[name];
    return value === undefined || value === "" ? [] : [[name, value] as const];
  });
  const task = taskName(instance);
  const given = credentials.map(([name]) => name).join(", ");
  scope.reporter.detail(`${task}: the credentials are ${given === "" ? "the pod's own" : `those given as ${given}`}`);
  return {
    cluster: scope.cluster,
    namespace: scope.namespace,
    location: scope.location,
    snapshotName: "",
    credentials: Object.fromEntries(credentials),
    compression: scope.compression,
    signal: scope.signal,
    warn: (message) => scope.reporter.warning(`${task}: ${message}`),
  };
}

/** "postgresql/kaa-postgresql" */
export function taskName(instance: Pick<Instance, "storage" | "name">): string {
  return `${instance.storage}/${instance.name}`;
}

/** The same of what tells of an instance: a manifest's entry, a failure. */
export function taskOf({ storage, instance }: { readonly storage: string; readonly instance: string }): string {
  return taskName({ storage, name: instance });
}

/** Bytes of an instance in a snapshot as they travel: after the pod's encoding, before this side's compression. */
export function storedBytes(entry: { readonly streams: readonly Pick<StreamEntry, "stored">[] }): number {
  return entry.streams.reduce((sum, stream) => sum + stream.stored.bytes, 0);
}

export interface Inspected {
  readonly driver: Driver;
  readonly instance: Instance;
  readonly context: Context;
  readonly inspection: Inspection;
}

export interface Failure {
  readonly storage: string;
  readonly instance: string;
  readonly error: UserError;
}

/** A server that has not answered for so long hangs, though its kernel takes connections: others must not wait for it. */
const answerMs = 30 * 60_000;

/** Asks a server something, within bounds.
 *  @throws UserError `storage-not-ready` when that takes longer than half an hour; the signal's reason; what `ask` throws. */
export async function answered<T>(
  signal: AbortSignal,
  ask: (signal: AbortSignal) => Promise<T>,
  limitMs = answerMs,
): Promise<T> {
  const limit = AbortSignal.timeout(limitMs);
  try {
    return await ask(AbortSignal.any([signal, limit]));
  } catch (error) {
    signal.throwIfAborted();
    if (!limit.aborted) throw error;
    throw new UserError("storage-not-ready", `no answer for ${Math.round(limitMs / 1000)} s`, { cause: error });
  }
}

/** Looks at every instance; those that could not be dumped come as failures. Stops only when the signal fires. */
export async function inspectAll(
  scope: Scope,
  found: readonly Found[],
): Promise<{ readonly ready: readonly Inspected[]; readonly failures: readonly Failure[] }> {
  const ready: Inspected[] = [];
  const failures: Failure[] = [];
  const pairs = found.flatMap(({ driver, instances }) => instances.map((instance) => ({ driver, instance })));
  await Promise.all(
    pairs.map(async ({ driver, instance }) => {
      const context = contextFor(scope, driver, instance);
      try {
        const inspection = await answered(scope.signal, (signal) => driver.inspect(instance, { ...context, signal }));
        ready.push({ driver, instance, context, inspection });
      } catch (error) {
        scope.signal.throwIfAborted();
        failures.push({ storage: instance.storage, instance: instance.name, error: asUserError(error) });
      }
    }),
  );
  const byName = (a: string, b: string) => (a < b ? -1 : 1);
  ready.sort((a, b) => byName(taskName(a.instance), taskName(b.instance)));
  failures.sort((a, b) => byName(`${a.storage}/${a.instance}`, `${b.storage}/${b.instance}`));
  return { ready, failures };
}

/** The error for storages that were named and do not run here. */
export function noneFound(scope: Scope, driver: Driver): UserError {
  const labels = driver.selectors.map((each) =>
    Object.entries(each)
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
  );
  const release = scope.releasePrefix === "" ? "" : ` of release "${scope.releasePrefix}…"`;
  return new UserError("storage-not-ready", `no ${driver.title}${release} runs in namespace "${scope.namespace}"`, {
    hints: [`looked for pods with ${labels.join(" or ")}`],
  });
}

/** Anything thrown, as an error with an outcome: what is no UserError is a defect of ours. */
export function asUserError(error: unknown, outcome: Outcome = "internal"): UserError {
  return error instanceof UserError ? error : new UserError(outcome, messageOf(error), { cause: error });
}

/** "3 databases, 12 tables, 4500 rows" */
export function summaryOf(counts: Readonly<Record<string, number>> | undefined): string {
  if (counts === undefined) return "not counted";
  return Object.entries(counts)
    .map(([unit, count]) => `${count} ${unit}`)
    .join(", ");
}
