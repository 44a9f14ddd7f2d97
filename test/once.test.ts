/** A restore that is done once: by the record in the namespace, whatever became of who did it. */
import { beforeEach, expect, test } from "vitest";
import { UserError } from "../src/base/errors.ts";
import type { Cluster } from "../src/cluster/cluster.ts";
import { type OnceRequest, restoreOnce } from "../src/once.ts";
import { readRestore, recordRestore, restoreKey } from "../src/record.ts";
import type { RestoreOutcome } from "../src/restore.ts";
import { type FakeObjects, fakeObjects } from "./fakes/objects.ts";
import { silentReporter } from "./fakes/reporter.ts";

const date = "12-02-2021-15-28-37";
const held = ["mariadb", "mongodb", "postgresql"] as const;
const which: OnceRequest = { date, sourceNamespace: "production-kaa", storages: held, named: false, by: "pod-1" };
const only = (...storages: OnceRequest["storages"]): OnceRequest => ({ ...which, storages, named: true });
const key = restoreKey(date, "production-kaa");
/** The end of a restore of these, out of a snapshot that holds three. */
function ended(...storages: readonly string[]): RestoreOutcome {
  const instances = (storages.length === 0 ? held : storages).map((storage) => ({ entry: { storage } }));
  const preview = { manifest: { instances: held.map((storage) => ({ storage })) }, instances };
  return { preview: preview as never, results: [], differences: [], failures: [] };
}
const done = ended();
const failureOf = (storage: string) => ({
  ...{ storage, instance: "b" },
  error: new UserError("storage-failed", "exit code 1"),
});
const begun = { state: "started", outcome: "ok", by: "pod-0", storages: [] } as const;
const { signal } = new AbortController();

let objects: FakeObjects;
let notes: string[];
let calls: number;
/** The storages of the last restore. */
let touched: OnceRequest["storages"];
beforeEach(() => {
  objects = fakeObjects();
  notes = [];
  calls = 0;
});

function scope() {
  const reporter = { ...silentReporter, note: (message: string) => void notes.push(message) };
  return { cluster: { objects } as Partial<Cluster> as Cluster, namespace: "stage-kaa", reporter, signal };
}

/** A restore that takes its lock, begins, and ends like this. */
function working(end: () => RestoreOutcome = () => done) {
  return async (storages: OnceRequest["storages"], begin: (signal: AbortSignal) => Promise<void>) => {
    await begin(signal);
    calls += 1;
    touched = storages;
    return end();
  };
}

test("the second time nothing is done; another date or source is another restore", async () => {
  expect(await restoreOnce(which, scope(), working())).toBe(done);
  expect(await restoreOnce(which, scope(), working())).toMatchObject({ state: "restored", by: "pod-1" });
  expect(await restoreOnce({ ...which, date: `${date}.tar.gz` }, scope(), working())).toMatchObject({ by: "pod-1" });
  expect(calls).toBe(1);
  expect(await restoreOnce({ ...which, sourceNamespace: "stage-kaa" }, scope(), working())).toBe(done);
  expect(await restoreOnce({ ...which, date: "13-02-2021-15-28-37" }, scope(), working())).toBe(done);
  expect(calls).toBe(3);
});

test("one that failed is recorded as failed and done again", async () => {
  const fails = working(() => {
    throw new UserError("stream-lost", "connection lost");
  });
  await expect(restoreOnce(which, scope(), fails)).rejects.toMatchObject({ outcome: "stream-lost" });
  expect(await readRestore(scope(), key, signal)).toMatchObject({ state: "failed", outcome: "stream-lost" });
  expect(await restoreOnce(which, scope(), working())).toBe(done);
  expect(notes).toEqual([expect.stringMatching(/tried by pod-1 .* and failed \(stream-lost\): it is done again/)]);
});

test("one in which a storage failed has failed", async () => {
  await restoreOnce(
    which,
    scope(),
    working(() => ({ ...done, failures: [failureOf("mongodb")] })),
  );
  expect(await readRestore(scope(), key, signal)).toMatchObject({ state: "failed", outcome: "storage-failed" });
});

test("one that was begun and never told its end is done again, and that is said", async () => {
  await recordRestore(scope(), key, { ...begun, at: new Date() }, signal);
  expect(await restoreOnce(which, scope(), working())).toBe(done);
  expect(notes).toEqual([
    expect.stringMatching(/^this restore was begun by pod-0 at .*, and never told its end: it is done again$/),
  ]);
});

test.each(["started", "failed"] as const)("one that has %s a day ago is not done again by itself", async (state) => {
  const old = { ...begun, state, at: new Date(Date.now() - 25 * 3_600_000), storages: ["mariadb"] };
  await recordRestore(scope(), key, old, signal);
  const refused = await restoreOnce(which, scope(), working()).catch((error: unknown) => error);
  expect(refused).toMatchObject({
    outcome: "refused",
    message: expect.stringMatching(/by pod-0 at .*: over a day ago/),
  });
  expect(calls).toBe(0);
  // What it says to do has only the rest restored.
  const [, patch = ""] = /--type merge -p '(.*)'$/.exec((refused as UserError).hints[0] ?? "") ?? [];
  const place = { namespace: "stage-kaa", name: "kaa-backup-restores" };
  await objects.patch("configmaps", place, JSON.parse(patch), signal);
  expect(await restoreOnce(which, scope(), working())).toBe(done);
  expect(touched).toEqual(["mongodb", "postgresql"]);
});

test("a storage that was not tried may be restored however long ago another failed", async () => {
  const old = { ...begun, state: "failed", at: new Date(0), tried: ["mariadb"] } as const;
  await recordRestore(scope(), key, old, signal);
  await expect(restoreOnce(only("mariadb", "mongodb"), scope(), working())).rejects.toMatchObject({
    outcome: "refused",
  });
  expect(await restoring(only("mongodb"))).toBe(1);
});

test("what another run has restored between plan and lock is not restored once more", async () => {
  const late = async (_storages: OnceRequest["storages"], begin: (signal: AbortSignal) => Promise<void>) => {
    await recordRestore(scope(), key, { ...begun, state: "failed", at: new Date(), storages: ["mariadb"] }, signal);
    await begin(signal);
    return done;
  };
  await expect(restoreOnce(which, scope(), late)).rejects.toMatchObject({ outcome: "busy" });
  expect(await readRestore(scope(), key, signal)).toMatchObject({ state: "failed", storages: ["mariadb"] });
});

/** Restores these, and tells which restores were done. */
async function restoring(request: OnceRequest, end = () => ended(...(request.named ? request.storages : []))) {
  const from = calls;
  await restoreOnce(request, scope(), working(end)).catch(() => {});
  return calls - from;
}

test("storages that were not restored are, when they are asked for later; those that were are not again", async () => {
  expect(await restoring(only("postgresql"))).toBe(1);
  expect(await restoring(only("postgresql"))).toBe(0);
  expect(await restoring(which)).toBe(1);
  expect(touched).toEqual(["mariadb", "mongodb"]);
  expect(notes).toEqual([
    expect.stringMatching(/^of this snapshot only postgresql was restored, lastly by pod-1 at .*: what is missing/),
  ]);
  expect(await restoring(which)).toBe(0);
  expect(await restoring(only("mariadb"))).toBe(0);
});

test("storages that were restored one after the other are all, when the snapshot holds no more", async () => {
  expect(await restoring(only("postgresql", "mariadb"))).toBe(1);
  expect(await readRestore(scope(), key, signal)).toMatchObject({ storages: ["mariadb", "postgresql"] });
  expect(await restoring(only("mongodb"))).toBe(1);
  expect(await readRestore(scope(), key, signal)).toMatchObject({ storages: "all" });
  expect(await restoring(which)).toBe(0);
});

test("a restore of one storage that fails leaves the others restored, and itself to be done again", async () => {
  const fails = () => {
    throw new UserError("stream-lost", "connection lost");
  };
  await restoring(only("postgresql", "mariadb"));
  expect(await restoring(only("mariadb", "mongodb"), fails)).toBe(1);
  expect(await restoring(only("postgresql", "mariadb"))).toBe(0);
  expect(await restoring(only("mariadb", "mongodb"))).toBe(1);
  expect(touched).toEqual(["mongodb"]);
});

test("of a restore in which one storage failed the others are restored", async () => {
  await restoring(which, () => ({ ...done, failures: [failureOf("mongodb")] }));
  expect(await readRestore(scope(), key, signal)).toMatchObject({ storages: ["mariadb", "postgresql"] });
  expect(await restoring(only("postgresql"))).toBe(0);
  expect(await restoring(which, () => ended("mongodb"))).toBe(1);
  expect(touched).toEqual(["mongodb"]);
  expect(notes).toEqual([expect.stringContaining("all but mariadb, postgresql is done again")]);
  expect(await restoring(which)).toBe(0);
});

test("all that can be restored is all: a storage that is left out unasked does not make it be done again", async () => {
  expect(await restoring(which, () => ended("mariadb", "postgresql"))).toBe(1);
  expect(await restoring(which)).toBe(0);
});

test("a record of before storages were recorded is of all of them", async () => {
  const value = { state: "restored", outcome: "ok", by: "pod-0", at: new Date(0).toISOString() };
  const place = { namespace: "stage-kaa", name: "kaa-backup-restores" };
  const body = { metadata: place, data: { [key]: JSON.stringify(value) } };
  await objects.create("configmaps", "stage-kaa", body, signal);
  expect(await restoring(which)).toBe(0);
  expect(await restoring(only("mongodb"))).toBe(0);
  await objects.patch(
    "configmaps",
    place,
    { data: { [key]: JSON.stringify({ ...value, state: "failed", at: new Date().toISOString() }) } },
    signal,
  );
  expect(await restoring(only("mongodb"))).toBe(1);
});

test("when another run restores it while this one waits for the lock, nothing is done", async () => {
  const late = async (_storages: OnceRequest["storages"], begin: (signal: AbortSignal) => Promise<void>) => {
    await restoreOnce({ ...which, by: "pod-2" }, scope(), working());
    await begin(signal);
    throw new Error("not reached");
  };
  expect(await restoreOnce(which, scope(), late)).toMatchObject({ state: "restored", by: "pod-2" });
  expect(calls).toBe(1);
});

test("one that failed before it began records nothing: it may be the loser of two", async () => {
  const busy = async () => {
    throw new UserError("busy", "locked");
  };
  await expect(restoreOnce(which, scope(), busy)).rejects.toMatchObject({ outcome: "busy" });
  expect(objects.kept.size).toBe(0);
});

test("an account that may not record it changes nothing", async () => {
  objects.forbidden.add("patch configmaps");
  await expect(restoreOnce(which, scope(), working())).rejects.toMatchObject({ outcome: "forbidden" });
  expect(calls).toBe(0);
});

test("an end that cannot be recorded is an error that says so", async () => {
  const lastMoment = working(() => {
    objects.forbidden.add("patch configmaps");
    return done;
  });
  await expect(restoreOnce(which, scope(), lastMoment)).rejects.toMatchObject({
    outcome: "forbidden",
    effect: "the restore has ended, but that could not be recorded: the next run restores again",
  });
});
