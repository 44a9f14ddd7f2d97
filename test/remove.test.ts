/** Removing snapshots of which a driver keeps a part outside the file, and pruning a store that does not do as it is told. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { UserError } from "../src/base/errors.ts";
import type { Described } from "../src/catalog.ts";
import type { Cluster } from "../src/cluster/cluster.ts";
import type { Context, Driver, Instance } from "../src/drivers/driver.ts";
import type { PruneScope } from "../src/prune.ts";
import type { RemoveScope } from "../src/remove.ts";
import type { Retention } from "../src/retention.ts";
import type { Store } from "../src/stores/store.ts";
import { podNamed } from "./fakes/script-cluster.ts";
import { daily, snapshotAt, type Wanted, writeTo } from "./snapshots.ts";
import { directoryUnderTest } from "./stores/places.ts";

const newest = new Date("2026-11-24T03:00:00Z");
const namesOf = (count: number) =>
  daily(count, newest).map((date) =>
    date.toISOString().replace(/^(....)-(..)-(..)T(..):(..):(..).*$/, "$3-$2-$1-$4-$5-$6"),
  );

let place: Awaited<ReturnType<typeof directoryUnderTest>>;
let discards: {
  readonly instance: string;
  readonly facts: unknown;
  readonly name: string;
  readonly listed: string[];
}[];
let onDiscard: (instance: Instance, context: Context) => Promise<void>;
let running: readonly string[];
let isLocked: boolean;
let isLost: boolean;
const held: string[] = [];
const warnings: string[] = [];

const outer = {
  storage: "outer",
  title: "Outer",
  selectors: [{ app: "outer" }],
  credentialVariables: [],
  async discard(instance: Instance, facts: unknown, context: Context) {
    const listed: string[] = [];
    for await (const { fileName } of place.store.list(context.signal)) listed.push(fileName);
    discards.push({ instance: instance.name, facts, name: context.snapshotName, listed });
    await onDiscard(instance, context);
  },
} as Partial<Driver> as Driver;

beforeEach(async () => {
  place = await directoryUnderTest();
  discards = [];
  onDiscard = async () => {};
  running = ["outer-es"];
  isLocked = false;
  isLost = false;
  held.length = 0;
  warnings.length = 0;
  vi.resetModules();
  vi.doMock("../src/drivers/registry.ts", () => ({
    driverNames: ["outer"],
    isDriverName: (name: string) => name === "outer",
    loadDriver: async () => outer,
  }));
});
afterEach(async () => {
  vi.doUnmock("../src/drivers/registry.ts");
  vi.resetModules();
  await place.dispose();
});

function scopeOf(signal = new AbortController().signal): PruneScope & RemoveScope {
  const nothing = () => {};
  const reporter = {
    planned: nothing,
    detail: nothing,
    started: nothing,
    progressBytes: nothing,
    finished: nothing,
    failed: nothing,
    note: nothing,
    warning: (message: string) => void warnings.push(message),
  };
  const cluster: Partial<Cluster> = {
    checkNamespace: async () => {},
    listPods: async () => running.map((owner) => ({ ...podNamed(`${owner}-0`, { app: "outer" }), owner })),
    async lock(_namespace, purpose) {
      const { UserError: Loaded } = await import("../src/base/errors.ts"); // the class that the freshly loaded code knows
      if (isLocked) throw new Loaded("busy", "locked by somebody else");
      held.push(purpose);
      return {
        lost: new AbortController().signal,
        abandoned: undefined,
        async confirm() {
          if (isLost) throw new Loaded("busy", "lost the lock");
        },
        release: async () => void held.push("released"),
      };
    },
  };
  const scope = {
    cluster: cluster as Cluster,
    namespace: "kaa",
    releasePrefix: "",
    environment: {},
    compression: "auto" as const,
    location: { region: "us-east-1", bucket: "b" },
    reporter,
    signal,
  };
  return { namespace: "kaa", cluster: scope, reporter, signal };
}

async function removing(dates: readonly string[], options: { scope?: RemoveScope; store?: Store } = {}) {
  const { remove } = await import("../src/remove.ts");
  const shown: (readonly Described[])[] = [];
  const work = remove(dates, options.scope ?? scopeOf(), options.store ?? place.store, async (snapshots) => {
    shown.push(snapshots);
  });
  return { removals: await work, shown };
}

async function pruning(retention: Partial<Retention>, options: { store?: Store; dryRun?: boolean } = {}) {
  const { prune } = await import("../src/prune.ts");
  const none = { last: 0, daily: 0, weekly: 0, monthly: 0, withinMs: 0 };
  const request = { retention: { ...none, ...retention }, dryRun: options.dryRun ?? false };
  return await prune(request, scopeOf(), options.store ?? place.store);
}

async function plant(count: number, wanted: Wanted = { holds: ["outer/outer-es"], facts: { kept: "outside" } }) {
  for (const date of daily(count, newest)) writeTo(place.path, await snapshotAt(date, wanted));
  return namesOf(count);
}

async function left(): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const { fileName } of place.store.list(new AbortController().signal)) names.push(fileName);
  return names.sort();
}

test("the file goes first, then what is outside it: nothing is ever listed of which a part is gone", async () => {
  const [first = "", second = ""] = await plant(2);
  const { removals, shown } = await removing([first]);
  expect(shown).toMatchObject([[{ name: first, manifest: { namespace: "kaa" } }]]);
  expect(discards).toEqual([
    { instance: "outer-es", facts: { kept: "outside" }, name: first, listed: [`${second}.tar.gz`] },
  ]);
  expect(removals).toMatchObject([{ removed: true, problems: [] }]);
  expect(held).toEqual(["delete", "released"]);
});

test("what cannot be discarded is told; the file is gone, and the others go as well", async () => {
  const names = await plant(3);
  onDiscard = async (_instance, { snapshotName }) => {
    if (snapshotName === names[0]) throw new Error("the engine is away");
  };
  const { removals } = await removing(names);
  expect(removals.map(({ removed, problems }) => [removed, problems.length])).toEqual([
    [true, 1],
    [true, 0],
    [true, 0],
  ]);
  expect(warnings).toEqual([`outer/outer-es: its part of ${names[0]} stays: the engine is away`]);
  expect(await left()).toEqual([]);
});

test("a part whose instance does not run here is told; one of the same storage and another name is left alone", async () => {
  const [name = ""] = await plant(1);
  running = ["other-es"];
  await removing([name]);
  expect(discards).toEqual([]);
  expect(warnings).toEqual([`outer/outer-es: its part of ${name} stays: it does not run in "kaa"`]);
});

test("of a damaged file every instance is asked, for nobody knows whose parts it had", async () => {
  const date = daily(1, newest)[0]!;
  const made = await snapshotAt(date);
  writeTo(place.path, { ...made, bytes: made.bytes.subarray(0, -30) });
  running = ["outer-es", "other-es"];
  const { shown } = await removing([made.manifest.name]);
  expect(shown).toMatchObject([[{ problem: { outcome: "invalid-snapshot" } }]]);
  expect(discards.map(({ instance, facts }) => [instance, facts])).toEqual([
    ["other-es", undefined],
    ["outer-es", undefined],
  ]);
});

test("told to stop between two, it stops, says what is gone, and lets go of the lock", async () => {
  const names = await plant(3);
  const stopping = new AbortController();
  const { UserError: Loaded } = await import("../src/base/errors.ts");
  onDiscard = async () => stopping.abort(new Loaded("interrupted", "stopped by Ctrl-C"));
  const stopped = removing(names, { scope: scopeOf(stopping.signal) });
  await expect(stopped).rejects.toMatchObject({ outcome: "interrupted", effect: `removed before: ${names[0]}` });
  expect(await left()).toEqual(names.slice(1).map((name) => `${name}.tar.gz`));
  expect(held).toEqual(["delete", "released"]);
});

test("a snapshot of another namespace is refused, and with it the whole command", async () => {
  const names = await plant(2);
  writeTo(place.path, await snapshotAt(new Date("2026-11-20T00:00:00Z"), { namespace: "stage" }));
  const refused = removing([names[0]!, "20-11-2026-00-00-00"]);
  await expect(refused).rejects.toMatchObject({
    outcome: "refused",
    effect: "nothing was removed",
    hints: ["if that is meant: -n stage"],
  });
  expect(await left()).toHaveLength(3);
});

test("nothing is removed while somebody else holds the namespace", async () => {
  const names = await plant(2);
  isLocked = true;
  await expect(removing(names)).rejects.toMatchObject({ outcome: "busy" });
  await expect(pruning({ last: 1 })).rejects.toMatchObject({ outcome: "busy" });
  expect(await left()).toHaveLength(2);
  expect((await pruning({ last: 1 }, { dryRun: true })).decisions).toHaveLength(2);
});

test("a lock that was lost in between ends it before the next file", async () => {
  const names = await plant(3);
  onDiscard = async () => {
    isLost = true;
  };
  await expect(removing(names)).rejects.toMatchObject({ outcome: "busy", effect: `removed before: ${names[0]}` });
  expect(await left()).toHaveLength(2);
});

/** The directory, with one call of it replaced. */
function storeWith(part: Partial<Store>): Store {
  return { ...place.store, ...part };
}

async function refusalOf(fileName: string): Promise<UserError> {
  const { UserError: Loaded } = await import("../src/base/errors.ts");
  return new Loaded("credentials", `cannot remove "${fileName}": access denied (object protected by object lock)`);
}

test("prune goes on past a snapshot that is locked, and reports it (S3-23)", async () => {
  const names = await plant(4);
  const locked = `${names[1]}.tar.gz`;
  const remove: Store["remove"] = async (fileName, signal) => {
    if (fileName === locked) throw await refusalOf(fileName);
    await place.store.remove(fileName, signal);
  };
  const { removals } = await pruning({ last: 1 }, { store: storeWith({ remove }) });
  expect(removals.map(({ snapshot, removed }) => [snapshot.name, removed])).toEqual([
    [names[0], true],
    [names[1], false],
    [names[2], true],
  ]);
  expect(await left()).toEqual([locked, `${names[3]}.tar.gz`]);
  expect(discards.map(({ name }) => name)).toEqual([names[0], names[2]]);
});

test("prune stops when the store fails, and a rerun ends where it would have (CC-06)", async () => {
  const names = await plant(6);
  for (const [survived, remaining] of [
    [0, 6],
    [1, 5],
    [2, 3],
  ]) {
    let calls = 0;
    const remove: Store["remove"] = async (fileName, signal) => {
      if (calls++ === survived) throw new Error("killed");
      await place.store.remove(fileName, signal);
    };
    await expect(pruning({ last: 2 }, { store: storeWith({ remove }) })).rejects.toThrow("killed");
    expect(await left()).toHaveLength(remaining!);
  }
  await pruning({ last: 2 });
  expect(await left()).toEqual(names.slice(-2).map((name) => `${name}.tar.gz`));
  expect((await pruning({ last: 2 })).removals).toEqual([]);
});

test.each([
  ["ahead of", 6],
  ["behind", -6],
])("prune refuses when the clock here is minutes %s the store's (CK-01)", async (word, minutes) => {
  await plant(3);
  const store = storeWith({ clockAheadMs: () => minutes * 60_000 });
  for (const dryRun of [true, false]) {
    await expect(pruning({ last: 1 }, { store, dryRun })).rejects.toMatchObject({
      outcome: "refused",
      message: expect.stringContaining(`6 minutes ${word}`),
      effect: "nothing was removed",
    });
  }
  expect(await left()).toHaveLength(3);
  await pruning({ last: 1 }, { store: storeWith({ clockAheadMs: () => 4 * 60_000 }) });
  expect(await left()).toHaveLength(1);
});

test("prune judges only what it can read, of this namespace, and of the past", async () => {
  await plant(2);
  const damaged = await snapshotAt(new Date("2020-01-01T00:00:00Z"));
  writeTo(place.path, { ...damaged, bytes: damaged.bytes.subarray(0, -30) });
  writeTo(place.path, await snapshotAt(new Date("2020-01-02T00:00:00Z"), { namespace: "stage" }));
  writeTo(place.path, await snapshotAt(new Date(Date.now() + 86_400_000 * 9), { holds: ["outer/outer-es"] }));
  const { decisions } = await pruning({ last: 1 });
  expect(decisions.map(({ reasons }) => reasons)).toEqual([
    ["future"],
    ["newest", "last"],
    [],
    ["foreign"],
    ["unreadable"],
  ]);
  expect(await left()).toHaveLength(4);
});

test("what is published after prune has begun stays, although it is the newest", async () => {
  const names = await plant(2);
  const list: Store["list"] = async function* (signal) {
    writeTo(place.path, await snapshotAt(new Date(Date.now() + 2000), { holds: ["outer/outer-es"] }));
    yield* place.store.list(signal);
  };
  const { decisions } = await pruning({ last: 1 }, { store: storeWith({ list }) });
  expect(decisions.map(({ reasons }) => reasons)).toEqual([["later"], ["newest", "last"], []]);
  expect(await left()).toContain(`${names[1]}.tar.gz`);
});
