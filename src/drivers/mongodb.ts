/** MongoDB: mongodump's archive, with the oplog of the time it took when there is one (for recovery by hand); users and
 *  roles apart. Restoring replaces every database, user and role; the administrator stays. docs/storages/mongodb.md. */
import { digestOf } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import { runForText } from "../cluster/cluster.ts";
import { dumpStream, feedStream, field, lacking, outputEncoding, readSmall, reword, steadyCounts } from "./commands.ts";
import type {
  Backup,
  BackupStream,
  Context,
  Driver,
  DumpOutput,
  DumpResult,
  Inspection,
  Instance,
  RestorePlan,
  RestoreResult,
} from "./driver.ts";
import { applyAccounts, decodeAccounts, encodeAccounts, ownAccount, readAccounts } from "./mongodb/accounts.ts";
import * as scripts from "./mongodb/scripts.ts";
import {
  dropDatabases,
  holdingsOf,
  passwordVariable,
  type Server,
  userVariable,
  withPrimary,
} from "./mongodb/server.ts";
import { CommandError } from "./mongodb/wire.ts";

const archiveName = "archive";
const accountsName = "accounts.bson";

const driver: Driver = {
  storage: "mongodb",
  title: "MongoDB",
  canUseDirectory: true,
  credentialVariables: [userVariable, passwordVariable],
  selectors: [
    { "app.kubernetes.io/name": "mongodb", "app.kubernetes.io/component": "mongodb" },
    { "app.kubernetes.io/name": "mongodb", "app.kubernetes.io/component": "primary" },
    { "app.kubernetes.io/name": "mongodb" },
    { app: "mongodb" },
    { app: "mongo" },
  ],
  inspect: (instance, context) => answering(() => inspect(instance, context)),
  dump: (instance, output, context) => answering(() => dump(instance, output, context)),
  plan: (instance, backup, context) => answering(() => plan(instance, backup, context)),
  restore: (instance, backup, context) => answering(() => restore(instance, backup, context)),
};
export default driver;

/** Gives refused commands an outcome. */
async function answering<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const isRefusal = error.code === 13 || error.code === 18; // Unauthorized, AuthenticationFailed
    throw new UserError(isRefusal ? "credentials" : "storage-failed", `MongoDB refuses ${error.message}`, {
      cause: error,
    });
  }
}

async function inspect(instance: Instance, context: Context): Promise<Inspection> {
  return await withPrimary(instance, context, async (server) => {
    await requireTools(server, context);
    const { databases, bytes } = await holdingsOf(server);
    return { serverVersion: server.version, estimatedBytes: bytes, contents: databases, warnings: warningsOf(server) };
  });
}

async function requireTools({ target }: Server, context: Context): Promise<void> {
  const text = await runForText(context.cluster, target, { script: scripts.inspectScript, signal: context.signal });
  const missing = [...text.matchAll(/^missing (.*)$/gm)].map(([, tool = ""]) => tool);
  if (missing.length === 0) return;
  throw lacking(target, missing, [
    "MongoDB's own images have the database tools up to 5.0; Bitnami's have them always",
  ]);
}

function warningsOf({ replicaSet }: Server): readonly string[] {
  if (replicaSet !== undefined) return [notReplayed];
  return ["no replica set, so no oplog: what is written during the dump may be in it or not, document by document"];
}

/** mongorestore refuses --oplogReplay together with any exclusion ("cannot use --oplogReplay with excludes specified"), and
 *  without one it would replace the administrator whom the target's Secret names. */
const notReplayed =
  "not point-in-time when restored by this program: the oplog is in the archive, for mongorestore by hand, but is not replayed";

/** What the tools are told; the password goes as a line of YAML, of which JSON's strings are a part. */
function access(server: Server) {
  const { login, port } = server;
  return {
    args: [String(port), login?.user ?? ""],
    secrets: login === undefined ? {} : { KAA_CONFIG: `password: ${JSON.stringify(login.password)}` },
  };
}

async function dump(instance: Instance, output: DumpOutput, context: Context): Promise<DumpResult> {
  return await withPrimary(instance, context, async (server) => {
    await requireTools(server, context);
    const before = await holdingsOf(server);
    const accounts = await readAccounts(server);
    const encoded = encodeAccounts(accounts);
    await output.stream(accountsName, {
      encoding: "identity",
      bytes: (async function* () {
        yield encoded;
      })(),
      finish: async () => ({ plain: digestOf(encoded), stored: digestOf(encoded), by: "protocol" }),
    });
    const { args, secrets } = access(server);
    const command = {
      script: scripts.dumpScript,
      args: [...args, ...(server.replicaSet === undefined ? [] : ["--oplog"])],
      secrets,
      outputEncoding: outputEncoding(context),
    };
    await inPod(() => dumpStream(context, server.target, output, { name: archiveName, command }));
    const after = await holdingsOf(server);
    const { counts, warnings } = steadyCounts(before.counts, after.counts);
    return {
      counts: { ...counts, users: accounts["system.users"].length },
      warnings: [...warningsOf(server), ...warnings],
      facts: {
        databases: before.databases,
        users: accounts["system.users"].map((user) => String(user["_id"])),
        oplog: server.replicaSet !== undefined,
      },
    };
  });
}

async function plan(instance: Instance, backup: Backup, context: Context): Promise<RestorePlan> {
  return await withPrimary(instance, context, async (server) => {
    await requireTools(server, context);
    const existing = await holdingsOf(server);
    const kept = ownAccount(server);
    const users = (await readAccounts(server))["system.users"].map((user) => String(user["_id"]));
    const wanted = { databases: namesIn(backup, "databases"), users: namesIn(backup, "users") };
    const major = (version: string) => Number.parseInt(version, 10) || 0;
    return {
      drops: [
        ...existing.databases.map((name) => `database ${name}`),
        ...users.filter((name) => name !== kept && !wanted.users.includes(name)).map((name) => `user ${name}`),
      ],
      creates: [
        ...wanted.databases.map((name) => `database ${name}`),
        ...wanted.users.filter((name) => !users.includes(name)).map((name) => `user ${name}`),
      ],
      keeps: kept === undefined ? [] : [`the user ${kept} and its password`],
      warnings: [
        ...(backup.serverVersion === server.version
          ? []
          : [`snapshot of ${backup.serverVersion}, target is ${server.version}`]),
        ...replayWarnings(backup),
      ],
      obstacles:
        major(backup.serverVersion) > major(server.version)
          ? [`the snapshot is of version ${backup.serverVersion}, newer than the target's ${server.version}`]
          : [],
    };
  });
}

function replayWarnings(backup: Backup): readonly string[] {
  return field(backup.facts, "oplog") === true ? [notReplayed] : [];
}

function namesIn(backup: Backup, key: string): readonly string[] {
  const names = field(backup.facts, key);
  if (Array.isArray(names) && names.every((each) => typeof each === "string")) return names;
  throw new UserError("invalid-snapshot", `mongodb's "${key}" in the manifest is no list of names`);
}

async function restore(instance: Instance, backup: Backup, context: Context): Promise<RestoreResult> {
  const archive = streamNamed(backup, archiveName);
  const accounts = decodeAccounts(await readSmall(streamNamed(backup, accountsName)));
  return await withPrimary(instance, context, async (server) => {
    await requireTools(server, context); // before anything is dropped
    const { args, secrets } = access(server);
    try {
      await dropDatabases(server);
      const command = { script: scripts.restoreScript, args, secrets };
      const said = await inPod(() => feedStream(context, server.target, archive, command));
      const failed = Number(/ (\d+) document\(s\) failed to restore/.exec(said)?.[1] ?? 0);
      if (failed > 0) throw new UserError("storage-failed", `mongorestore could not restore ${failed} documents`);
      await applyAccounts(server, accounts);
      const { counts } = await holdingsOf(server);
      const users = (await readAccounts(server))["system.users"].map((user) => String(user["_id"]));
      const back = accounts["system.users"].filter((user) => users.includes(String(user["_id"])));
      return { counts: { ...counts, users: back.length }, warnings: replayWarnings(backup) };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const effect = "databases and users may be incomplete until the restore is repeated";
      throw new UserError(error.outcome, error.message, { cause: error.cause, hints: error.hints, effect });
    }
  });
}

function streamNamed(backup: Backup, name: string): BackupStream {
  const stream = backup.streams.find((each) => each.name === name);
  if (stream === undefined) throw new UserError("invalid-snapshot", `the snapshot lacks mongodb's "${name}"`);
  return stream;
}

async function inPod<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw reword(error, [
      { words: /auth(entication)? (error|failed)|AuthenticationFailed|not authorized/i, outcome: "credentials" },
      { words: /connection refused|server selection (error|timeout)/i, outcome: "storage-not-ready" },
    ]);
  }
}
