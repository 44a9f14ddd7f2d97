/** `restore`: flags -> request -> restore(), with the plan shown and the question asked in between. */
import { createInterface } from "node:readline/promises";
import type { CommandModule } from "yargs";
import { outcomes, UserError } from "../base/errors.ts";
import { listSnapshots } from "../catalog.ts";
import { type RestoreOutcome, type RestorePreview, restore } from "../restore.ts";
import { summaryOf, taskName } from "../storages.ts";
import type { Session } from "./main.ts";
import {
  clusterFlags,
  clusterOf,
  type Flags,
  outputFlags,
  scopeOf,
  storageFlags,
  storagesOf,
  storeFlags,
  storeOf,
  withFlags,
} from "./options.ts";
import { printable, tableText } from "./text.ts";

const flags = {
  date: { type: "string", describe: "The snapshot: DD-MM-YYYY-hh-mm-ss, UTC" },
  yes: { type: "boolean", alias: "y", describe: "Do not ask" },
  "dry-run": { type: "boolean", describe: "Prove the snapshot and show the plan, change nothing" },
} as const;

type RestoreFlags = Flags<
  typeof flags & typeof clusterFlags & typeof storeFlags & typeof storageFlags & typeof outputFlags
>;

export function restoreCommand(session: Session): CommandModule<object, RestoreFlags> {
  return {
    command: "restore",
    describe: "Make storages hold exactly what a snapshot holds",
    builder: (yargs) =>
      withFlags(
        withFlags(
          withFlags(withFlags(yargs.options(flags), "What", storageFlags), "Where from", storeFlags),
          "Cluster",
          clusterFlags,
        ),
        "Output",
        outputFlags,
      ),
    handler: (parsed) => session.run(parsed, () => restoreSnapshot(session, parsed)),
  };
}

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
  const chosen = await storagesOf(parsed, parsed.local === true, reporter);
  const cluster = await clusterOf(parsed, io);
  const sourceNamespace = parsed["source-namespace"] ?? cluster.defaultNamespace;
  const scope = await scopeOf(session, cluster, parsed, { sourceNamespace });
  const store = await storeOf(parsed, sourceNamespace, io, reporter);
  if (parsed.date === undefined) {
    const newest = (await listSnapshots(store, io.signal)).slice(0, 5).map((each) => each.name);
    throw new UserError("usage", "which snapshot? --date is missing", {
      hints: [`the newest: ${newest.join(", ") || "there are none"}`],
    });
  }
  const confirm = async (preview: RestorePreview) => {
    reporter.stop();
    io.stderr.write(previewText(preview, cluster.contextName));
    if (parsed.yes !== true) await ask(session, preview.namespace);
  };
  const outcome = await restore({ date: parsed.date, sourceNamespace, ...chosen, dryRun, confirm }, scope, store);
  return report(session, parsed, outcome, cluster.contextName);
}

/** The question that cannot be answered by accident. */
async function ask(session: Session, namespace: string): Promise<void> {
  const { io } = session;
  const lines = createInterface({ input: io.stdin, output: io.stderr });
  try {
    const typed = await lines.question(`Type the namespace (${namespace}) to restore it: `, { signal: io.signal });
    if (typed.trim() === namespace) return;
  } catch (error) {
    io.signal.throwIfAborted();
    throw new UserError("interrupted", "not confirmed", { effect: "nothing was changed", cause: error });
  } finally {
    lines.close();
  }
  throw new UserError("refused", "not confirmed: that is not the namespace", { effect: "nothing was changed" });
}

function previewText({ fileName, manifest, namespace, instances }: RestorePreview, contextName: string): string {
  const lines = [
    `restore ${fileName} (namespace ${manifest.namespace}) into namespace ${namespace}, context ${contextName}`,
  ];
  for (const { target, plan } of instances) {
    lines.push(`  ${taskName(target)}`);
    const item = (verb: string, names: readonly string[]) => {
      if (names.length > 0) lines.push(`    ${verb}: ${names.join(", ")}`);
    };
    item("drops", plan.drops);
    item("creates", plan.creates);
    item("keeps", plan.keeps);
    item("warnings", plan.warnings);
    item("OBSTACLES", plan.obstacles);
  }
  return `${printable(lines.join("\n"))}\n`;
}

function report(session: Session, parsed: RestoreFlags, outcome: RestoreOutcome, contextName: string): number {
  const { preview, results, differences, failures } = outcome;
  const dryRun = parsed["dry-run"] === true;
  if (parsed.output === "json") {
    const plans = preview.instances.map(({ entry, target, plan }) => ({
      storage: entry.storage,
      from: entry.instance,
      to: target.name,
      ...plan,
    }));
    const failed = failures.map(({ storage, instance, error }) => ({
      storage,
      instance,
      outcome: error.outcome,
      reason: error.message,
    }));
    session.print({
      schema: 1,
      fileName: preview.fileName,
      namespace: preview.namespace,
      dryRun,
      plans,
      results,
      differences,
      failures: failed,
    });
  } else if (dryRun) session.printText(previewText(preview, contextName));
  else {
    const rows = results.map(({ task, counts }) => [task, summaryOf(counts)]);
    session.printText(tableText([["RESTORED", "COUNTS"], ...rows]));
  }
  for (const { task, unit, expected, actual } of differences) {
    session.reporter.warning(`${task}: the snapshot recorded ${expected} ${unit}, now there are ${actual ?? "none"}`);
  }
  const [first] = failures;
  if (first !== undefined) {
    const others =
      results.length === 0 ? "nothing else was restored" : `restored: ${results.map((each) => each.task).join(", ")}`;
    const { error } = first;
    const effect = error.effect === undefined ? others : `${error.effect}; ${others}`;
    throw new UserError(error.outcome, `${first.storage}/${first.instance}: ${error.message}`, {
      effect,
      hints: error.hints,
      cause: error.cause,
    });
  }
  const isClean = differences.length === 0 && results.every(({ warnings }) => warnings.length === 0);
  return isClean ? outcomes.ok.code : outcomes.attention.code;
}
