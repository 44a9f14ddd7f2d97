/** The lock of a namespace as the API server keeps it, changed behind its holder's back. */
import type { FakeApiServer } from "../fakes/api-server.ts";

export interface Lease {
  readonly holder: string;
  readonly spec: Readonly<Record<string, unknown>>;
  /** As though its holder had not renewed it for long. */
  expire(): void;
  /** As though it had expired, and this one had taken it then. */
  giveTo(holder: string): void;
  /** Changes what it says, as any write does. */
  change(spec: Readonly<Record<string, unknown>>): void;
  /** As though somebody had deleted it. */
  remove(): void;
}

export function leaseOf({ leases }: FakeApiServer, namespace = "kaa"): Lease {
  const specOf = () => (leases.get(namespace)?.body["spec"] ?? {}) as Record<string, unknown>; // it was made from JSON
  const change = (spec: Readonly<Record<string, unknown>>) => {
    const lease = leases.get(namespace);
    if (lease === undefined) throw new Error("nobody has taken the lock");
    lease.resourceVersion += 1;
    const metadata = { ...(lease.body["metadata"] as object), resourceVersion: String(lease.resourceVersion) };
    lease.body = { ...lease.body, metadata, spec };
  };
  return {
    get spec() {
      return specOf();
    },
    get holder() {
      return String(specOf()["holderIdentity"] ?? "");
    },
    expire() {
      // Not a write: the holder's version stays. Of no duration, so that nobody has to look for long whether it is renewed.
      Object.assign(specOf(), { renewTime: new Date(0).toISOString(), leaseDurationSeconds: 0 });
    },
    giveTo(holder) {
      const now = new Date().toISOString();
      change({ ...specOf(), holderIdentity: holder, acquireTime: now, renewTime: now });
    },
    change,
    remove: () => void leases.delete(namespace),
  };
}
