/** Which snapshots stay: examples, and what must hold of any hundred thousand of them. */
import { describe, expect, test } from "vitest";
import { parseSnapshotName, snapshotName } from "../src/base/snapshot-name.ts";
import { type Candidate, decide, type Retention } from "../src/retention.ts";

const none: Retention = { last: 0, daily: 0, weekly: 0, monthly: 0, withinMs: 0 };
const now = new Date("2026-11-25T12:00:00Z");
const dayMs = 86_400_000;
const both = ["mariadb/a", "vault/b"];

function at(date: string, holds: readonly string[] = both, partial = false): Candidate {
  return { startedAt: new Date(date), partial, holds };
}

/** The dates that stay. */
function kept(snapshots: readonly Candidate[], retention: Partial<Retention>, when = now): readonly string[] {
  const reasons = decide(snapshots, { ...none, ...retention }, when);
  return snapshots
    .filter((_, index) => reasons[index]?.length !== 0)
    .map(({ startedAt }) => startedAt.toISOString().slice(0, 16).replace("T", " "));
}

describe("a rule", () => {
  test("of days keeps the newest of each day in UTC, and days without any do not count", () => {
    const snapshots = [
      at("2026-11-25T00:00:00Z"),
      at("2026-11-24T23:59:59Z"),
      at("2026-11-24T00:00:00Z"),
      at("2026-11-20T10:00:00Z"),
      at("2026-11-19T10:00:00Z"),
    ];
    expect(kept(snapshots, { daily: 3 })).toEqual(["2026-11-25 00:00", "2026-11-24 23:59", "2026-11-20 10:00"]);
  });

  test("of weeks goes by ISO weeks: Sunday night and Monday morning are two, 31 December and 1 January one", () => {
    const snapshots = [
      at("2026-11-23T00:00:00Z"), // Monday
      at("2026-11-22T23:59:59Z"), // Sunday
      at("2026-11-16T00:00:00Z"), // Monday of the same week
      at("2026-01-01T00:00:00Z"), // Thursday
      at("2025-12-31T00:00:00Z"), // Wednesday of the same week
    ];
    expect(kept(snapshots, { weekly: 9 })).toEqual(["2026-11-23 00:00", "2026-11-22 23:59", "2026-01-01 00:00"]);
  });

  test("of months keeps the newest of each, over the end of the year", () => {
    const snapshots = [at("2026-01-01T00:00:00Z"), at("2025-12-31T00:00:00Z"), at("2025-12-01T00:00:00Z")];
    expect(kept(snapshots, { monthly: 2 })).toEqual(["2026-01-01 00:00", "2025-12-31 00:00"]);
  });

  test("of a duration counts from the newest snapshot, so that nothing gets old when backups have stopped", () => {
    const snapshots = [at("2020-03-03T00:00:00Z"), at("2020-03-01T00:00:00Z"), at("2020-02-29T23:59:59Z")];
    expect(kept(snapshots, { withinMs: 2 * dayMs })).toEqual(["2020-03-03 00:00", "2020-03-01 00:00"]);
  });

  test("sorts by time, not by the text DD-MM-YYYY, whatever the order of the listing (CK-04)", () => {
    const snapshots = [at("2026-01-31T00:00:00Z"), at("2026-02-01T00:00:00Z"), at("2025-12-30T00:00:00Z")];
    expect(kept(snapshots, { last: 2 })).toEqual(["2026-01-31 00:00", "2026-02-01 00:00"]);
    expect(kept(snapshots.toReversed(), { last: 2 })).toEqual(["2026-02-01 00:00", "2026-01-31 00:00"]);
  });

  test("keeps for the sum of rules what any of them keeps, and says which", () => {
    const snapshots = [at("2026-11-25T00:00:00Z"), at("2026-11-24T00:00:00Z"), at("2026-10-31T00:00:00Z")];
    expect(decide(snapshots, { ...none, last: 1, daily: 2, monthly: 2 }, now)).toEqual([
      ["newest", "last", "daily", "monthly"],
      ["daily"],
      ["monthly"],
    ]);
  });
});

describe("each storage by itself", () => {
  test("a later snapshot of one storage does not push out the day's snapshot of all", () => {
    const snapshots = [at("2026-11-24T15:00:00Z", ["mariadb/a"]), at("2026-11-24T00:00:00Z")];
    expect(kept(snapshots, { daily: 1 })).toEqual(["2026-11-24 15:00", "2026-11-24 00:00"]);
  });

  test("the last complete snapshot of a storage stays, however old, and for each of its instances", () => {
    const snapshots = [
      at("2026-11-25T00:00:00Z", ["mariadb/a"]),
      at("2021-01-01T00:00:00Z", ["mariadb/a", "vault/b"]),
      at("2020-01-01T00:00:00Z", ["mariadb/a", "mariadb/old"]),
      at("2019-01-01T00:00:00Z", ["mariadb/a", "mariadb/old", "vault/b"]),
    ];
    expect(kept(snapshots, { last: 1 })).toEqual(["2026-11-25 00:00", "2021-01-01 00:00", "2020-01-01 00:00"]);
    expect(kept(snapshots, {})).toEqual(["2026-11-25 00:00", "2021-01-01 00:00", "2020-01-01 00:00"]);
  });
});

describe("a partial snapshot", () => {
  const complete = at("2026-11-24T00:00:00Z");

  test("takes nobody's place", () => {
    expect(kept([at("2026-11-25T00:00:00Z", ["vault/b"], true), complete], { last: 1 })).toEqual([
      "2026-11-25 00:00",
      "2026-11-24 00:00",
    ]);
  });

  test("goes when newer complete ones hold all that it holds, also when there are several of them", () => {
    const partial = at("2026-11-23T00:00:00Z", both, true);
    expect(kept([complete, partial], { last: 9, daily: 9 })).toEqual(["2026-11-24 00:00"]);
    const apart = [at("2026-11-25T00:00:00Z", ["mariadb/a"]), at("2026-11-24T00:00:00Z", ["vault/b"])];
    expect(kept([...apart, partial], { last: 1 })).toEqual(["2026-11-25 00:00", "2026-11-24 00:00"]);
  });

  test("stays while it is the newest that holds something", () => {
    const partial = at("2026-11-23T00:00:00Z", ["mariadb/a", "vault/c"], true);
    expect(kept([complete, partial], { last: 1 })).toEqual(["2026-11-24 00:00", "2026-11-23 00:00"]);
    expect(kept([at("2020-01-01T00:00:00Z", ["vault/c"]), partial], { last: 1 })).toHaveLength(2);
  });
});

test("a snapshot begun later than now stays and makes no other one old (CK-05)", () => {
  const snapshots = [
    at("2099-01-01T00:00:00Z"),
    at("2026-11-25T12:00:01Z"),
    at("2026-11-25T12:00:00Z"),
    at("2026-11-24T00:00:00Z"),
  ];
  expect(decide(snapshots, { ...none, last: 1 }, now)).toEqual([["later"], ["later"], ["newest", "last"], []]);
  const partial = at("2026-11-24T00:00:00Z", both, true);
  expect(kept([at("2099-01-01T00:00:00Z"), partial], { last: 1 })).toHaveLength(2);
});

/** The same numbers each time. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function many(count: number, seed: number): readonly Candidate[] {
  const next = random(seed);
  const tasks = ["influxdb/a", "mariadb/a", "mariadb/b", "vault/a"];
  const names = new Set<string>();
  while (names.size < count) names.add(snapshotName(new Date(now.getTime() - next() * 30 * 365 * dayMs + 30 * dayMs)));
  return Array.from(names, (name) => {
    const holds = tasks.filter(() => next() < 0.5);
    return {
      startedAt: parseSnapshotName(name)!,
      partial: next() < 0.1,
      holds: holds.length > 0 ? holds : [tasks[0]!],
    };
  });
}

describe.each([
  [100_000, 1],
  [50, 2],
  [50, 3],
  [3, 4],
])("of %i snapshots (seed %i)", (count, seed) => {
  const snapshots = many(count, seed);
  const next = random(seed + 100);
  const retention = { last: 5, daily: 7, weekly: 5, monthly: 12, withinMs: 3 * dayMs };
  const reasons = decide(snapshots, retention, now);
  const stays = snapshots.filter((_, index) => reasons[index]?.length !== 0);
  const past = snapshots.filter(({ startedAt }) => startedAt <= now);
  const tasks = [...new Set(snapshots.flatMap(({ holds }) => holds))];
  const completeOf = (list: readonly Candidate[], task: string) =>
    list
      .filter((each) => !each.partial && each.startedAt <= now && each.holds.includes(task))
      .sort((a, b) => b.startedAt.getTime() - a.startedAt.getTime());

  test("the newest five complete ones of each instance stay, and the newest of each of its newest seven days", () => {
    const staying = new Set(stays);
    for (const task of tasks) {
      const complete = completeOf(past, task);
      for (const each of complete.slice(0, 5)) expect(staying.has(each)).toBe(true);
      const days = Map.groupBy(complete, ({ startedAt }) => startedAt.toISOString().slice(0, 10));
      for (const [, [newest]] of [...days].slice(0, 7)) expect(staying.has(newest!)).toBe(true);
    }
  });

  test("no more stay than the rules have room for", () => {
    const counted = stays.filter((each) => !each.partial && each.startedAt <= now);
    const within = tasks.flatMap((task) => {
      const complete = completeOf(past, task);
      const since = (complete[0]?.startedAt.getTime() ?? 0) - retention.withinMs;
      return complete.filter(({ startedAt }) => startedAt.getTime() >= since);
    });
    expect(counted.length).toBeLessThanOrEqual(tasks.length * (1 + 5 + 7 + 5 + 12) + new Set(within).size);
  });

  test("the order of the listing decides nothing", () => {
    const shuffled = snapshots
      .map((each) => ({ each, by: next() }))
      .sort((a, b) => a.by - b.by)
      .map(({ each }) => each);
    const again = decide(shuffled, retention, now);
    expect(new Set(shuffled.filter((_, index) => again[index]?.length !== 0))).toEqual(new Set(stays));
  });

  test("killed after any number of removals, the next run ends where this one would have", () => {
    const goes = new Set(snapshots.filter((_, index) => reasons[index]?.length === 0));
    const left = snapshots.filter((each) => !goes.has(each) || next() < 0.5);
    const again = decide(left, retention, now);
    expect(new Set(left.filter((_, index) => again[index]?.length !== 0))).toEqual(new Set(stays));
  });

  test("a partial one goes only when a newer complete one holds each of its instances, and that one stays", () => {
    const newest = new Map(tasks.map((task) => [task, completeOf(stays, task)[0]?.startedAt]));
    const gone = snapshots.filter(({ partial }, index) => partial && reasons[index]?.length === 0);
    for (const each of gone) {
      for (const task of each.holds) expect(newest.get(task)! > each.startedAt).toBe(true);
    }
  });
});
