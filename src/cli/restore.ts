/** `restore`: flags -> request -> restore(), with the plan shown and the question asked in between. */
import { hostname } from "node:os";
import { outcomes, UserError } from "../base/errors.ts";
import { listSnapshots } from "../catalog.ts";
import { restoreOnce } from "../once.ts";
import type { RestoreRecord } from "../record.ts";
import { type RestoreOutcome, type RestorePreview, type RestoreRequest, refuseObstacles, restore } from "../restore.ts";
import { summaryOf, taskName } from "../storages.ts";
import type { Store } from "../stores/store.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { confirmByTyping } from "./confirm.ts";
import { clusterFlags, outputFlags, podOutcomes, storageFlags, storeFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import { wantsColor } from "./open-reporter.ts";
import { clusterOf, scopeOf, storagesOf, storeOf } from "./options.ts";
import { printerFor, type Shown } from "./output.ts";
import { eventsOf, reporterWithEvents, reportFlags, withRestoreEvents } from "./report.ts";
import { shownFailure } from "./storages.ts";
import { durationText, tableText } from "./text.ts";

const flags = {
  date: { type: "string", describe: "The snapshot: DD-MM-YYYY-hh-mm-ss, UTC (default: asked on a terminal)" },
  yes: { type: "boolean", alias: "y", describe: "Do not ask" },
  "dry-run": { type: "boolean", describe: "Prove the snapshot and show the plan, change nothing" },
  once: {
    type: "boolean",
    describe:
      "Do nothing if all that is asked for was restored here with --once before (ConfigMap kaa-backup-restores)",
  },
  report: { ...reportFlags.report, describe: "For Jobs: tell the end by Kubernetes Events" },
} as const;

const spec = {
  command: "restore",
  describe: "Make storages hold exactly what a snapshot holds",
  details: `Proves the whole snapshot first, shows what it will drop, create and keep, and asks for the namespace to be typed. What the storages hold is
replaced; the target's own administrator passwords stay. Without --date, on a terminal, it asks which snapshot and what of it.`,
  groups: {
    What: storageFlags,
    "Where from": storeFlags,
    Options: flags,
    Cluster: clusterFlags,
    Output: outputFlags,
  },
  examples: [
    ["restore -n production-kaa", "asks which snapshot"],
    ["restore --date 12-02-2021-15-28-37 -n production-kaa --dry-run", "proves it and shows the plan, changes nothing"],
    [
      "restore --date 12-02-2021-15-28-37 -n stage-kaa --source-namespace production-kaa",
      "a snapshot of production into stage",
    ],
  ],
  outcomes: [
    "attention",
    "invalid-snapshot",
    ...podOutcomes,
    "busy",
    "credentials",
    "object-store",
    "local-disk",
    "refused",
    "deadline",
    "leftovers",
  ],
} as const satisfies CommandSpec;

type RestoreFlags = ParsedOf<typeof spec>;

export const restoreCommand = defineCommand(spec, restoreSnapshot);

/** Restores what the flags say, after the question unless `yes`. */
export async function restoreSnapshot(session: Session, parsed: RestoreFlags): Promise<number> {
  const { io, reporter } = session;
  const dryRun = parsed["dry-run"] === true;
  if (!dryRun && parsed.yes !== true && !io.isInteractive) {
    throw new UserError("refused", "a restore must be confirmed, and there is no terminal to ask", {
      effect: "nothing was changed",
      hints: ["say --yes to restore without being asked, or --dry-run to see the plan"],
    });
  }
  if (dryRun && parsed.once === true) throw new UserError("usage", "--dry-run and --once exclude each other");
  const print = await printerFor(io, parsed.output);
  const chosen = await storagesOf(parsed, parsed.local === true, reporter);
  const cluster = await clusterOf(parsed, io, reporter);
  const sourceNamespace = parsed["source-namespace"] ?? cluster.defaultNamespace;
  const events = await eventsOf(session, cluster, parsed);
  const told = {
    ...session,
    reporter: parsed.report === true ? reporterWithEvents(reporter, events, "Restore") : reporter,
  };
  const scope = await scopeOf(told, cluster, parsed, { sourceNamespace });
  const store = await storeOf(parsed, sourceNamespace, io, reporter);
  const { date, ...what } =
    parsed.date === undefined ? await pick(session, parsed, chosen, store) : { ...chosen, date: parsed.date };
  const confirm = async (preview: RestorePreview) => {
    reporter.stop();
    reporter.say(previewText(preview, cluster.contextName));
    if (parsed.yes === true) return;
    await confirmByTyping(io, [preview.namespace], {
      question: (namespace) => `Type the namespace (${namespace}) to restore it: `,
      effect: "nothing was changed",
    });
  };
  const request = { date, sourceNamespace, ...what, dryRun, confirm };
  if (!dryRun) session.leaves("what it had begun to restore is incomplete until it is restored again");
  return await withRestoreEvents(session, events, `${date} of namespace ${sourceNamespace}`, async () => {
    const outcome =
      parsed.once === true
        ? await restoreOnce({ ...request, by: hostname() }, scope, (storages, begin) =>
            restore({ ...request, storages, begin }, scope, store),
          )
        : await restore(request, scope, store);
    reporter.stop();
    if ("state" in outcome) {
      print(shownRecord(outcome, request));
      return { code: outcomes.ok.code, end: "was restored before" };
    }
    print(shownRestore(outcome, { dryRun, contextName: cluster.contextName }));
    if (dryRun) refuseObstacles(outcome.preview);
    const code = conclude(session, outcome);
    return { code, end: code === outcomes.ok.code ? "restored" : "restored, but something needs a look" };
  });
}

/** `--once`, and it was done before. */
function shownRecord({ state, at, by }: RestoreRecord, { date }: { readonly date: string }): Shown {
  // The last try may have been of other storages.
  const what =
    state === "restored"
      ? `${date} was restored by ${by} at ${at.toISOString()}`
      : `that of ${date} was restored before`;
  return {
    document: { date, alreadyRestored: true, at, by },
    names: [],
    table: () => `${what}: nothing to do\n`,
  };
}

interface Picked {
  readonly date: string;
  readonly storages: RestoreRequest["storages"];
  readonly named: boolean;
}

/** Which snapshot, when no flag says so: asked on a terminal. Storages are asked for, too, unless flags name them. */
async function pick(
  session: Session,
  parsed: RestoreFlags,
  chosen: Omit<Picked, "date">,
  store: Store,
): Promise<Picked> {
  const { io } = session;
  const entries = await listSnapshots(store, io.signal);
  if (!io.isInteractive || !io.isAnimated || parsed.yes === true) {
    const newest = entries.slice(0, 5).map((each) => each.name);
    throw new UserError("usage", "which snapshot? --date is missing", {
      hints: [`the newest: ${newest.join(", ") || "there are none"}`],
    });
  }
  if (entries.length === 0) throw new UserError("not-found", `there are no snapshots in ${store.location}`);
  // A date means its complete snapshot, if there is one: the partial one beside it cannot be chosen.
  const complete = new Set(entries.filter((each) => !each.partial).map((each) => each.name));
  const choices = entries.filter((each) => !each.partial || !complete.has(each.name));
  const { Picker } = await import("./picker.ts");
  const picker = new Picker(io, { color: wantsColor(parsed.color, io) });
  try {
    const { name, manifest } = await picker.snapshot(choices, store);
    if (chosen.named || parsed.all === true) return { date: name, ...chosen };
    const storages = await picker.storages(manifest, chosen.storages);
    const isAll = manifest.instances.every(({ storage }) => storages.some((each) => each === storage));
    return isAll ? { date: name, ...chosen } : { date: name, storages, named: true };
  } finally {
    picker.close();
  }
}

function previewText({ fileName, manifest, namespace, instances }: RestorePreview, contextName: string): string {
  const lines = [
    `restore ${fileName} (namespace ${manifest.namespace}) into namespace ${namespace}, context ${contextName}`,
  ];
  for (const { target, plan, estimatedMs } of instances) {
    lines.push(`  ${taskName(target)} (about ${durationText(estimatedMs)}, as long as its dump took)`);
    const item = (verb: string, names: readonly string[]) => {
      if (names.length > 0) lines.push(`    ${verb}: ${names.join(", ")}`);
    };
    item("drops", plan.drops);
    item("creates", plan.creates);
    item("keeps", plan.keeps);
    item("warnings", plan.warnings);
    item("OBSTACLES", plan.obstacles);
  }
  return lines.join("\n");
}

/** The plan of a dry run, or what was restored. */
export function shownRestore(outcome: RestoreOutcome, from: { readonly dryRun: boolean; contextName: string }): Shown {
  const { preview, results, differences, failures } = outcome;
  return {
    document: {
      fileName: preview.fileName,
      namespace: preview.namespace,
      dryRun: from.dryRun,
      plans: preview.instances.map(({ entry, target, plan, estimatedMs }) => ({
        storage: entry.storage,
        from: entry.instance,
        to: target.name,
        estimatedMs,
        ...plan,
      })),
      results: results.map((each) => ({ ...each, counts: each.counts ?? {} })),
      differences,
      failures: failures.map(shownFailure),
    },
    names: from.dryRun ? preview.instances.map(({ target }) => taskName(target)) : results.map(({ task }) => task),
    table: () =>
      from.dryRun
        ? `${previewText(preview, from.contextName)}\n`
        : tableText([["RESTORED", "COUNTS"], ...results.map(({ task, counts }) => [task, summaryOf(counts)])]),
  };
}

/** What needs a look after a restore, as warnings, an error, or the exit code. */
function conclude(session: Session, { results, differences, failures }: RestoreOutcome): number {
  for (const { task, unit, expected, actual } of differences) {
    session.reporter.warning(`${task}: the snapshot recorded ${expected} ${unit}, now there are ${actual ?? "none"}`);
  }
  const [first] = failures;
  if (first !== undefined) {
    const others =
      results.length === 0 ? "nothing else was restored" : `restored: ${results.map((each) => each.task).join(", ")}`;
    const { error } = first;
    const own = error.effect ?? `${first.storage}/${first.instance} may be incomplete until its restore is repeated`;
    const effect = `${own}; ${others}`;
    throw new UserError(error.outcome, `${first.storage}/${first.instance}: ${error.message}`, {
      effect,
      hints: error.hints,
      cause: error.cause,
    });
  }
  const isClean = differences.length === 0 && results.every(({ warnings }) => warnings.length === 0);
  return isClean ? outcomes.ok.code : outcomes.attention.code;
}
