/** Which snapshots are kept: a function of dates and contents, and of nothing else.
 *
 *  Rules are applied to each instance of a storage by itself, over the complete snapshots that hold it; a snapshot stays as
 *  long as any of its instances needs it. So an extra snapshot of one database never stands for the nightly one of
 *  everything, and the last complete snapshot of a storage stays whatever the rules say (docs/decisions/0011). */

/** How many are kept; 0: the rule keeps none. */
export interface Retention {
  readonly last: number;
  /** The newest of each of so many days, ISO weeks and months (UTC) that have any. */
  readonly daily: number;
  readonly weekly: number;
  readonly monthly: number;
  /** All that are not older than the newest by more than this. Not by the clock: when backups have stopped, none gets old. */
  readonly withinMs: number;
}

export interface Candidate {
  readonly startedAt: Date;
  readonly partial: boolean;
  /** What it holds, each named as in "postgresql/kaa-postgresql". */
  readonly holds: readonly string[];
}

/** Why a snapshot stays. */
export type Reason = "newest" | "last" | "daily" | "weekly" | "monthly" | "within" | "partial" | "later";

const dayMs = 86_400_000;

const periods: readonly (readonly [rule: "last" | "daily" | "weekly" | "monthly", period: (date: Date) => number])[] = [
  ["last", (date) => date.getTime()],
  ["daily", (date) => Math.floor(date.getTime() / dayMs)],
  // 1 January 1970 was a Thursday, and ISO weeks begin on Mondays.
  ["weekly", (date) => Math.floor((date.getTime() / dayMs + 3) / 7)],
  ["monthly", (date) => date.getUTCFullYear() * 12 + date.getUTCMonth()],
];

/** The reasons for which each snapshot stays, in the order given; none: it goes.
 *  @param now snapshots begun later stay, and play no part: they make no other one old. */
export function decide(
  snapshots: readonly Candidate[],
  retention: Retention,
  now: Date,
): readonly (readonly Reason[])[] {
  const reasons = new Map<Candidate, Set<Reason>>(snapshots.map((each) => [each, new Set()]));
  const keep = (snapshot: Candidate, reason: Reason) => reasons.get(snapshot)?.add(reason);
  const past = snapshots.filter(({ startedAt }) => startedAt <= now);
  for (const each of snapshots) if (each.startedAt > now) keep(each, "later");

  const newestOf = new Map<string, Date>();
  for (const [task, complete] of byTask(past.filter(({ partial }) => !partial))) {
    const [newest] = complete;
    if (newest === undefined) continue;
    newestOf.set(task, newest.startedAt);
    keep(newest, "newest");
    for (const [rule, period] of periods) {
      for (const each of newestOfEach(complete, period, retention[rule])) keep(each, rule);
    }
    const oldestMs = newest.startedAt.getTime() - retention.withinMs;
    if (retention.withinMs > 0)
      for (const each of complete) if (each.startedAt.getTime() >= oldestMs) keep(each, "within");
  }
  // A partial snapshot stays while it is the newest word on anything that it holds. It never stands for a complete one.
  for (const each of past.filter(({ partial }) => partial)) {
    const isNeeded = each.holds.some((task) => {
      const newest = newestOf.get(task);
      return newest === undefined || newest <= each.startedAt;
    });
    if (isNeeded) keep(each, "partial");
  }
  return snapshots.map((each) => [...(reasons.get(each) ?? [])]);
}

/** For each instance of a storage the snapshots that hold it, newest first. */
function byTask(snapshots: readonly Candidate[]): ReadonlyMap<string, readonly Candidate[]> {
  const sorted = snapshots.toSorted((a, b) => b.startedAt.getTime() - a.startedAt.getTime());
  const holding = new Map<string, Candidate[]>();
  for (const each of sorted) {
    for (const task of new Set(each.holds)) {
      const others = holding.get(task);
      if (others === undefined) holding.set(task, [each]);
      else others.push(each);
    }
  }
  return holding;
}

/** The newest of each period, of at most `count` periods. */
function newestOfEach(
  newestFirst: readonly Candidate[],
  period: (date: Date) => number,
  count: number,
): readonly Candidate[] {
  const newest = new Map<number, Candidate>();
  for (const each of newestFirst) {
    const key = period(each.startedAt);
    if (newest.has(key)) continue;
    if (newest.size === count) break;
    newest.set(key, each);
  }
  return [...newest.values()];
}
