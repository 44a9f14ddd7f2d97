/** Restores of toy storages: which instance goes where, and what a restore that is told to stop says. */
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { digestOf } from "../src/base/bytes.ts";
import type { Cluster, Pod } from "../src/cluster/cluster.ts";
import type { Driver } from "../src/drivers/driver.ts";
import type { Scope } from "../src/storages.ts";
import { mariadbPlan, scopeOf } from "./fakes/scope.ts";
import { heldLock, podNamed } from "./fakes/script-cluster.ts";
import { directoryUnderTest } from "./stores/places.ts";

const stopping = new AbortController();

/** Two storages in one namespace: the first is restored at once, in the second the restore waits to be stopped. */
function toy(storage: string, restore: Driver["restore"]): Driver {
  return {
    storage,
    title: storage,
    canUseDirectory: true,
    credentialVariables: [],
    selectors: [{ app: storage }],
    inspect: async () => ({ serverVersion: "1", estimatedBytes: 1, contents: [], warnings: [] }),
    async dump(_instance, output) {
      const bytes = Buffer.from(storage);
      await output.stream("data", {
        encoding: "identity",
        bytes: (async function* () {
          yield bytes;
        })(),
        finish: async () => ({ plain: digestOf(bytes), stored: digestOf(bytes), by: "protocol" }),
      });
      return { counts: {}, warnings: [], facts: {} };
    },
    plan: async () => ({ drops: [], creates: [], keeps: [], warnings: [], obstacles: [] }),
    restore,
  };
}

const quick = toy("quick", async () => ({ counts: {}, warnings: [] }));
const slow = toy("slow", async (_instance, _backup, { signal }) => {
  const { UserError } = await import("../src/base/errors.ts"); // the class that the freshly loaded restore() knows
  setTimeout(() => stopping.abort(new UserError("interrupted", "stopped by Ctrl-C")), 20);
  await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  throw new Error("not reached");
});
const broken = toy("broken", async () => {
  const { UserError } = await import("../src/base/errors.ts");
  throw new UserError("stream-lost", "the connection was lost");
});
const uncounted: Driver = {
  ...toy("uncounted", async () => ({
    counts: undefined,
    warnings: ["the token works no longer: nothing was counted"],
  })),
  async dump(instance, output, context) {
    return { ...(await quick.dump(instance, output, context)), counts: { secrets: 3 } };
  },
};
const toys: Readonly<Record<string, Driver>> = { quick, slow, broken, uncounted };

beforeEach(() => {
  vi.resetModules();
  vi.doMock("../src/drivers/registry.ts", async (original) => ({
    ...(await original<typeof import("../src/drivers/registry.ts")>()),
    isDriverName: (name: string) => name in toys,
    loadDriver: async (name: string) => toys[name],
  }));
});
afterEach(() => {
  vi.doUnmock("../src/drivers/registry.ts");
  vi.resetModules();
});

function scopeWithPods(pods: readonly Pod[], signal: AbortSignal): Scope {
  const part: Partial<Cluster> = {
    checkNamespace: async () => {},
    listPods: async () => pods,
    version: async () => "v1.34.4",
    lock: async () => heldLock,
  };
  return scopeOf(part, signal);
}

/** Backs up a namespace with these instances of the storage `quick` and restores it into one with those. */
async function restored(from: readonly string[], to: readonly string[], release: string) {
  const { backup } = await import("../src/backup.ts");
  const { restore } = await import("../src/restore.ts");
  const place = await directoryUnderTest();
  const scopeWith = (names: readonly string[], instance: string) =>
    scopeWithPods(
      names.map((owner) => ({
        ...podNamed(`${owner}-0`, { app: "quick", "app.kubernetes.io/instance": instance }),
        owner,
      })),
      new AbortController().signal,
    );
  const storages = ["quick"] as never; // the registry's type cannot know it
  try {
    const made = await backup({ ...mariadbPlan, storages }, scopeWith(from, "kaa"), place.store);
    const request = { sourceNamespace: "kaa", storages, named: true, dryRun: false, confirm: async () => {} };
    const outcome = await restore({ ...request, date: made.manifest.name }, scopeWith(to, release), place.store);
    return outcome.preview.instances.map(({ entry, target }) => `${entry.instance} -> ${target.name}`);
  } finally {
    await place.dispose();
  }
}

test("several instances of a storage each go to their own, also where the release is another", async () => {
  expect(await restored(["kaa-a", "kaa-b"], ["kaa-a", "kaa-b"], "kaa")).toEqual(["kaa-a -> kaa-a", "kaa-b -> kaa-b"]);
  const elsewhere = await restored(["kaa-a", "kaa-b"], ["stage-a", "stage-b", "stage-c"], "stage");
  expect(elsewhere).toEqual(["kaa-a -> stage-a", "kaa-b -> stage-b"]);
});

test("it never puts two instances into one, and never guesses where one is meant", async () => {
  await expect(restored(["a", "kaa-a"], ["kaa-a"], "kaa")).rejects.toMatchObject({
    outcome: "storage-not-ready",
    message: '"a" and "kaa-a" would both be restored to quick "kaa-a"',
  });
  await expect(restored(["kaa-a", "kaa-b"], ["stage-x"], "stage")).rejects.toMatchObject({
    outcome: "storage-not-ready",
    message: 'which quick is "kaa-a" to be restored to? There are stage-x',
  });
});

test("what could not be counted after a restore is not said to be gone", async () => {
  const { backup } = await import("../src/backup.ts");
  const { restore } = await import("../src/restore.ts");
  const place = await directoryUnderTest();
  onTestFinished(() => place.dispose());
  const pod = { ...podNamed("uncounted-0", { app: "uncounted" }), owner: "uncounted" };
  const scope = scopeWithPods([pod], new AbortController().signal);
  const storages = ["uncounted"] as never; // the registry's type cannot know it
  const made = await backup({ ...mariadbPlan, storages }, scope, place.store);
  const request = { sourceNamespace: "kaa", storages, named: true, dryRun: false, confirm: async () => {} };
  const outcome = await restore({ ...request, date: made.manifest.name }, scope, place.store);
  expect(outcome).toMatchObject({
    results: [{ counts: undefined, warnings: [expect.stringContaining("nothing was counted")] }],
    failures: [],
  });
  expect(outcome.differences).toEqual([]);
});

test("a storage whose driver does not say how far it came is to be restored again", async () => {
  const { backup } = await import("../src/backup.ts");
  const { restore } = await import("../src/restore.ts");
  const place = await directoryUnderTest();
  const scope = scopeWithPods(
    [{ ...podNamed("broken-0", { app: "broken" }), owner: "broken" }],
    AbortSignal.timeout(9_000),
  );
  const storages = ["broken"] as never; // the registry's type cannot know it
  try {
    const made = await backup({ ...mariadbPlan, storages }, scope, place.store);
    const request = { sourceNamespace: "kaa", storages, named: true, dryRun: false, confirm: async () => {} };
    const { failures } = await restore({ ...request, date: made.manifest.name }, scope, place.store);
    const effect = "its data may be incomplete until the restore is repeated";
    expect(failures).toMatchObject([{ storage: "broken", error: { outcome: "stream-lost", effect } }]);
  } finally {
    await place.dispose();
  }
});

test("stopped in the middle, it names what is whole and what must be restored again", async () => {
  const { backup } = await import("../src/backup.ts");
  const { restore } = await import("../src/restore.ts");
  const place = await directoryUnderTest();
  const pods = ["quick", "slow"].map((app) => ({ ...podNamed(`${app}-0`, { app }), owner: app }));
  const scope = scopeWithPods(pods, stopping.signal);
  const storages = ["quick", "slow"] as never; // the registry's type cannot know them
  try {
    const made = await backup({ ...mariadbPlan, storages }, scope, place.store);
    const request = { sourceNamespace: "kaa", storages, named: true, dryRun: false, confirm: async () => {} };
    const stopped = restore({ ...request, date: made.manifest.name }, scope, place.store);
    await expect(stopped).rejects.toMatchObject({
      outcome: "interrupted",
      message: "stopped by Ctrl-C",
      effect:
        'in namespace "kaa" these are partly restored and must be restored again: slow/slow; restored: quick/quick',
    });
  } finally {
    await place.dispose();
  }
});
