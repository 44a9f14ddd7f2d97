/** The lock of a namespace: a Lease that its holder renews. A holder that died is replaced when its lease has run out; a
 *  holder that was asleep finds out before it does harm, because `lost` fires when it could not renew in time. */
import { hostname } from "node:os";
import { UserError } from "../base/errors.ts";
import { apiPath, type Connection, callApi, isApiStatus, pause } from "./api.ts";
import type { Lock } from "./cluster.ts";
import { record, text } from "./pods.ts";

const leaseName = "kaa-backup";
const durationMs = 60_000;
const renewMs = 15_000;

interface Lease {
  readonly holder: string;
  readonly purpose: string;
  readonly renewedAt: Date;
  readonly durationMs: number;
  readonly resourceVersion: string;
}

/** @throws UserError `busy` when somebody else holds it; `forbidden` with the missing rule. */
export async function takeLock(
  connection: Connection,
  request: {
    readonly namespace: string;
    readonly holder: string;
    readonly purpose: string;
    readonly signal: AbortSignal;
  },
): Promise<Lock> {
  const { namespace, signal } = request;
  const doing = `cannot lock namespace "${namespace}"`;
  const path = apiPath("apis", "coordination.k8s.io", "v1", "namespaces", namespace, "leases");
  const call = (method: "GET" | "POST" | "PUT", body?: unknown) =>
    callApi(connection, { method, path: method === "POST" ? path : `${path}/${leaseName}`, body, doing, signal });
  const lease = (resourceVersion: string | undefined) => leaseBody(request, resourceVersion);

  let current: Lease;
  try {
    const found = await readLease(call);
    if (found !== undefined) refuseIfHeld(found, namespace);
    current = parseLease(
      await (found === undefined ? call("POST", lease(undefined)) : call("PUT", lease(found.resourceVersion))),
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
      const body = { ...leaseBody({ ...request, holder: "" }, current.resourceVersion) };
      await callApi(connection, {
        method: "PUT",
        path: `${path}/${leaseName}`,
        body,
        doing,
        signal: AbortSignal.timeout(10_000),
      });
    },
  };

  async function keepRenewing(): Promise<void> {
    let renewedAt = Date.now();
    while (true) {
      try {
        await pause(renewMs, releasing.signal);
        current = parseLease(await call("PUT", lease(current.resourceVersion)));
        renewedAt = Date.now();
      } catch (error) {
        if (releasing.signal.aborted) return;
        const taken = isApiStatus(error, 409) || isApiStatus(error, 404);
        if (!taken && !signal.aborted && Date.now() - renewedAt < durationMs) continue;
        lost.abort(new UserError("busy", `lost the lock of namespace "${namespace}"`, { cause: error }));
        return;
      }
    }
  }
}

async function readLease(call: (method: "GET") => Promise<unknown>): Promise<Lease | undefined> {
  try {
    return parseLease(await call("GET"));
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
  request: { readonly namespace: string; readonly holder: string; readonly purpose: string },
  resourceVersion: string | undefined,
): Record<string, unknown> {
  const now = new Date().toISOString().replace("Z", "000Z"); // MicroTime
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: {
      name: leaseName,
      namespace: request.namespace,
      annotations: { "kaa-backup/purpose": request.purpose },
      ...(resourceVersion !== undefined && { resourceVersion }),
    },
    spec: { holderIdentity: request.holder, leaseDurationSeconds: durationMs / 1000, acquireTime: now, renewTime: now },
  };
}

function parseLease(value: unknown): Lease {
  const metadata = record(record(value)["metadata"]);
  const spec = record(record(value)["spec"]);
  const renewedAt = new Date(text(spec["renewTime"]));
  return {
    holder: text(spec["holderIdentity"]),
    purpose: text(record(metadata["annotations"])["kaa-backup/purpose"]),
    renewedAt: Number.isNaN(renewedAt.getTime()) ? new Date(0) : renewedAt,
    durationMs: Number(spec["leaseDurationSeconds"] ?? 0) * 1000,
    resourceVersion: text(metadata["resourceVersion"]),
  };
}

/** Who holds the lock, for messages: "host-1, process 4711". */
export function holderName(): string {
  return `${hostname()}, process ${process.pid}`;
}
