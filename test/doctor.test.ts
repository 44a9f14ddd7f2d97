/** Doctor ends in time, whatever hangs. What it prints is in test/cli/scripts/doctor.txt. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { UserError } from "../src/base/errors.ts";
import type { Cluster } from "../src/cluster/cluster.ts";
import { diagnose, firstFailure } from "../src/doctor.ts";
import type { Scope } from "../src/storages.ts";
import type { Store } from "../src/stores/store.ts";
import { fakeObjects } from "./fakes/objects.ts";

const never = () => new Promise<never>(() => {});
const examination = { storages: ["mariadb"], named: false, secrets: ["db"], limitMs: 200 } as const;

function scopeWith(cluster: Partial<Cluster>, signal = new AbortController().signal): Scope {
  const healthy: Partial<Cluster> = {
    server: "https://cluster",
    isVerified: true,
    version: async () => "v1.35.0",
    serverTime: async () => new Date(),
    checkNamespace: async () => {},
    checkLock: async () => {},
    isAllowed: async () => true,
    listPods: async () => [],
    objects: fakeObjects(),
  };
  const reporter = { warning: () => {}, note: () => {} };
  return {
    cluster: { ...healthy, ...cluster },
    namespace: "kaa",
    releasePrefix: "",
    reporter,
    signal,
  } as unknown as Scope;
}

const store = { location: "s3://b", check: async () => "absent" } as unknown as Store;
const hanging = { location: "s3://b", check: never } as unknown as Store;

async function statuses(scope: Scope, from: Store) {
  const checks = await diagnose(examination, scope, from);
  return Object.fromEntries(checks.map(({ name, status, error }) => [name, error?.outcome ?? status]));
}

test.each([
  ["the bucket", {}, hanging, { snapshots: "deadline", clock: "ok" }],
  ["the pods", { listPods: never }, store, { storages: "deadline", "right get pods": "ok" }],
  ["the rights", { isAllowed: never }, store, { "right get pods": "deadline", lock: "ok" }],
  ["the cluster", { version: never }, store, { cluster: "deadline", snapshots: "warning" }],
])("%s never answering costs its own check and the limit's time", async (_, cluster, from, expected) => {
  const startedAt = performance.now();
  expect(await statuses(scopeWith(cluster), from)).toMatchObject(expected);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

test("a clock that is six minutes off is a warning, five are none", async () => {
  const at = (minutes: number) => ({ serverTime: async () => new Date(Date.now() - minutes * 60_000) });
  expect(await statuses(scopeWith(at(6)), store)).toMatchObject({ clock: "warning" });
  expect(await statuses(scopeWith(at(-6)), store)).toMatchObject({ clock: "warning" });
  expect(await statuses(scopeWith(at(4.9)), store)).toMatchObject({ clock: "ok" });
});

test("a missing right is forbidden and names its rule; secrets are asked for by name", async () => {
  const isAllowed: Cluster["isAllowed"] = async (_namespace, { resource }) => resource !== "secrets";
  const checks = await diagnose(examination, scopeWith({ isAllowed }), store);
  expect(firstFailure(checks)).toMatchObject({
    outcome: "forbidden",
    hints: [
      'add to a Role in namespace "kaa": {apiGroups: [""], resources: ["secrets"], verbs: [get], resourceNames: ["db"]}',
    ],
  });
});

test("Ctrl-C is no sickness", async () => {
  const stop = new AbortController();
  const running = diagnose(examination, scopeWith({ isAllowed: never }, stop.signal), hanging);
  await sleep(20);
  stop.abort(new UserError("interrupted", "stopped by Ctrl-C"));
  await expect(running).rejects.toMatchObject({ outcome: "interrupted" });
});
