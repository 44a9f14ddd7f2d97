/** The lock of a namespace: a Lease that its holder renews. A holder that died is replaced when its lease has run out and
 *  nobody is seen to renew it, for its clock need not agree with ours; a holder that was asleep finds out before it does harm,
 *  because `lost` fires when it could not renew in time. */
import { hostname } from "node:os";
import { UserError } from "../base/errors.ts";
import { record, text } from "../base/json.ts";
import { apiPath, type Connection, callApi, isApiStatus, pause } from "./api.ts";
import type { Lock } from "./cluster.ts";

const leaseName = "kaa-backup";

export interface LockTiming {
  /** How long the lock holds without being renewed. */
  readonly durationMs: number;
  readonly renewMs: number;
  /** Longest wait for one renewal. */
  readonly callMs: number;
}

/** Between two questions to a server that does not answer. */
const longestConfirmPauseMs = 1000;

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

/** `signal` ends the taking only, and then leaves no lock; one that was taken is kept until `release`.
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
  const call = leaseCall(connection, namespace, doing);
  const acquiredAt = new Date();
  const lease = (version?: string) => leaseBody({ ...request, timing, acquiredAt }, version);
  // Released by emptying it: that needs no right to delete.
  const emptied = () => leaseBody({ ...request, timing, acquiredAt, holder: "" });

  const current = await take();
  let { resourceVersion } = current.taken;
  let renewed = current.at;
  const lost = new AbortController();
  const releasing = new AbortController();
  const renewing = keepRenewing();
  const lock: Lock = {
    lost: lost.signal,
    abandoned: current.abandoned,
    confirm,
    async release() {
      releasing.abort();
      await renewing;
      if (lost.signal.aborted) return;
      await replace(emptied()).catch((error: unknown) => {
        if (!isTaken(error)) throw error;
        lose(error);
      });
    },
  };
  if (request.signal.aborted) {
    await unlessUserError(lock.release());
    throw request.signal.reason;
  }
  return lock;

  /** The run's signal does not cut off the call that takes the lock: nobody would know whether it had been taken. */
  async function take(): Promise<{
    readonly taken: Lease;
    readonly at: Times;
    readonly abandoned: string | undefined;
  }> {
    const found = await findFree();
    const at = timesNow();
    const body = lease(found?.resourceVersion);
    try {
      const taken = await inTime((signal) => call(found === undefined ? "POST" : "PUT", signal, body));
      return { taken: parseLease(taken), at, abandoned: found?.holder ? found.purpose : undefined };
    } catch (error) {
      if (isApiStatus(error, 409)) {
        throw new UserError("busy", `${doing}: another run has just taken it`, { cause: error });
      }
      await unlessUserError(letGo()); // the answer may be all that was lost
      throw error;
    }
  }

  /** What the lock may be taken from: none, one that was released, or one that nobody renews. Whether it is renewed is looked
   *  at, for as long as its holder may take for that: by its date alone a holder whose clock is behind looks dead. So does
   *  client-go's leaderelection (`observedTime`).
   *  @throws UserError `busy`. */
  async function findFree(): Promise<Lease | undefined> {
    const found = await readLease(call, request.signal);
    if (found === undefined) return undefined;
    refuseIfHeld(found, namespace);
    if (found.holder === "") return found;
    const waitMs = Math.min(found.durationMs, timing.renewMs + timing.callMs);
    const seconds = Math.ceil(waitMs / 1000);
    connection.onNote?.(
      `the lock of ${found.holder} (${found.purpose}) has run out: looking for ${seconds} s whether it is renewed`,
    );
    await pause(waitMs, request.signal);
    const now = await readLease(call, request.signal);
    if (now === undefined || now.holder === "") return now;
    if (now.resourceVersion === found.resourceVersion && now.renewedAt.getTime() === found.renewedAt.getTime())
      return now;
    refuseIfHeld(now, namespace);
    throw new UserError("busy", heldText(now, namespace), {
      hints: ["wait for it to end: it renews its lock, though by its dates that has run out; are the clocks right?"],
    });
  }

  async function letGo(): Promise<void> {
    await inTime(async (signal) => {
      const ours = await findOurs(signal);
      if (ours !== undefined) await put(emptied(), ours.resourceVersion, signal);
    });
  }

  /** Renews until released. An interrupted run still renews: it holds the lock until its cleaning up has ended. */
  async function keepRenewing(): Promise<void> {
    while (true) {
      try {
        await pause(timing.renewMs, releasing.signal);
        await renew(); // silence takes nothing from us until the lock has run out
      } catch (error) {
        if (releasing.signal.aborted || lost.signal.aborted) return;
        throw error;
      }
    }
  }

  /** Asks until there is an answer, for as long as nobody can have taken the lock.
   *  @throws UserError `busy` when the lock is lost, the reason of the run's signal when that fires. */
  async function confirm(): Promise<void> {
    const waiting = AbortSignal.any([request.signal, lost.signal]);
    while (!(await renew())) await pause(Math.min(timing.renewMs, longestConfirmPauseMs), waiting);
  }

  /** @returns false when the server did not say whether the lock is ours, and it has not run out.
   *  @throws UserError `busy` when the lock is lost. */
  async function renew(): Promise<boolean> {
    lost.signal.throwIfAborted();
    const at = timesNow(); // what renewTime says: the answer may be late
    try {
      await replace(lease());
      renewed = at;
      return true;
    } catch (error) {
      if (!isTaken(error) && sinceMs(renewed) < timing.durationMs) return false;
      lose(error);
      throw lost.signal.reason;
    }
  }

  function lose(cause: unknown): void {
    lost.abort(new UserError("busy", `lost the lock of namespace "${namespace}"`, { cause }));
  }

  /** Replaces the lease that we hold. A conflict is not yet somebody else: an earlier PUT of ours may have arrived though
   *  its answer was lost. */
  async function replace(body: LeaseBody): Promise<void> {
    await inTime(async (signal) => {
      try {
        resourceVersion = await put(body, resourceVersion, signal);
      } catch (error) {
        if (!isApiStatus(error, 409)) throw error;
        const ours = await findOurs(signal);
        if (ours === undefined) throw error;
        resourceVersion = await put(body, ours.resourceVersion, signal);
      }
    });
  }

  /** @returns the new version. */
  async function put(body: LeaseBody, version: string, signal: AbortSignal): Promise<string> {
    const metadata = { ...body.metadata, resourceVersion: version };
    return parseLease(await call("PUT", signal, { ...body, metadata })).resourceVersion;
  }

  async function findOurs(signal: AbortSignal): Promise<Lease | undefined> {
    const found = await readLease(call, signal);
    return found?.holder === request.holder && found.acquiredAt === acquiredAt.getTime() ? found : undefined;
  }

  async function inTime<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.timeout(timing.callMs);
    try {
      return await work(signal);
    } catch (error) {
      if (signal.aborted) throw new UserError("cluster", `${doing}: no answer in ${timing.callMs / 1000} s`);
      throw error;
    }
  }
}

interface Times {
  readonly clockMs: number;
  readonly steadyMs: number;
}

function timesNow(): Times {
  return { clockMs: Date.now(), steadyMs: performance.now() };
}

/** The clock may be set back, and the steady one stands still while a machine sleeps: whichever says more. */
function sinceMs({ clockMs, steadyMs }: Times): number {
  const now = timesNow();
  return Math.max(now.clockMs - clockMs, now.steadyMs - steadyMs);
}

/** True when the lease is somebody else's now, or gone. */
function isTaken(error: unknown): boolean {
  return isApiStatus(error, 409) || isApiStatus(error, 404);
}

/** For what is done on the way to another error, which is the one to be told. */
async function unlessUserError(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
}

/** As `takeLock` would, and takes nothing. It does not wait: a lease that has run out by its date counts as nobody's.
 *  @throws UserError `busy` when somebody holds the lock. */
export async function refuseIfLocked(connection: Connection, namespace: string, signal: AbortSignal): Promise<void> {
  const lease = await readLease(leaseCall(connection, namespace, "cannot read the lock"), signal);
  if (lease !== undefined) refuseIfHeld(lease, namespace);
}

function leaseCall(connection: Connection, namespace: string, doing: string): LeaseCall {
  const path = apiPath("apis", "coordination.k8s.io", "v1", "namespaces", namespace, "leases");
  return (method, signal, body) =>
    callApi(connection, { method, path: method === "POST" ? path : `${path}/${leaseName}`, body, doing, signal });
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
  throw new UserError("busy", heldText(lease, namespace), {
    hints: [`wait for it to end; if it has died, the lock frees itself in ${seconds} s`],
  });
}

function heldText({ holder, purpose, acquiredAt }: Lease, namespace: string): string {
  const since = Number.isNaN(acquiredAt) ? "" : ` since ${new Date(acquiredAt).toISOString()}`;
  return `namespace "${namespace}" is locked by ${holder} (${purpose})${since}`;
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
