/** InfluxDB 1.x: influxd's portable backup, and beside it what that loses: users, grants, continuous queries. Restoring
 *  replaces every database. docs/storages/influxdb.md has the details. */
import { setTimeout as pause } from "node:timers/promises";
import { UserError } from "../base/errors.ts";
import { runForText, type Target } from "../cluster/cluster.ts";
import { chooseTarget, dumpStream, feedStream } from "./commands.ts";
import type {
  Backup,
  Context,
  Driver,
  DumpOutput,
  DumpResult,
  Inspection,
  Instance,
  RestorePlan,
  RestoreResult,
} from "./driver.ts";
import { InfluxApi, identifier, passwordVariable, userVariable } from "./influxdb/api.ts";
import { requireWholeBackup } from "./influxdb/backup.ts";
import { applyMetadata, countsOf, databaseNames, parseMetadata, readMetadata } from "./influxdb/metadata.ts";
import * as scripts from "./influxdb/scripts.ts";

const streamName = "portable.tar";

const driver: Driver = {
  storage: "influxdb",
  title: "InfluxDB",
  canUseDirectory: true,
  credentialVariables: [userVariable, passwordVariable],
  selectors: [{ "app.kubernetes.io/name": "influxdb" }, { app: "influxdb" }],
  inspect,
  dump,
  plan,
  restore,
};
export default driver;

interface Server {
  readonly target: Target;
  readonly api: InfluxApi;
  readonly version: string;
}

async function withServer<T>(instance: Instance, context: Context, work: (server: Server) => Promise<T>): Promise<T> {
  const target = chooseTarget(instance, { variables: /^INFLUXDB_/, name: /influx/ });
  const api = await InfluxApi.connect(target, context);
  try {
    const version = await api.version();
    if (!version.startsWith("1.")) {
      throw new UserError(
        "storage-not-ready",
        `InfluxDB ${version || "of an unknown version"} is not supported, only 1.x`,
        {
          hints: ["its own tools can do it: influx backup, influx restore --full"],
        },
      );
    }
    return await work({ target, api, version });
  } finally {
    api.close();
  }
}

async function inspect(instance: Instance, context: Context): Promise<Inspection> {
  return await withServer(instance, context, async ({ target, api, version }) => {
    const contents = await databaseNames(api);
    const { kilobytes } = await toolsOf(target, context);
    return { serverVersion: version, estimatedBytes: kilobytes * 1024, contents, warnings: [] };
  });
}

/** @throws UserError `storage-not-ready` naming the tools that the container lacks. */
async function toolsOf(target: Target, context: Context): Promise<{ readonly kilobytes: number }> {
  const command = { script: scripts.inspectScript, signal: context.signal };
  const lines = (await runForText(context.cluster, target, command)).trim().split("\n");
  const missing = lines.filter((line) => !line.startsWith("kilobytes "));
  if (missing.length > 0) {
    const where = `container "${target.container}" of pod "${target.pod.name}"`;
    throw new UserError("storage-not-ready", `${where} lacks ${missing.join(", ")}`);
  }
  return { kilobytes: Number(/^kilobytes (\d+)$/m.exec(lines.join("\n"))?.[1] ?? 0) };
}

async function dump(instance: Instance, output: DumpOutput, context: Context): Promise<DumpResult> {
  return await withServer(instance, context, async ({ target, api }) => {
    await toolsOf(target, context);
    const before = await countsOf(api);
    const metadata = await readMetadata(api);
    await whileAlive(api, context, (alive) =>
      dumpStream(alive, target, output, {
        name: streamName,
        command: { script: scripts.dumpScript },
        check: requireWholeBackup,
      }),
    );
    const after = await countsOf(api);
    const steady = Object.entries(before).filter(([unit, count]) => after[unit] === count);
    const changed = Object.keys(before).filter((unit) => after[unit] !== before[unit]);
    return {
      counts: Object.fromEntries(steady),
      warnings: changed.length > 0 ? [`not counted, for they changed during the dump: ${changed.join(", ")}`] : [],
      facts: JSON.parse(JSON.stringify(metadata)), // plain data
    };
  });
}

const pingMs = 5000;
const deadAfter = 3;

/** influxd tries a dead server again for four minutes. This asks the server itself, and ends the work sooner. */
async function whileAlive<T>(api: InfluxApi, context: Context, work: (alive: Context) => Promise<T>): Promise<T> {
  const ended = new AbortController();
  const dead = new AbortController();
  const watch = async () => {
    for (let failures = 0; !ended.signal.aborted; ) {
      await pause(pingMs, undefined, { signal: ended.signal });
      const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(pingMs)]);
      failures = await api.version(signal).then(
        () => 0,
        () => failures + 1,
      );
      if (failures >= deadAfter) dead.abort(new UserError("storage-failed", "InfluxDB has stopped answering"));
    }
  };
  const watching = watch().catch(() => {}); // ends by `ended`
  try {
    return await work({ ...context, signal: AbortSignal.any([context.signal, dead.signal]) });
  } finally {
    ended.abort();
    await watching;
  }
}

async function plan(instance: Instance, backup: Backup, context: Context): Promise<RestorePlan> {
  return await withServer(instance, context, async ({ target, api, version }) => {
    await toolsOf(target, context);
    const wanted = parseMetadata(backup.facts);
    const existing = await readMetadata(api);
    const minor = (text: string) => Number(text.split(".")[1] ?? 0);
    const userNames = existing.users.map((each) => each.name);
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
      obstacles:
        minor(backup.serverVersion) > minor(version) + 1
          ? [`the snapshot is of version ${backup.serverVersion}, much newer than the target's ${version}`]
          : [],
    };
  });
}

async function restore(instance: Instance, backup: Backup, context: Context): Promise<RestoreResult> {
  const [stream] = backup.streams;
  if (stream?.name !== streamName || backup.streams.length !== 1)
    throw new UserError("invalid-snapshot", `the snapshot lacks influxdb's "${streamName}"`);
  const wanted = parseMetadata(backup.facts);
  const names = wanted.databases.map(({ name }) => name);
  return await withServer(instance, context, async ({ target, api }) => {
    try {
      for (const name of await databaseNames(api)) await api.query(`DROP DATABASE ${identifier(name)}`);
      await whileAlive(api, context, (alive) => feedStream(alive, target, stream, { script: scripts.restoreScript }));
      // A database without points has no shards, and influxd leaves it out.
      for (const name of names) await api.query(`CREATE DATABASE ${identifier(name)}`);
      const warnings = await applyMetadata(api, wanted);
      return { counts: await countsOf(api), warnings };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const effect = "databases, users and grants may be incomplete until the restore is repeated";
      throw new UserError(error.outcome, error.message, { cause: error.cause, hints: error.hints, effect });
    }
  });
}
