/** Which snapshots are kept: the flags of `prune` and `create`, and what is told of a pruning. */
import { UserError } from "../base/errors.ts";
import type { Reporter } from "../base/reporter.ts";
import type { Decision, PruneOutcome } from "../prune.ts";
import type { Retention } from "../retention.ts";
import type { Flags } from "./command.ts";
import { isClean } from "./removing.ts";

export const keepFlags = {
  "keep-last": { type: "number", describe: "The newest N" },
  "keep-daily": { type: "number", describe: "The newest of each of the last N days that have any" },
  "keep-weekly": { type: "number", describe: "The same for N weeks, Monday to Sunday" },
  "keep-monthly": { type: "number", describe: "The same for N months" },
  "keep-within": { type: "string", describe: "All that are not older than the newest by more: 36h, 14d, 8w" },
} as const;

type KeepFlags = Flags<typeof keepFlags>;

/** @throws UserError `usage` when nothing says what to keep: that would be everything but the last of each storage. */
export function retentionOf(parsed: KeepFlags): Retention {
  const count = (flag: "keep-last" | "keep-daily" | "keep-weekly" | "keep-monthly") => {
    const value = parsed[flag] ?? 0;
    if (!Number.isSafeInteger(value) || value < 0) throw new UserError("usage", `--${flag} is a number from 0`);
    return value;
  };
  const retention = {
    last: count("keep-last"),
    daily: count("keep-daily"),
    weekly: count("keep-weekly"),
    monthly: count("keep-monthly"),
    withinMs: withinMsOf(parsed["keep-within"]),
  };
  if (Object.values(retention).some((each) => each > 0)) return retention;
  throw new UserError("usage", "what is to be kept? At least one --keep-… must be more than 0", {
    hints: ["for example --keep-daily 7 --keep-weekly 5 --keep-monthly 12"],
  });
}

/** Undefined when no flag says anything: then all is kept.
 *  @throws as `retentionOf`. */
export function retentionIfGiven(parsed: KeepFlags): Retention | undefined {
  const isGiven = Object.keys(keepFlags).some((flag) => parsed[flag as keyof KeepFlags] !== undefined); // the table's own keys
  return isGiven ? retentionOf(parsed) : undefined;
}

const unitsMs: Readonly<Record<string, number>> = { h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 };

function withinMsOf(text: string | undefined): number {
  if (text === undefined) return 0;
  const [, count = "", unit = ""] = /^(\d{1,6})([hdw])$/.exec(text) ?? [];
  const unitMs = unitsMs[unit];
  if (unitMs === undefined)
    throw new UserError("usage", `"${text}" is no duration`, { hints: ["--keep-within takes 36h, 14d or 8w"] });
  return Number(count) * unitMs;
}

/** Warns of snapshots that stay because nobody can judge them. */
export function warnOfUnjudged({ decisions }: PruneOutcome, reporter: Reporter): void {
  for (const { snapshot, reasons } of decisions) {
    if (snapshot.problem !== undefined) reporter.warning(`kept, for it cannot be judged: ${snapshot.problem.message}`);
    if (reasons.includes("future"))
      reporter.warning(`kept: ${snapshot.name} is dated in the future: a clock was wrong, there or here`);
  }
}

/** True when all that was to go is gone, and all that stays could be judged. */
export function isPrunedWell({ decisions, removals }: PruneOutcome): boolean {
  return !decisions.some(isUnjudged) && isClean(removals);
}

/** What became of older snapshots after a backup, for those who read its document, its log, its Event or its record. */
export interface PrunedSummary {
  /** Names. */
  readonly removed: readonly string[];
  /** What needs a look; empty when nothing does. */
  readonly problems: readonly string[];
  readonly text: string;
}

export function summaryOfPruned(pruned: PruneOutcome | UserError): PrunedSummary {
  if (pruned instanceof UserError) {
    const { outcome, message, effect = "some may have been removed" } = pruned;
    const text = `older snapshots were not pruned: ${outcome}: ${message}; ${effect}`;
    return { removed: [], problems: [text], text };
  }
  const { decisions, removals } = pruned;
  const removed = removals.flatMap(({ removed, snapshot }) => (removed ? [snapshot.name] : []));
  const unjudged = decisions
    .filter(isUnjudged)
    .map(({ snapshot }) => `${snapshot.name} is kept, for it cannot be judged`);
  const problems = [...removals.flatMap((each) => each.problems), ...unjudged];
  const counts = `pruned: ${removed.length} of ${decisions.length} snapshots removed`;
  return { removed, problems, text: [counts, ...problems].join("; ") };
}

/** For whoever watches the run. What could not be removed was told when that was tried. */
export function tellPruned(pruned: PruneOutcome | UserError, reporter: Reporter): void {
  const { text, removed } = summaryOfPruned(pruned);
  if (pruned instanceof UserError) reporter.warning(text);
  else warnOfUnjudged(pruned, reporter);
  if (removed.length > 0) reporter.note(`pruned: ${removed.join(", ")}`);
}

function isUnjudged({ reasons }: Decision): boolean {
  return reasons.includes("unreadable") || reasons.includes("future");
}
