/** InfluxDB 2.x: `influx backup`, which asks the server for its key-value store, its SQL store and every shard. Restoring with
 *  `--full` replaces all of them, and so tokens and passwords too. Written by InfluxData's documentation and source of the
 *  command (influx-cli 2.7); tried with influxd 2.7.11 by hand, tested with a scripted server. */
import { UserError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json.ts";
import { dumpStream, feedStream, field, steadyCounts } from "../commands.ts";
import type { Backup, Context, DumpOutput, DumpResult, Inspection, RestorePlan, RestoreResult } from "../driver.ts";
import { requireWholeBackup } from "./backup.ts";
import type { Found, Generation } from "./generation.ts";
import * as scripts from "./scripts.ts";
import { requireTools, whileAlive } from "./tools.ts";
import { type Holdings, holdingsOf, tokenOf, tokenVariable } from "./two-api.ts";

const streamName = "full.tar";

export const two: Generation = { inspect, dump, plan, restore };

async function inspect(server: Found, context: Context): Promise<Inspection> {
  const { buckets } = await holdingsOf(server, await tokenOf(server, context), context.signal);
  const estimatedBytes = await requireTools(server, context, scripts.inspectTwoScript);
  return { serverVersion: server.version, estimatedBytes, contents: buckets, warnings: [] };
}

function countsOf({ organizations, buckets, users, tasks, dashboards }: Holdings): Readonly<Record<string, number>> {
  return { organizations: organizations.length, buckets: buckets.length, users: users.length, tasks, dashboards };
}

async function dump(server: Found, output: DumpOutput, context: Context): Promise<DumpResult> {
  await requireTools(server, context, scripts.inspectTwoScript);
  const token = await tokenOf(server, context);
  const before = await holdingsOf(server, token, context.signal);
  await whileAlive(server, context, (alive) =>
    dumpStream(alive, server.target, output, {
      name: streamName,
      command: { script: scripts.dumpTwoScript, args: [String(server.port)], secrets: { INFLUX_TOKEN: token } },
      check: requireWholeBackup,
    }),
  );
  const after = await holdingsOf(server, token, context.signal);
  const { buckets, users } = before;
  return { ...steadyCounts(countsOf(before), countsOf(after)), facts: { buckets, users } };
}

async function plan(server: Found, backup: Backup, context: Context): Promise<RestorePlan> {
  await requireTools(server, context, scripts.inspectTwoScript);
  const existing = await holdingsOf(server, await tokenOf(server, context), context.signal);
  const each = (names: readonly string[], kind: string) => names.map((name) => `${kind} ${name}`);
  const minor = (text: string) => Number(text.split(".")[1] ?? 0);
  const isNewer = minor(backup.serverVersion) > minor(server.version);
  return {
    drops: [...each(existing.buckets, "bucket"), ...each(existing.users, "user")],
    creates: [...each(textsIn(backup.facts, "buckets"), "bucket"), ...each(textsIn(backup.facts, "users"), "user")],
    keeps: [],
    warnings: [
      "tokens and passwords of the server will be those of the snapshot",
      ...(backup.serverVersion === server.version
        ? []
        : [`snapshot of ${backup.serverVersion}, target is ${server.version}`]),
    ],
    obstacles: isNewer
      ? [`the snapshot is of version ${backup.serverVersion}, newer than the target's ${server.version}`]
      : [],
  };
}

async function restore(server: Found, backup: Backup, context: Context): Promise<RestoreResult> {
  const [stream] = backup.streams;
  if (stream?.name !== streamName || backup.streams.length !== 1)
    throw new UserError("invalid-snapshot", `the snapshot lacks influxdb's "${streamName}"`);
  const token = await tokenOf(server, context);
  const command = { script: scripts.restoreTwoScript, args: [String(server.port)], secrets: { INFLUX_TOKEN: token } };
  try {
    await whileAlive(server, context, (alive) => feedStream(alive, server.target, stream, command));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const effect = "buckets, users and tokens may be incomplete until the restore is repeated";
    const hints = [...error.hints, `if the token is refused now, give the snapshot's in ${tokenVariable}`];
    throw new UserError(error.outcome, error.message, { cause: error.cause, hints, effect });
  }
  try {
    return { counts: countsOf(await holdingsOf(server, token, context.signal)), warnings: [] };
  } catch (error) {
    if (!(error instanceof UserError && error.outcome === "credentials")) throw error;
    const warning =
      "restored, but nothing was counted: the tokens are the snapshot's now, and the target's own is none of them. " +
      "Put the source's token into the target's Secret, or make a new one in the pod: influxd recovery auth create-operator";
    return { counts: undefined, warnings: [warning] };
  }
}

/** @throws UserError `invalid-snapshot`. */
function textsIn(facts: JsonValue, name: string): readonly string[] {
  const found = field(facts, name);
  if (Array.isArray(found) && found.every((each) => typeof each === "string")) return found;
  throw new UserError("invalid-snapshot", `influxdb's record in the manifest is damaged: its list of ${name}`);
}
