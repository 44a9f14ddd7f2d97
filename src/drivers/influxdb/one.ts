/** InfluxDB 1.x: influxd's portable backup, and beside it what that loses: users, grants, continuous queries. Restoring
 *  replaces every database. */
import { UserError } from "../../base/errors.ts";
import { runForText } from "../../cluster/cluster.ts";
import { dumpStream, feedStream, steadyCounts } from "../commands.ts";
import type { Backup, Context, DumpOutput, DumpResult, Inspection, RestorePlan, RestoreResult } from "../driver.ts";
import { InfluxApi, identifier } from "./api.ts";
import { requireWholeBackup } from "./backup.ts";
import type { Found, Generation } from "./generation.ts";
import { applyMetadata, countsOf, databaseNames, parseMetadata, readMetadata, shardsOf } from "./metadata.ts";
import * as scripts from "./scripts.ts";
import { requireTools, whileAlive } from "./tools.ts";

const streamName = "portable.tar";

export const one: Generation = { inspect, dump, plan, restore };

async function inspect(server: Found, context: Context): Promise<Inspection> {
  const api = await InfluxApi.of(server, context);
  const contents = await databaseNames(api);
  const estimatedBytes = await requireTools(server, context, scripts.inspectScript);
  return { serverVersion: server.version, estimatedBytes, contents, warnings: [] };
}

async function dump(server: Found, output: DumpOutput, context: Context): Promise<DumpResult> {
  const api = await InfluxApi.of(server, context);
  await requireTools(server, context, scripts.inspectScript);
  const before = await countsOf(api);
  const metadata = await readMetadata(api);
  const shards = await shardsOf(api);
  await whileAlive(server, context, (alive) =>
    dumpStream(alive, server.target, output, {
      name: streamName,
      command: { script: scripts.dumpScript, args: shards },
      check: requireWholeBackup,
    }),
  );
  const facts = JSON.parse(JSON.stringify(metadata)); // plain data
  return { ...steadyCounts(before, await countsOf(api)), facts };
}

async function plan(server: Found, backup: Backup, context: Context): Promise<RestorePlan> {
  const { version } = server;
  const api = await InfluxApi.of(server, context);
  await requireTools(server, context, scripts.inspectScript);
  const wanted = parseMetadata(backup.facts);
  const existing = await readMetadata(api);
  const minor = (text: string) => Number(text.split(".")[1] ?? 0);
  const userNames = existing.users.map((each) => each.name);
  // Databases are dropped before the backup is unpacked, so that what they take counts as free.
  const command = { script: scripts.roomScript, signal: context.signal };
  const roomKilobytes = Number(await runForText(context.cluster, server.target, command));
  const neededKilobytes = Math.ceil(backup.streams.reduce((sum, { plain }) => sum + plain.bytes, 0) / 1024);
  const isWanted = (name: string) => wanted.users.some((user) => user.name === name);
  const unknown = wanted.users.filter((user) => !userNames.includes(user.name)).map((user) => user.name);
  return {
    drops: [
      ...existing.databases.map(({ name }) => `database ${name}`),
      ...userNames.filter((name) => name !== api.administrator && !isWanted(name)).map((name) => `user ${name}`),
    ],
    creates: [...wanted.databases.map(({ name }) => `database ${name}`), ...unknown.map((name) => `user ${name}`)],
    keeps: [`the passwords of ${userNames.map((name) => `"${name}"`).join(", ") || "nobody"}`],
    warnings: [
      ...(backup.serverVersion === version ? [] : [`snapshot of ${backup.serverVersion}, target is ${version}`]),
      ...(unknown.length > 0 ? [`these users get random passwords: ${unknown.join(", ")}`] : []),
    ],
    obstacles: [
      ...(minor(backup.serverVersion) > minor(version) + 1
        ? [`the snapshot is of version ${backup.serverVersion}, much newer than the target's ${version}`]
        : []),
      ...(neededKilobytes > roomKilobytes
        ? [`its pod has room for ${roomKilobytes} kB, and unpacking the backup needs ${neededKilobytes} kB`]
        : []),
    ],
  };
}

async function restore(server: Found, backup: Backup, context: Context): Promise<RestoreResult> {
  const [stream] = backup.streams;
  if (stream?.name !== streamName || backup.streams.length !== 1)
    throw new UserError("invalid-snapshot", `the snapshot lacks influxdb's "${streamName}"`);
  const wanted = parseMetadata(backup.facts);
  const names = wanted.databases.map(({ name }) => name);
  const api = await InfluxApi.of(server, context);
  try {
    for (const name of await databaseNames(api)) await api.query(`DROP DATABASE ${identifier(name)}`);
    await whileAlive(server, context, (alive) =>
      feedStream(alive, server.target, stream, { script: scripts.restoreScript }),
    );
    // A database without points has no shards, and influxd leaves it out.
    for (const name of names) await api.query(`CREATE DATABASE ${identifier(name)}`);
    const warnings = await applyMetadata(api, wanted);
    return { counts: await countsOf(api), warnings };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const effect = "databases, users and grants may be incomplete until the restore is repeated";
    throw new UserError(error.outcome, error.message, { cause: error.cause, hints: error.hints, effect });
  }
}
