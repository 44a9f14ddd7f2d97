/** `prune`: shows which snapshots the rules keep and which they do not; with --yes, removes the latter. */
import { outcomes } from "../base/errors.ts";
import { type Decision, type PruneOutcome, prune } from "../prune.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { isPrunedWell, keepFlags, retentionOf, warnOfUnjudged } from "./keep.ts";
import type { Session } from "./main.ts";
import { clusterOf } from "./options.ts";
import { printerFor, type Shown } from "./output.ts";
import { removingFrom, removingGroups, removingOutcomes } from "./removing.ts";
import { statusText } from "./stored.ts";
import { ageText, sizeText, tableText } from "./text.ts";

const spec = {
  command: "prune",
  describe: "Remove the snapshots that no rule keeps; without --yes only show them",
  details: `At least one rule must be given. Rules look at complete snapshots, for each instance of a storage by itself. Whatever they say, the newest
complete snapshot of each stays, and so does what cannot be read. docs/keeping.md has every rule.`,
  groups: { "Keep, of complete snapshots and for each storage": keepFlags, ...removingGroups },
  examples: [
    ["prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12 -n production-kaa", "shows what would stay and go"],
    ["prune --keep-last 3 -n production-kaa --yes", "removes all but the newest three"],
    ["prune --keep-within 14d --local --dir /var/backup -n production-kaa", "shows what is older than two weeks"],
  ],
  outcomes: removingOutcomes,
} as const satisfies CommandSpec;

type PruneFlags = ParsedOf<typeof spec>;

export const pruneCommand = defineCommand(spec, pruneSnapshots);

async function pruneSnapshots(session: Session, parsed: PruneFlags): Promise<number> {
  const { io, reporter } = session;
  const retention = retentionOf(parsed);
  const print = await printerFor(io, parsed.output);
  const { scope, store } = await removingFrom(session, parsed);
  // Of a directory, too: it may hold snapshots of several namespaces, and each has its own newest.
  const namespace = scope.namespace ?? (await clusterOf(parsed, io)).defaultNamespace;
  const dryRun = parsed.yes !== true;
  const outcome = await prune({ retention, dryRun }, { ...scope, namespace }, store);
  print(shownPrune(outcome, { dryRun, location: store.location, namespace }));
  warnOfUnjudged(outcome, reporter);
  const doomed = outcome.decisions.filter(({ reasons }) => reasons.length === 0).length;
  if (dryRun && doomed > 0) reporter.note(`nothing was removed; --yes removes ${doomed}`);
  return outcomes[isPrunedWell(outcome) ? "ok" : "attention"].code;
}

/** What stays and why, and what goes. */
export function shownPrune(
  { decisions, removals }: PruneOutcome,
  { dryRun, location, namespace }: { readonly dryRun: boolean; readonly location: string; readonly namespace: string },
): Shown {
  const now = new Date();
  const removalOf = new Map(removals.map((each) => [each.snapshot, each]));
  const goes = ({ snapshot, reasons }: Decision) =>
    dryRun ? reasons.length === 0 : removalOf.get(snapshot)?.removed === true;
  const fate = (each: Decision) => {
    if (each.reasons.length > 0) return `keep: ${each.reasons.join(", ")}`;
    if (dryRun) return "REMOVE";
    return goes(each) ? "removed" : "NOT removed";
  };
  const rows = decisions.map((each) => [
    each.snapshot.name,
    each.snapshot.manifest === undefined ? "Unreadable" : statusText(each.snapshot),
    sizeText(each.snapshot.sizeBytes),
    ageText(each.snapshot.startedAt, now),
    fate(each),
  ]);
  return {
    document: {
      location,
      namespace,
      dryRun,
      snapshots: decisions.map(({ snapshot, reasons }) => ({
        name: snapshot.name,
        fileName: snapshot.fileName,
        startedAt: snapshot.startedAt,
        sizeBytes: snapshot.sizeBytes,
        partial: snapshot.partial,
        keep: reasons.length > 0,
        reasons,
        removed: removalOf.get(snapshot)?.removed === true,
        problems: removalOf.get(snapshot)?.problems ?? [],
      })),
    },
    names: decisions.filter(goes).map(({ snapshot }) => snapshot.name),
    table: () => (rows.length === 0 ? "" : tableText([["NAME", "STATUS", "SIZE", "AGE", "WHAT"], ...rows])),
  };
}
