/** `doctor`: would a backup and a restore work? */
import { outcomes } from "../base/errors.ts";
import { type Check, diagnose, firstFailure } from "../doctor.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { clusterFlags, outputFlags, podOutcomes, someStorages, storageFlags, storeFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import { clusterOf, scopeOf, storagesOf, storeOf } from "./options.ts";
import { printerFor, type Shown } from "./output.ts";
import { tableText } from "./text.ts";

/** Leaves a second to print within ten. */
const limitMs = 9_000;

const spec = {
  command: "doctor",
  describe: "Try every right, tool, credential and permission that a backup needs, and change nothing",
  details: `Takes ten seconds at most. Each failure comes with its remedy, and the exit code is that of the first one: what comes first may be why the
rest is sick.`,
  groups: { What: storageFlags, "Where snapshots are": storeFlags, Cluster: clusterFlags, Output: outputFlags },
  examples: [
    ["doctor -n production-kaa", "before the first backup, and when one fails"],
    [`doctor -n production-kaa --storage ${someStorages}`, "these must be there and ready"],
    ["doctor -n production-kaa -o name", "only the names of what has failed, for scripts"],
  ],
  outcomes: [...podOutcomes, "credentials", "object-store", "local-disk", "deadline"],
} as const satisfies CommandSpec;

export const doctorCommand = defineCommand(spec, doctor);

async function doctor(session: Session, parsed: ParsedOf<typeof spec>): Promise<number> {
  const { io, reporter } = session;
  const print = await printerFor(io, parsed.output);
  const chosen = await storagesOf(parsed, parsed.local === true, reporter);
  const cluster = await clusterOf(parsed, io);
  const sourceNamespace = parsed["source-namespace"] ?? cluster.defaultNamespace;
  const scope = await scopeOf(session, cluster, parsed, { sourceNamespace });
  const store = await storeOf(parsed, sourceNamespace, io, reporter);
  const sources = Object.values(session.config().credentials);
  const secrets = sources.flatMap((source) => ("secret" in source ? [source.secret.name] : []));
  const checks = await diagnose({ ...chosen, secrets, limitMs }, scope, store);
  print(shownChecks(checks));
  return firstFailure(checks)?.exitCode ?? outcomes.ok.code;
}

function shownChecks(checks: readonly Check[]): Shown {
  const status = { ok: "ok", warning: "WARNING", failed: "FAILED", skipped: "-" };
  return {
    document: {
      checks: checks.map(({ error, ...check }) => ({
        ...check,
        ...(error !== undefined && { outcome: error.outcome }),
      })),
    },
    names: checks.filter((check) => check.status === "failed").map((check) => check.name),
    table: () => {
      const rows = checks.map((check) => [check.name, status[check.status], check.detail]);
      const sick = checks.filter((check) => check.status === "failed" || check.status === "warning");
      const remedies = sick.flatMap(({ name, remedies }) => remedies.map((remedy) => `${name}: ${remedy}\n`));
      return [
        tableText([["CHECK", "STATUS", "DETAIL"], ...rows]),
        ...(remedies.length > 0 ? ["\n"] : []),
        ...remedies,
      ].join("");
    },
  };
}
