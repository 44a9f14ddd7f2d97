/** Vault's seal: what a pod tells of it without a token, and unsealing after a restore. */
import { setTimeout as pause } from "node:timers/promises";
import { isOutcome, UserError } from "../../base/errors.ts";
import type { Pod } from "../../cluster/cluster.ts";
import { field } from "../commands.ts";
import type { Context, Instance } from "../driver.ts";
import { VaultApi } from "./api.ts";

const readyMs = 90_000;
/** A server that takes the connection and says nothing must not keep the others waiting. */
const answerMs = 5_000;
/** For all keys, also over a slow connection. */
const keysMs = 30_000;
/** Vault answers before it begins to load the snapshot, and is sealed only then. */
const steadyMs = 2_000;
/** How long an active server waits for the others. */
const graceMs = 5_000;

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

const serving = ["is active", "is standby"];
const mayServe = ["is standby", "is sealed", "does not answer"];
const refusesKeys = "refuses the unseal keys";

/** Gives the keys to every pod that is sealed, again and again, until one is active and no other changes any more. A pod that
 *  is down keeps no other from being unsealed.
 *  @returns a warning that names the pods which do not serve.
 *  @throws UserError `credentials` for keys that are not this Vault's, `storage-not-ready` when the time is up. */
export async function unsealAll(
  instance: Instance,
  keys: readonly string[],
  context: Context,
): Promise<readonly string[]> {
  const deadline = performance.now() + readyMs;
  await pause(1000, undefined, { signal: context.signal }); // Vault answers before it begins to load the snapshot
  let before = "";
  for (let steadySince = performance.now(); ; ) {
    const looks = await Promise.all(
      instance.pods.map(async (pod) => ({ pod, state: await unsealOne(pod, keys, context) })),
    );
    const now = performance.now();
    const states = looks.map(({ state }) => state);
    if (states.join() !== before) steadySince = now;
    before = states.join();
    const steadyForMs = now - steadySince;
    if (states.includes("is active")) {
      const others = looks.filter(({ state }) => !serving.includes(state));
      if (steadyForMs > (others.length === 0 ? steadyMs : graceMs) || now > deadline)
        return others.length === 0
          ? []
          : [`not all of "${instance.name}" serve, and some may have to be unsealed: ${named(others)}`];
    } else if (
      steadyForMs > steadyMs &&
      states.includes(refusesKeys) &&
      !states.some((each) => mayServe.includes(each))
    ) {
      throw new UserError("credentials", "the unseal keys given are not those of the snapshot's Vault");
    } else if (now > deadline) {
      const after = `after ${readyMs / 1000} s`;
      throw new UserError(
        "storage-not-ready",
        `no pod of "${instance.name}" is an active Vault ${after}: ${named(looks)}`,
      );
    }
    await pause(500, undefined, { signal: context.signal });
  }
}

function named(looks: readonly { readonly pod: Pod; readonly state: string }[]): string {
  return looks.map(({ pod, state }) => `"${pod.name}" ${state}`).join(", ");
}

/** Gives the keys to a pod that is sealed. @returns its state, in words that follow its name. */
async function unsealOne(pod: Pod, keys: readonly string[], context: Context): Promise<string> {
  if (pod.phase !== "Running") return `is ${pod.phase}`;
  const limit = new AbortController();
  const limitTo = (ms: number) => setTimeout(() => limit.abort(), ms);
  let timer = limitTo(answerMs);
  const api = new VaultApi(pod, { ...context, signal: AbortSignal.any([context.signal, limit.signal]) });
  try {
    const { initialized, sealed } = await sealStatus(api);
    clearTimeout(timer);
    timer = limitTo(keysMs);
    if (!initialized) return "is not initialized";
    if (sealed) return keys.length > 0 && !(await takesKeys(api, keys)) ? refusesKeys : "is sealed";
    const leader = await api.call("GET", "sys/leader");
    return field(leader, "is_self") === false ? "is standby" : "is active";
  } catch (error) {
    context.signal.throwIfAborted();
    // It may be loading the snapshot, or its node may be down.
    const passing = ["stream-lost", "storage-not-ready", "storage-failed", "cluster", "not-found"] as const;
    if (limit.signal.aborted || isOutcome(error, ...passing)) return "does not answer";
    throw error;
  } finally {
    clearTimeout(timer);
    api.close();
  }
}

/** @returns false for keys that are not this Vault's. */
async function takesKeys(api: VaultApi, keys: readonly string[]): Promise<boolean> {
  await api.call("POST", "sys/unseal", { reset: true });
  for (const key of keys) {
    try {
      if (field(await api.call("POST", "sys/unseal", { key }), "sealed") === false) return true;
    } catch (error) {
      if (!isOutcome(error, "storage-failed")) throw error;
      return false;
    }
  }
  return true;
}
