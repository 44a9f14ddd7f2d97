/** Vault's seal: what a pod tells of it without a token, and unsealing after a restore. */
import { setTimeout as pause } from "node:timers/promises";
import { isOutcome, UserError } from "../../base/errors.ts";
import { field } from "../commands.ts";
import type { Context, Instance } from "../driver.ts";
import { VaultApi } from "./api.ts";

const readyMs = 90_000;

/** What a pod tells of itself, to anybody. */
export async function sealStatus(api: VaultApi) {
  const status = await api.call("GET", "sys/seal-status");
  return {
    initialized: field(status, "initialized") === true,
    sealed: field(status, "sealed") !== false,
    storageType: textOf(field(status, "storage_type")),
    version: textOf(field(status, "version")),
    clusterId: textOf(field(status, "cluster_id")),
    sealType: textOf(field(status, "type")),
    threshold: Number(field(status, "t")) || 0,
  };
}

/** A text of a JSON answer; "" for anything else. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** Waits until every pod serves again, and unseals those that are sealed.
 *  @throws UserError `credentials` for keys that are not this Vault's, `storage-not-ready` when the time is up. */
export async function unsealAll(instance: Instance, keys: readonly string[], context: Context): Promise<void> {
  const deadline = performance.now() + readyMs;
  await pause(1000, undefined, { signal: context.signal }); // Vault answers before it begins to load the snapshot
  for (const pod of instance.pods) {
    const api = new VaultApi(pod, context);
    try {
      for (let steadySince = 0; ; ) {
        const state = await sealStatus(api).catch((error: unknown) => {
          if (isOutcome(error, "stream-lost", "storage-not-ready", "storage-failed")) return undefined; // it is loading
          throw error;
        });
        if (state?.sealed === true && keys.length > 0) await unseal(api, keys);
        if (state?.sealed === false && (await isActive(api))) {
          if (steadySince > 0 && performance.now() - steadySince > 2000) break;
          steadySince ||= performance.now();
        } else steadySince = 0;
        if (performance.now() > deadline) {
          const is = state?.sealed === true ? "sealed" : "not ready";
          throw new UserError("storage-not-ready", `Vault in pod "${pod.name}" is ${is} after ${readyMs / 1000} s`);
        }
        await pause(500, undefined, { signal: context.signal });
      }
    } finally {
      api.close();
    }
  }
}

/** Active, or a standby of one that is. */
async function isActive(api: VaultApi): Promise<boolean> {
  const leader = await api.call("GET", "sys/leader").catch(() => undefined);
  return field(leader, "is_self") === true || textOf(field(leader, "leader_address")) !== "";
}

async function unseal(api: VaultApi, keys: readonly string[]): Promise<void> {
  await api.call("POST", "sys/unseal", { reset: true });
  for (const key of keys) {
    const status = await api.call("POST", "sys/unseal", { key }).catch((error: unknown) => {
      if (!isOutcome(error, "storage-failed")) throw error;
      throw new UserError("credentials", "the unseal keys given are not those of the snapshot's Vault");
    });
    if (field(status, "sealed") === false) return;
  }
}
