/** Doctor: everything that a backup and a restore need, tried at once, changing nothing. A sick part must not hide another,
 *  so nothing here throws but for the caller's own signal. */
import { UserError } from "./base/errors.ts";
import { listSnapshots } from "./catalog.ts";
import type { Right } from "./cluster/cluster.ts";
import type { DriverName } from "./drivers/registry.ts";
import { checkSchedules } from "./schedule-check.ts";
import { asUserError, type Found, findStorages, inspectAll, noneFound, type Scope, taskName } from "./storages.ts";
import { orAborted, type Store } from "./stores/store.ts";

export interface Check {
  /** "right pods/exec", "storage mariadb/kaa-mariadb", "snapshots" */
  readonly name: string;
  /** `warning`: works, but somebody should know. `skipped`: not tried. */
  readonly status: "ok" | "warning" | "failed" | "skipped";
  readonly detail: string;
  /** What to do about it. */
  readonly remedies: readonly string[];
  /** Of a check that has failed. */
  readonly error?: UserError;
}

export interface Examination {
  readonly storages: readonly DriverName[];
  /** True when the storages were named one by one: each must then be there. */
  readonly named: boolean;
  /** Names of Secrets that configuration takes credentials from. */
  readonly secrets: readonly string[];
  /** The time that all checks have together. */
  readonly limitMs: number;
}

const skewLimitMs = 5 * 60_000;

const needed: readonly Omit<Right, "name">[] = [
  { group: "", resource: "pods", verb: "get" },
  { group: "", resource: "pods", verb: "list" },
  { group: "", resource: "pods/exec", verb: "get" },
  { group: "", resource: "pods/exec", verb: "create" },
  { group: "", resource: "pods/portforward", verb: "get" },
  { group: "", resource: "pods/portforward", verb: "create" },
  { group: "coordination.k8s.io", resource: "leases", verb: "get" },
  { group: "coordination.k8s.io", resource: "leases", verb: "create" },
  { group: "coordination.k8s.io", resource: "leases", verb: "update" },
];

/** What a check has found; `ok` unless it says otherwise. */
export type Finding = Partial<Check> & { readonly detail: string };
export type Attempt = (name: string, work: () => Promise<Finding>) => Promise<Check>;

/** In the order in which they should be read: what comes first may be why the rest is sick. */
export async function diagnose(examination: Examination, given: Scope, store: Store): Promise<readonly Check[]> {
  const limit = AbortSignal.timeout(examination.limitMs);
  const scope = { ...given, signal: AbortSignal.any([given.signal, limit]) };
  const attempt: Attempt = (name, work) => checked(name, scope.signal, examination.limitMs, work);

  const [ofCluster, ofStore] = await Promise.all([
    checkCluster(examination, scope, attempt),
    attempt("snapshots", () => checkStore(store, scope.signal)),
  ]);
  return [...ofCluster, ofStore];
}

async function checkCluster(examination: Examination, scope: Scope, attempt: Attempt): Promise<readonly Check[]> {
  const { cluster, namespace } = scope;
  const server = await attempt("cluster", async () => ({
    detail: `${cluster.server}, Kubernetes ${await cluster.version(scope.signal)}`,
    ...(!cluster.isVerified && { status: "warning", remedies: ["nobody checks that this is the right API server"] }),
  }));
  if (server.status === "failed") return [server];
  const rights = [...needed, ...examination.secrets.map(secretRight)];
  const checks = [
    attempt("clock", async () => skewOf(await cluster.serverTime(scope.signal))),
    attempt("namespace", async () => {
      await cluster.checkNamespace(namespace, scope.signal);
      return { detail: namespace };
    }),
    ...rights.map((right) =>
      attempt(`right ${right.verb} ${right.resource}`, async () => {
        const isAllowed = await cluster.isAllowed(namespace, right, scope.signal);
        return isAllowed ? { detail: "allowed" } : withoutRight(right, namespace, server.detail);
      }),
    ),
    attempt("lock", async () => {
      try {
        await cluster.checkLock(namespace, scope.signal);
        return { detail: "free" };
      } catch (error) {
        if (!(error instanceof UserError) || error.outcome !== "busy") throw error;
        return { detail: error.message, status: "warning", remedies: error.hints };
      }
    }),
  ];
  const [done, ofStorages, ofSchedules] = await Promise.all([
    Promise.all(checks),
    checkStorages(examination, scope),
    checkSchedules(scope, attempt),
  ]);
  return [server, ...done, ...ofStorages, ...ofSchedules];
}

/** Runs one check. What it throws is its failure. */
async function checked(
  name: string,
  signal: AbortSignal,
  limitMs: number,
  work: () => Promise<Finding>,
): Promise<Check> {
  try {
    return { name, status: "ok", remedies: [], ...(await orAborted(signal, work)) };
  } catch (thrown) {
    if (signal.aborted && signal.reason instanceof UserError) throw signal.reason; // we were told to stop
    const error = signal.aborted ? new UserError("deadline", `no answer in ${limitMs / 1000} s`) : asUserError(thrown);
    return failed(name, error);
  }
}

function failed(name: string, error: UserError): Check {
  return { name, status: "failed", detail: error.message, remedies: error.hints, error };
}

function secretRight(name: string): Right {
  return { group: "", resource: "secrets", verb: "get", name };
}

function withoutRight(right: Right, namespace: string, clusterVersion: string): Finding {
  const names = right.name === undefined ? "" : `, resourceNames: ["${right.name}"]`;
  const rule = `{apiGroups: ["${right.group}"], resources: ["${right.resource}"], verbs: [${right.verb}]${names}}`;
  const remedies = [`add to a Role in namespace "${namespace}": ${rule}`];
  // Websockets are opened by GET. From 1.35 on the server asks for "create" as well (kubernetes#134577).
  const minor = Number(/v1\.(\d+)/.exec(clusterVersion)?.[1] ?? Number.POSITIVE_INFINITY);
  if (right.verb === "create" && right.resource.startsWith("pods/") && minor < 35)
    return { status: "warning", detail: "not allowed; needed from Kubernetes 1.35 on", remedies };
  const error = new UserError("forbidden", `${right.verb} ${right.resource} is not allowed`, { hints: remedies });
  return { status: "failed", detail: "not allowed", remedies, error };
}

function skewOf(serverTime: Date | undefined): Finding {
  if (serverTime === undefined) return { status: "skipped", detail: "the API server does not tell the time" };
  const skewMs = Date.now() - serverTime.getTime();
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  if (Math.abs(skewMs) <= skewLimitMs) return { detail: "agrees with the cluster's" };
  const remedies = ["set the clock: snapshots are named by it, and S3 refuses requests of another time"];
  return { status: "warning", detail: `${seconds} s ${skewMs > 0 ? "ahead of" : "behind"} the cluster's`, remedies };
}

async function checkStorages(examination: Examination, scope: Scope): Promise<readonly Check[]> {
  const { limitMs } = examination;
  let found: readonly Found[] = [];
  const listing = await checked("storages", scope.signal, limitMs, async () => {
    found = await findStorages(scope, examination.storages);
    return { detail: "" };
  });
  if (listing.status === "failed") return [listing];
  const absent = found.filter(({ instances }) => instances.length === 0);
  const checks = await Promise.all(
    found.flatMap(({ driver, instances }) =>
      instances.map((instance) =>
        checked(`storage ${taskName(instance)}`, scope.signal, limitMs, async () => {
          const { ready, failures } = await inspectAll(scope, [{ driver, instances: [instance] }]);
          const [failure] = failures;
          if (failure !== undefined) throw failure.error;
          const inspection = ready[0]?.inspection;
          const warnings = inspection?.warnings ?? [];
          const detail = [`${driver.title} ${inspection?.serverVersion ?? ""}`, ...warnings].join("; ");
          return { detail, status: warnings.length > 0 ? "warning" : "ok" };
        }),
      ),
    ),
  );
  const missing = absent.map(({ driver }): Check => {
    const error = noneFound(scope, driver);
    const name = `storage ${driver.storage}`;
    return examination.named
      ? failed(name, error)
      : { name, status: "skipped", detail: "none runs here", remedies: error.hints };
  });
  if (checks.length > 0 || examination.named) return [...checks, ...missing];
  const nothing = new UserError("storage-not-ready", `no storage runs in namespace "${scope.namespace}"`, {
    hints: ["is it the right namespace, and the right --release-name-prefix?"],
  });
  return [failed("storages", nothing)];
}

/** Write, list and, if there is a snapshot, read. */
async function checkStore(store: Store, signal: AbortSignal): Promise<Finding> {
  if ((await store.check(signal)) === "absent")
    return {
      status: "warning",
      detail: `${store.location} is not there yet`,
      remedies: ["create makes it, if it may"],
    };
  const [newest] = await listSnapshots(store, signal);
  if (newest === undefined) return { detail: `${store.location} can be written and listed; it holds no snapshot` };
  const file = await store.open(newest.fileName, signal);
  try {
    for await (const _ of file.read(0, Math.min(1, file.sizeBytes), signal)) break;
  } finally {
    await file.close();
  }
  return { detail: `${store.location} can be written, listed and read; the newest is ${newest.name}` };
}

/** The error that decides how the program ends. */
export function firstFailure(checks: readonly Check[]): UserError | undefined {
  return checks.find(({ status }) => status === "failed")?.error;
}
