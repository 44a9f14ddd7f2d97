/** A restore that is done once: by the record in the namespace, whatever became of who did it. */
import { beforeEach, expect, test } from "vitest";
import { UserError } from "../src/base/errors.ts";
import type { Cluster } from "../src/cluster/cluster.ts";
import { restoreOnce } from "../src/once.ts";
import { readRestore, recordRestore, restoreKey } from "../src/record.ts";
import type { RestoreOutcome } from "../src/restore.ts";
import { type FakeObjects, fakeObjects } from "./fakes/objects.ts";
import { silentReporter } from "./fakes/reporter.ts";

const date = "12-02-2021-15-28-37";
const which = { date, sourceNamespace: "production-kaa", by: "pod-1" };
const key = restoreKey(date, "production-kaa");
const done: RestoreOutcome = { preview: {} as never, results: [], differences: [], failures: [] };
const { signal } = new AbortController();

let objects: FakeObjects;
let notes: string[];
let calls: number;
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
  return async (begin: (signal: AbortSignal) => Promise<void>) => {
    await begin(signal);
    calls += 1;
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
  const failure = { storage: "a", instance: "b", error: new UserError("storage-failed", "exit code 1") };
  await restoreOnce(
    which,
    scope(),
    working(() => ({ ...done, failures: [failure] })),
  );
  expect(await readRestore(scope(), key, signal)).toMatchObject({ state: "failed", outcome: "storage-failed" });
});

test("one that was begun and never told its end is done again, and that is said", async () => {
  const started = { state: "started", outcome: "ok", by: "pod-0", at: new Date(0) } as const;
  await recordRestore(scope(), key, started, signal);
  expect(await restoreOnce(which, scope(), working())).toBe(done);
  expect(notes).toEqual([
    "this restore was begun by pod-0 at 1970-01-01T00:00:00.000Z, and never told its end: it is done again",
  ]);
});

test("when another run restores it while this one waits for the lock, nothing is done", async () => {
  const late = async (begin: (signal: AbortSignal) => Promise<void>) => {
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
