/** Several runs at once (CC-01 to CC-11), each a whole run of the program: one outcome each, from the lock or from the store,
 *  and never a mixed state. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test as oneAfterAnother, vi } from "vitest";

import type { FaultAction } from "../fakes/s3-server.ts";

import { type Expected, expectInvariants } from "./invariants.ts";
import { leaseOf } from "./lease.ts";
import { start } from "./program.ts";
import { bucket, type Ended, Stage, type State } from "./stage.ts";

// Most of these wait for the next second, or for a process.
vi.setConfig({ maxConcurrency: 4 });
const test = oneAfterAnother.concurrent;

const pod = "function";
const prune = (stage: Stage) => ["prune", ...stage.cluster, "--keep-last", "1", "--yes"];

/** One has won and the other was refused; each by the invariants. */
async function expectOneWinner(stage: Stage, before: State, runs: readonly Ended[], expected: Expected): Promise<void> {
  const [winner, loser] = runs.toSorted((a, b) => a.code - b.code);
  if (winner === undefined || loser === undefined) throw new Error("two runs are needed");
  await expectInvariants(stage, before, winner, { ...expected, outcome: "ok" });
  await expectInvariants(stage, await stage.state(), loser, { ...expected, target: "untouched" });
}

/** Runs something when a run has come to a point, and waits for it before the run goes on. */
function meanwhile(stage: Stage, work: () => Promise<void>): FaultAction {
  let begun: Promise<void> | undefined;
  return async (run) => {
    begun ??= work();
    await begun;
    stage.s3.clearFaults();
    return run();
  };
}

describe("CC-01: two creates in the same second", () => {
  test("of one namespace: the lock decides", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const runs = await Promise.all([stage.create(), stage.create()]);
    await expectOneWinner(stage, before, runs, { command: "create", outcome: "busy" });
    expect((await stage.state()).objects.size).toBe(1);
  });

  test("of two namespaces into one bucket: the store decides, and the other's snapshot is not replaced", async () => {
    await using stage = await Stage.set({ pod });
    const [mariadb] = stage.api.pods;
    if (mariadb === undefined) throw new Error("no pod");
    stage.api.pods = [...stage.api.pods, { ...mariadb, namespace: "other" }];
    await stage.snapshot();
    const before = await stage.state();
    const to = ["--storage", "mariadb", "--bucket", bucket];
    const runs = await Promise.all([
      stage.run(["create", ...stage.cluster, ...to]),
      stage.run(["create", "--kubeconfig", stage.api.kubeconfig, "-n", "other", ...to]),
    ]);
    await expectOneWinner(stage, before, runs, { command: "create", outcome: "busy" });
    expect((await stage.state()).objects.size).toBe(before.objects.size + 1);
  });
});

test("CC-02: a create while another one dumps is refused, names it, and makes nothing", async () => {
  await using stage = await Stage.set({ pod });
  await stage.snapshot();
  const before = await stage.state();
  let second: Ended | undefined;
  stage.s3.fault({
    operation: "UploadPart",
    action: meanwhile(stage, async () => {
      second = await stage.run(["create", ...stage.cluster, "--storage", "mariadb", "--bucket", "another"]);
    }),
  });
  const first = await stage.create();
  expect(second?.stderr).toMatch(/is locked by \S+, process \d+ \(create \d\d-/);
  expect(stage.s3.buckets.all.has("another")).toBe(false);
  if (second === undefined) throw new Error("it did not run");
  await expectOneWinner(stage, before, [first, second], { command: "create", outcome: "busy" });
});

test.each(["bucket", "directory"])("CC-03: a schedule that starts two processes at once, into a %s", async (place) => {
  await using stage = await Stage.set({ pod });
  const before = await stage.state();
  const where = place === "bucket" ? [] : ["--local", "--dir", stage.directory];
  const { PATH = "" } = process.env;
  const begin = () =>
    start(["create", ...stage.cluster, "--storage", "mariadb", ...where], { env: { ...stage.environment(), PATH } });
  const runs = await Promise.all([begin().ended, begin().ended]);
  const ended = runs.map(({ code, stdout, stderr, durationMs }) => ({
    ...{ code: code ?? -1, stdout, stderr, tookMs: durationMs },
  }));
  // One may have ended before the other began.
  if (ended.every(({ code }) => code === 0)) return;
  await expectOneWinner(stage, before, ended, { command: "create", outcome: "busy" });
});

describe("CC-04: prune, and a restore that reads the snapshot", () => {
  test("while it is proved, prune may remove it: the restore stops before anything is changed", async () => {
    await using stage = await Stage.set({ pod, s3: { versions: false } });
    const date = await stage.snapshot();
    await stage.snapshot();
    const before = await stage.state();
    let pruned: Ended | undefined;
    stage.s3.fault({
      operation: "GetObject",
      nth: 2,
      action: meanwhile(stage, async () => {
        pruned = await stage.run(prune(stage));
      }),
    });
    const restored = await stage.restore(date);
    if (pruned === undefined) throw new Error("it did not run");
    await expectInvariants(stage, before, pruned, { command: "delete", outcome: "ok", deleted: [date] });
    const deleted = [date];
    await expectInvariants(stage, before, restored, { command: "restore", outcome: "object-store", deleted });
  });

  test("in a bucket with versions it is read to its end", async () => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    await stage.snapshot();
    const before = await stage.state();
    stage.s3.fault({
      operation: "GetObject",
      nth: 2,
      action: meanwhile(stage, async () => void (await stage.run(prune(stage)))),
    });
    const restored = await stage.restore(date);
    await expectInvariants(stage, before, restored, { command: "restore", outcome: "ok" });
  });

  test("while it is written to the target, prune is refused", async () => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    await stage.snapshot();
    const before = await stage.state();
    let pruned: Ended | undefined;
    const inRestore: FaultAction = async (run) => {
      if (leaseOf(stage.api).holder === "" || pruned !== undefined) return run();
      pruned = await stage.run(prune(stage));
      return run();
    };
    stage.s3.fault({ operation: "GetObject", times: Number.POSITIVE_INFINITY, action: inRestore });
    const restored = await stage.restore(date);
    if (pruned === undefined) throw new Error("it did not run");
    expect(pruned.stderr).toContain("(restore)");
    await expectInvariants(stage, before, restored, { command: "restore", outcome: "ok" });
    await expectInvariants(stage, await stage.state(), pruned, { command: "delete", outcome: "busy" });
  });
});

test("CC-05: prune while a create runs is refused, and the create ends well", async () => {
  await using stage = await Stage.set({ pod });
  await stage.snapshot();
  await stage.snapshot();
  const before = await stage.state();
  let pruned: Ended | undefined;
  const work = async () => {
    pruned = await stage.run(prune(stage));
  };
  stage.s3.fault({ operation: "UploadPart", action: meanwhile(stage, work) });
  const created = await stage.create();
  if (pruned === undefined) throw new Error("it did not run");
  await expectInvariants(stage, before, created, { command: "create", outcome: "ok" });
  await expectInvariants(stage, await stage.state(), pruned, { command: "delete", outcome: "busy" });
});

describe("CC-06: prunes", () => {
  test("two at once: one removes what no rule keeps, the other is refused or finds nothing to do", async () => {
    await using stage = await Stage.set({ pod, s3: { versions: false } });
    const [first, second] = [await stage.snapshot(), await stage.snapshot()];
    const kept = await stage.snapshot();
    const before = await stage.state();
    const runs = await Promise.all([stage.run(prune(stage)), stage.run(prune(stage))]);
    const deleted = [first, second];
    for (const ended of runs)
      await expectInvariants(stage, before, ended, { command: "delete", outcome: ["ok", "busy"], deleted });
    expect(runs.some(({ code }) => code === 0)).toBe(true);
    expect([...stage.s3.bucket(bucket).objects.keys()]).toEqual([`${kept}.tar.gz`]);
  });

  test("one that is killed on its way: the next one converges", async () => {
    await using stage = await Stage.set({ pod, s3: { versions: false } });
    const dates = [await stage.snapshot(), await stage.snapshot(), await stage.snapshot()];
    const before = await stage.state();
    const { PATH = "" } = process.env;
    const running = start(prune(stage), { env: { ...stage.environment(), PATH } });
    stage.s3.fault({
      operation: "DeleteObject",
      nth: 2,
      action: () => {
        running.child.kill("SIGKILL");
        return "reset";
      },
    });
    expect(await running.ended).toMatchObject({ code: null, signal: "SIGKILL" });
    expect(stage.s3.bucket(bucket).objects.size).toBe(2);
    const refused = await stage.run(prune(stage));
    stage.behave();
    expect(refused.stderr).toContain("the lock frees itself");
    leaseOf(stage.api).expire();
    const ended = await stage.run(prune(stage));
    const deleted = dates.slice(0, 2);
    await expectInvariants(stage, before, ended, { command: "delete", outcome: "ok", deleted });
    expect([...stage.s3.bucket(bucket).objects.keys()]).toEqual([`${dates[2]}.tar.gz`]);
  });
});

describe("CC-07: a restore", () => {
  test("while a create runs is refused, and touches nothing", async () => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    const before = await stage.state();
    let restored: Ended | undefined;
    const work = async () => {
      restored = await stage.restore(date);
    };
    stage.s3.fault({ operation: "UploadPart", action: meanwhile(stage, work) });
    const created = await stage.create();
    if (restored === undefined) throw new Error("it did not run");
    await expectInvariants(stage, before, created, { command: "create", outcome: "ok" });
    await expectInvariants(stage, await stage.state(), restored, { command: "restore", outcome: "busy" });
  });

  test("beside another restore: one is refused", async () => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    const before = await stage.state();
    const runs = await Promise.all([stage.restore(date), stage.restore(date)]);
    await expectOneWinner(stage, before, runs, { command: "restore", outcome: "busy" });
    expect(stage.database?.asked.filter((each) => each === "restore")).toHaveLength(1);
  });
});

describe("CC-08: the lock's holder", () => {
  test("is dead: when its lock has run out, the next run takes it over", async () => {
    await using stage = await Stage.set({ pod });
    await stage.snapshot();
    leaseOf(stage.api).giveTo("host-1, process 7");
    const before = await stage.state();
    const refused = await stage.create();
    expect(refused.stderr).toContain("locked by host-1, process 7");
    leaseOf(stage.api).expire();
    const ended = await stage.create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("is asleep: another run takes the lock over, and the late one publishes nothing", async () => {
    await using stage = await Stage.set({ pod });
    await stage.snapshot();
    const before = await stage.state();
    let second: Ended | undefined;
    const work = async () => {
      leaseOf(stage.api).expire();
      await sleep(1000); // the names of both must differ
      second = await stage.create();
    };
    stage.s3.fault({ operation: "UploadPart", action: meanwhile(stage, work) });
    const late = await stage.create();
    if (second === undefined) throw new Error("it did not run");
    expect(late.stderr).toContain("lost the lock");
    await expectOneWinner(stage, before, [second, late], { command: "create", outcome: "busy" });
    expect((await stage.state()).objects.size).toBe(before.objects.size + 1);
  });

  test("has a clock that is an hour behind: it is seen to renew its lock, and is respected", async () => {
    await using stage = await Stage.set({ pod });
    await stage.snapshot();
    const before = await stage.state();
    let second: Ended | undefined;
    const work = async () => {
      const lease = leaseOf(stage.api);
      lease.change({ ...lease.spec, renewTime: new Date(Date.now() - 3_600_000).toISOString() });
      second = await stage.create(); // looks for 25 s
    };
    stage.s3.fault({ operation: "UploadPart", action: meanwhile(stage, work) });
    const first = await stage.create();
    if (second === undefined) throw new Error("it did not run");
    expect(second.stderr).toContain("looking for 25 s whether it is renewed");
    await expectOneWinner(stage, before, [first, second], { command: "create", outcome: "busy" });
    expect((await stage.state()).objects.size).toBe(before.objects.size + 1);
  });

  test("has a clock that is an hour ahead: it is respected for that hour", async () => {
    await using stage = await Stage.set({ pod });
    await stage.snapshot();
    const before = await stage.state();
    const hence = new Date(Date.now() + 3_600_000).toISOString();
    leaseOf(stage.api).change({ holderIdentity: "host-1", leaseDurationSeconds: 60, renewTime: hence });
    const ended = await stage.create();
    expect(ended.stderr).toMatch(/frees itself in 36\d\d s/);
    leaseOf(stage.api).change({ holderIdentity: "" });
    await expectInvariants(stage, before, ended, { command: "create", outcome: "busy" });
  });
});

describe("CC-09: during a run somebody", () => {
  const harms: readonly (readonly [string, (stage: Stage) => void])[] = [
    ["deletes the lock", (stage) => leaseOf(stage.api).remove()],
    ["empties the lock", (stage) => leaseOf(stage.api).change({})],
    ["writes rubbish into the lock", (stage) => leaseOf(stage.api).change({ holderIdentity: 7, renewTime: "soon" })],
    ["gives the lock to another", (stage) => leaseOf(stage.api).giveTo("somebody")],
  ];

  test.each(harms)("%s: a create publishes nothing", async (_, harm) => {
    await using stage = await Stage.set({ pod });
    await stage.snapshot();
    const before = await stage.state();
    stage.s3.fault({ operation: "UploadPart", action: meanwhile(stage, async () => harm(stage)) });
    const ended = await stage.create();
    expect(ended.stderr).toContain("lost the lock");
    stage.api.leases.clear(); // what it says now is somebody else's matter
    await expectInvariants(stage, before, ended, { command: "create", outcome: "busy" });
  });

  test.each(harms)("%s: a prune removes nothing more", async (_, harm) => {
    await using stage = await Stage.set({ pod, s3: { versions: false } });
    const dates = [await stage.snapshot(), await stage.snapshot(), await stage.snapshot()];
    const before = await stage.state();
    stage.s3.fault({ operation: "DeleteObject", action: meanwhile(stage, async () => harm(stage)) });
    const ended = await stage.run(prune(stage));
    stage.api.leases.clear();
    const gone = dates.filter((date) => !stage.s3.bucket(bucket).objects.has(`${date}.tar.gz`));
    expect(gone).toHaveLength(1);
    expect(ended.stderr).toContain(`removed before: ${gone[0]}`);
    await expectInvariants(stage, before, ended, { command: "delete", outcome: "busy", deleted: gone });
  });
});

describe("CC-10: verify meets a snapshot that", () => {
  const at = async (how: "disappears" | "goes", operation: "HeadObject" | "GetObject", nth: number) => {
    await using stage = await Stage.set({ pod, s3: { versions: false } });
    const date = await stage.snapshot();
    const before = await stage.state();
    const remove = async () => stage.s3.bucket(bucket).delete(`${date}.tar.gz`, null);
    stage.s3.fault({ operation, nth, action: meanwhile(stage, remove) });
    const ended = await stage.run(["verify", date, ...stage.cluster]);
    const outcome = how === "disappears" ? "not-found" : "object-store";
    await expectInvariants(stage, before, ended, { command: "read", outcome, deleted: [date] });
  };

  test("disappears after it was listed: there is none", () => at("disappears", "HeadObject", 1));
  test("disappears while it is read: it cannot be read, and is not called damaged", () => at("goes", "GetObject", 2));

  test("has just been published: it is whole at once", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    let verified: Ended | undefined;
    stage.s3.fault({
      operation: "CompleteMultipartUpload",
      action: async (run, { key }) => {
        const done = run();
        verified = await stage.run(["verify", key, ...stage.cluster]);
        return done;
      },
    });
    const ended = await stage.create();
    if (verified === undefined) throw new Error("it did not run");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
    await expectInvariants(stage, await stage.state(), verified, { command: "read", outcome: "ok" });
  });
});

describe("CC-11: another version of this tool", () => {
  test("holds the lock in words of its own: it is respected", async () => {
    await using stage = await Stage.set({ pod });
    await stage.snapshot();
    const before = await stage.state();
    const now = new Date().toISOString();
    leaseOf(stage.api).change({ holderIdentity: "v9/run", leaseDurationSeconds: 90, renewTime: now, shards: [1] });
    const ended = await stage.create();
    leaseOf(stage.api).change({ holderIdentity: "" });
    await expectInvariants(stage, before, ended, { command: "create", outcome: "busy" });
  });

  test("has written the snapshot: a newer format is refused before anything is touched, and kept by prune", async () => {
    await using stage = await Stage.set({ pod });
    await stage.snapshot();
    const date = "12-02-2021-15-28-37";
    const newer = new URL(`../snapshot/golden/v1/bad/newer-format/${date}.tar.gz`, import.meta.url);
    stage.s3.bucket(bucket).plant(`${date}.tar.gz`, readFileSync(newer));
    const before = await stage.state();
    const verified = await stage.run(["verify", date, ...stage.cluster]);
    expect(verified.stderr).toContain("a newer version");
    await expectInvariants(stage, before, verified, { command: "read", outcome: "invalid-snapshot" });
    const restored = await stage.restore(date);
    await expectInvariants(stage, before, restored, { command: "restore", outcome: "invalid-snapshot" });
    const pruned = await stage.run(prune(stage));
    await expectInvariants(stage, before, pruned, { command: "delete", outcome: "attention" });
  });
});
