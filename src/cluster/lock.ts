/** The lock of a namespace: a Lease that its holder renews. A holder that died is replaced when its lease has run out; a
 *  holder that was asleep finds out before it does harm, because `lost` fires when it could not renew in time. */
import { hostname } from "node:os";
import { UserError } from "../base/errors.ts";
import { apiPath, type Connection, callApi, isApiStatus, pause } from "./api.ts";
import type { Lock } from "./cluster.ts";
import { record, text } from "./pods.ts";

const leaseName = "kaa-backup";

export interface LockTiming {
  /** How long the lock holds without being renewed. */
  readonly durationMs: number;
  readonly renewMs: number;
  /** Longest wait for one renewal. */
  readonly callMs: number;
}

const defaultTiming: LockTiming = { durationMs: 60_000, renewMs: 15_000, callMs: 10_000 };

interface Lease {
  readonly holder: string;
  readonly purpose: string;
  /** Milliseconds since 1970; NaN when absent. With `holder` it tells one taking of the lock from another. */
  readonly acquiredAt: number;
  readonly renewedAt: Date;
  readonly durationMs: number;
  readonly resourceVersion: string;
}

interface LeaseBody {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

type LeaseCall = (method: "GET" | "POST" | "PUT", signal: AbortSignal, body?: LeaseBody) => Promise<unknown>;

/** `signal` ends the taking only; the lock is kept until `release`.
 *  @throws UserError `busy` when somebody else holds it; `forbidden` with the missing rule. */
export async function takeLock(
  connection: Connection,
  request: {
    readonly namespace: string;
    readonly holder: string;
    readonly purpose: string;
    readonly signal: AbortSignal;
    readonly timing?: LockTiming;
  },
): Promise<Lock> {
  const timing = request.timing ?? defaultTiming;
  const { namespace } = request;
  const doing = `cannot lock namespace "${namespace}"`;
  const path = apiPath("apis", "coordination.k8s.io", "v1", "namespaces", namespace, "leases");
  const call: LeaseCall = (method, signal, body) =>
    callApi(connection, { method, path: method === "POST" ? path : `${path}/${leaseName}`, body, doing, signal });
  const acquiredAt = new Date();
  const lease = (resourceVersion?: string) => leaseBody({ ...request, timing, acquiredAt }, resourceVersion);

  let current: Lease;
  try {
    const found = await readLease(call, request.signal);
    if (found !== undefined) refuseIfHeld(found, namespace);
    current = parseLease(
      await (found === undefined
        ? call("POST", request.signal, lease())
        : call("PUT", request.signal, lease(found.resourceVersion))),
    );
  } catch (error) {
    if (!isApiStatus(error, 409)) throw error;
    throw new UserError("busy", `${doing}: another run has just taken it`, { cause: error });
  }

  const lost = new AbortController();
  const releasing = new AbortController();
  const renewing = keepRenewing();
  return {
    lost: lost.signal,
    async release() {
      releasing.abort();
      await renewing;
      if (lost.signal.aborted) return;
      // Released by emptying it: that needs no right to delete.
      await replace(leaseBody({ ...request, timing, acquiredAt, holder: "" }));
    },
  };

  /** Renews until released. An interrupted run still renews: it holds the lock until its cleaning up has ended. */
  async function keepRenewing(): Promise<void> {
    let renewedAt = Date.now();
    while (true) {
      try {
        await pause(timing.renewMs, releasing.signal);
        await replace(lease());
        renewedAt = Date.now();
      } catch (error) {
        if (releasing.signal.aborted) return;
        const taken = isApiStatus(error, 409) || isApiStatus(error, 404);
        if (!taken && Date.now() - renewedAt < timing.durationMs) continue;
        lost.abort(new UserError("busy", `lost the lock of namespace "${namespace}"`, { cause: error }));
        return;
      }
    }
  }

  /** Replaces the lease that we hold. A conflict is not yet somebody else: an earlier PUT of ours may have arrived though
   *  its answer was lost. */
  async function replace(body: LeaseBody): Promise<void> {
    const signal = AbortSignal.timeout(timing.callMs);
    const put = async (resourceVersion: string) =>
      parseLease(await call("PUT", signal, { ...body, metadata: { ...body.metadata, resourceVersion } }));
    try {
      current = await put(current.resourceVersion);
    } catch (error) {
      if (signal.aborted) throw new UserError("cluster", `${doing}: no answer in ${timing.callMs / 1000} s`);
      if (!isApiStatus(error, 409)) throw error;
      const found = await readLease(call, signal);
      const isOurs = found?.holder === request.holder && found.acquiredAt === acquiredAt.getTime();
      if (found === undefined || !isOurs) throw error;
      current = await put(found.resourceVersion);
    }
  }
}

async function readLease(call: LeaseCall, signal: AbortSignal): Promise<Lease | undefined> {
  try {
    return parseLease(await call("GET", signal));
  } catch (error) {
    if (isApiStatus(error, 404)) return undefined;
    throw error;
  }
}

function refuseIfHeld(lease: Lease, namespace: string): void {
  const expiresInMs = lease.renewedAt.getTime() + lease.durationMs - Date.now();
  if (lease.holder === "" || expiresInMs <= 0) return;
  const seconds = Math.ceil(expiresInMs / 1000);
  throw new UserError("busy", `namespace "${namespace}" is locked by ${lease.holder} (${lease.purpose})`, {
    hints: [`wait for it to end; if it has died, the lock frees itself in ${seconds} s`],
  });
}

function leaseBody(
  request: {
    readonly namespace: string;
    readonly holder: string;
    readonly purpose: string;
    readonly acquiredAt: Date;
    readonly timing: LockTiming;
  },
  resourceVersion?: string,
): LeaseBody {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: {
      name: leaseName,
      namespace: request.namespace,
      annotations: { "kaa-backup/purpose": request.purpose },
      ...(resourceVersion !== undefined && { resourceVersion }),
    },
    spec: {
      holderIdentity: request.holder,
      leaseDurationSeconds: Math.ceil(request.timing.durationMs / 1000),
      acquireTime: microTime(request.acquiredAt),
      renewTime: microTime(new Date()),
    },
  };
}

/** Kubernetes' MicroTime. */
function microTime(date: Date): string {
  return date.toISOString().replace("Z", "000Z");
}

function parseLease(value: unknown): Lease {
  const metadata = record(record(value)["metadata"]);
  const spec = record(record(value)["spec"]);
  const renewedAt = new Date(text(spec["renewTime"]));
  return {
    holder: text(spec["holderIdentity"]),
    purpose: text(record(metadata["annotations"])["kaa-backup/purpose"]),
    acquiredAt: new Date(text(spec["acquireTime"])).getTime(),
    renewedAt: Number.isNaN(renewedAt.getTime()) ? new Date(0) : renewedAt,
    durationMs: Number(spec["leaseDurationSeconds"] ?? 0) * 1000,
    resourceVersion: text(metadata["resourceVersion"]),
  };
}

/** Who holds the lock, for messages: "host-1, process 4711". */
export function holderName(): string {
  return `${hostname()}, process ${process.pid}`;
}
