/** PostgreSQL: roles as JSON (and globals.sql for people), one custom-format dump a database. Restoring replaces every
 *  database and role; only the target's own administrator logins stay. docs/storages/postgresql.md has the details. */
import { isOutcome, messageOf, UserError, withEffect } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import type { Target } from "../cluster/cluster.ts";
import { runForText } from "../cluster/cluster.ts";
import { chooseTarget, dumpStream, feedStream, readSmall, requireEnd, reword, runForJson } from "./commands.ts";
import {
  type Backup,
  type BackupStream,
  type Context,
  type Driver,
  type DumpOutput,
  type DumpResult,
  type Inspection,
  type Instance,
  pathPart,
  type RestorePlan,
  type RestoreResult,
} from "./driver.ts";
import * as scripts from "./postgresql/scripts.ts";

const passwordVariable = "POSTGRES_ROOT_PWD";

const driver: Driver = {
  storage: "postgresql",
  title: "PostgreSQL",
  canUseDirectory: true,
  credentialVariables: [passwordVariable],
  selectors: [
    { "app.kubernetes.io/name": "postgresql" },
    { "app.kubernetes.io/name": "postgresql-ha" },
    { app: "postgresql" },
    { app: "postgres" },
  ],
  // Of Bitnami's postgresql-ha: the proxy before the servers, and one that only votes. A witness is labelled as a server is.
  helpers: [{ "app.kubernetes.io/component": "pgpool" }, { role: "witness" }],
  inspect,
  dump,
  plan,
  restore,
};
export default driver;

interface Database {
  readonly name: string;
  readonly bytes: number;
  readonly connectable: boolean;
  readonly template: boolean;
}

interface Server {
  readonly target: Target;
  readonly version: string;
  readonly versionNumber: number;
  readonly tool: string;
  readonly appUser: string;
  readonly user: string;
  readonly databases: readonly Database[];
  readonly roles: readonly string[];
  readonly tablespaces: readonly string[];
  /** Those that a database may have. */
  readonly extensions: readonly string[];
  readonly prepared: number;
}

/** The driver's record in the manifest. */
interface Facts {
  readonly databases: readonly string[];
  readonly roles: readonly string[];
  readonly tablespaces: readonly string[];
  /** Those that any of the databases has. Older snapshots do not tell. */
  readonly extensions: readonly string[];
  readonly versionNumber: number;
}

async function lookAt(instance: Instance, context: Context): Promise<Server> {
  const target = chooseTarget(instance, {
    variables: /^POSTGRES(QL)?_(POSTGRES_)?PASSWORD(_FILE)?$/,
    name: /postgres/,
  });
  const json = await inPod(() =>
    runForJson(context, target, { script: scripts.inspectScript, secrets: secrets(context) }),
  );
  const server = json as unknown as Omit<Server, "target"> & { superuser: boolean; inRecovery: boolean }; // made by our SQL
  if (server.inRecovery) {
    throw new UserError("storage-not-ready", `pod "${target.pod.name}" is a replica: name the primary`);
  }
  if (!server.superuser) throw new UserError("credentials", `"${server.user}" is no superuser`);
  const toolMajor = Number(/ (\d+)/.exec(server.tool)?.[1] ?? 0);
  if (toolMajor < Math.floor(server.versionNumber / 10_000)) {
    throw new UserError("storage-not-ready", `${server.tool} is older than the server, ${server.version}`);
  }
  return { ...server, target };
}

async function inspect(instance: Instance, context: Context): Promise<Inspection> {
  const server = await lookAt(instance, context);
  return {
    serverVersion: server.version,
    estimatedBytes: server.databases.reduce((sum, each) => sum + each.bytes, 0),
    contents: server.databases.filter((each) => each.name !== "template1").map((each) => each.name),
    warnings: warningsOf(server),
  };
}

function warningsOf(server: Server): readonly string[] {
  const closed = server.databases.filter((each) => !each.connectable).map((each) => each.name);
  return [
    ...(closed.length > 0 ? [`not dumped, because they allow no connections: ${closed.join(", ")}`] : []),
    ...(server.prepared > 0 ? [`${server.prepared} prepared transactions are not in the dump`] : []),
    ...(server.tablespaces.length > 0
      ? [`tablespaces must exist on the target: ${server.tablespaces.join(", ")}`]
      : []),
  ];
}

async function dump(instance: Instance, output: DumpOutput, context: Context): Promise<DumpResult> {
  const server = await lookAt(instance, context);
  const { target } = server;
  const command = { secrets: secrets(context) };
  // pg_dump compresses by itself, which is faster than a gzip behind it (bench/README.md).
  const isCompressed = context.compression !== "client";
  const endMark = /-- PostgreSQL database cluster dump complete\n--\n(\n|\\unrestrict .*\n)*$/;
  await inPod(() =>
    dumpStream(context, target, output, { name: "roles.json", command: { ...command, script: scripts.rolesScript } }),
  );
  await inPod(() =>
    dumpStream(context, target, output, {
      name: "globals.sql",
      command: { ...command, script: scripts.globalsScript },
      check: (bytes) => requireEnd(bytes, endMark, "globals.sql"),
    }),
  );
  const databases: string[] = [];
  const extensions = new Set<string>();
  const totals = { databases: 0, roles: server.roles.length, tables: 0, rows: 0, largeObjects: 0 };
  for (const { name, connectable } of server.databases) {
    if (!connectable || (name === "template1" && (await isPristine(server, name, context)))) continue;
    const stderr = await inPod(() =>
      dumpStream(context, target, output, {
        name: `databases/${pathPart(name)}.dump`,
        command: {
          ...command,
          script: scripts.dumpScript,
          args: [conninfo(name), isCompressed ? "1" : "0"],
        },
        isCompressed,
      }),
    );
    databases.push(name);
    for (const each of await extensionsOf(server, name, context)) extensions.add(each);
    add(totals, countsIn(/^kaa-counts (.*)$/m.exec(stderr)?.[1] ?? "", name));
    totals.databases += 1;
  }
  const { roles, tablespaces, versionNumber } = server;
  const warnings = [
    ...warningsOf(server),
    "each database is consistent in itself; they are dumped one after the other",
  ];
  const facts: JsonValue = { databases, roles, tablespaces, extensions: [...extensions].sort(), versionNumber };
  return { counts: totals, warnings, facts };
}

async function extensionsOf(server: Server, database: string, context: Context): Promise<readonly string[]> {
  const command = { script: scripts.extensionsScript, args: [conninfo(database)], secrets: secrets(context) };
  return (await inPod(() => runForJson(context, server.target, command))) as string[]; // made by our SQL
}

async function isPristine(server: Server, database: string, context: Context): Promise<boolean> {
  const command = { script: scripts.isPristineScript, args: [conninfo(database)], secrets: secrets(context) };
  return (
    (await inPod(() => runForText(context.cluster, server.target, { ...command, signal: context.signal }))).trim() ===
    "t"
  );
}

async function plan(instance: Instance, backup: Backup, context: Context): Promise<RestorePlan> {
  const server = await lookAt(instance, context);
  const facts = readFacts(backup.facts);
  const existing = server.databases.map((each) => each.name);
  const kept = new Set([server.user, server.appUser]);
  const gone = server.roles.filter((each) => !facts.roles.includes(each) && !kept.has(each));
  const missing = facts.tablespaces.filter((each) => !server.tablespaces.includes(each));
  const unknown = facts.extensions.filter((each) => !server.extensions.includes(each));
  const major = (versionNumber: number) => Math.floor(versionNumber / 10_000);
  return {
    drops: [
      ...existing
        .filter((each) => !(each === "template1" && !facts.databases.includes(each)))
        .map((each) => `database ${each}`),
      ...gone.map((each) => `role ${each}`),
    ],
    creates: [
      ...facts.databases.map((each) => `database ${each}`),
      ...facts.roles.filter((each) => !server.roles.includes(each)).map((each) => `role ${each}`),
    ],
    keeps: [`the passwords of ${[...kept].map((each) => `"${each}"`).join(" and ")}`],
    warnings:
      backup.serverVersion === server.version
        ? []
        : [`snapshot of ${backup.serverVersion}, target is ${server.version}`],
    obstacles: [
      ...(major(facts.versionNumber) > major(server.versionNumber)
        ? [`the snapshot is of version ${backup.serverVersion}, newer than the target's ${server.version}`]
        : []),
      ...missing.map((each) => `tablespace "${each}" does not exist on the target`),
      ...unknown.map((each) => `extension "${each}" is not installed on the target's server`),
    ],
  };
}

async function restore(instance: Instance, backup: Backup, context: Context): Promise<RestoreResult> {
  const server = await lookAt(instance, context);
  const facts = readFacts(backup.facts);
  const roles = await inMemory(streamNamed(backup, "roles.json"));
  const run = async (script: string, args: readonly string[]) => {
    const command = { script, args, secrets: secrets(context), signal: context.signal };
    return await inPod(() => runForText(context.cluster, server.target, command));
  };
  const feed = async (stream: BackupStream, script: string, args: readonly string[] = []) =>
    await inPod(() => feedStream(context, server.target, stream, { script, args, secrets: secrets(context) }));
  const warnings: string[] = [];
  const done: string[] = [];
  const totals = { databases: 0, roles: facts.roles.length, tables: 0, rows: 0, largeObjects: 0 };

  try {
    await feed(roles, scripts.applyRolesScript, ["bar"]);
    for (const { name } of server.databases) {
      if (facts.databases.includes(name)) continue;
      if (name === "template1") continue; // as every server has it
      await run(scripts.dropScript, [conninfo(maintenanceFor(name)), ...dropStatements(name, server)]);
    }
    for (const name of facts.databases) {
      const from = conninfo(maintenanceFor(name));
      await run(scripts.dropScript, [from, ...dropStatements(name, server)]);
      await feed(streamNamed(backup, `databases/${pathPart(name)}.dump`), scripts.restoreScript, [from]);
      add(totals, countsIn(await run(scripts.countScript, [conninfo(name)]), name));
      totals.databases += 1;
      done.push(name);
    }
    await feed(roles, scripts.dropRolesScript);
    await open(server.target, roles, context);
  } catch (error) {
    const rest = facts.databases.filter((each) => !done.includes(each));
    const state = `restored: ${done.join(", ") || "none"}; not restored: ${rest.join(", ") || "none"}`;
    // It may be we who were cancelled: the services are let in again all the same, on a clock of its own.
    const opened = await open(server.target, roles, { ...context, signal: AbortSignal.timeout(openMs) }).then(
      () => "",
      (failure: unknown) => `; roles may not log in until the restore is repeated (${messageOf(failure)})`,
    );
    throw withEffect(error, state + opened);
  }
  return { counts: totals, warnings };
}

const openMs = 30_000;

/** Lets the roles log in again, which may not while databases are replaced. */
async function open(target: Target, roles: BackupStream, context: Context): Promise<void> {
  const command = { script: scripts.applyRolesScript, args: ["open"], secrets: secrets(context) };
  await inPod(() => feedStream(context, target, roles, command));
}

/** The database to connect to while another one is replaced. */
function maintenanceFor(database: string): string {
  return database === "postgres" ? "template1" : "postgres";
}

/** Drops a database, with all who are connected. */
function dropStatements(database: string, { databases, versionNumber }: Server): readonly string[] {
  const name = `"${database.replaceAll('"', '""')}"`;
  const literal = `'${database.replaceAll("'", "''")}'`;
  const isTemplate = databases.some((each) => each.name === database && each.template);
  const unmark = isTemplate ? [`ALTER DATABASE ${name} WITH IS_TEMPLATE false`] : [];
  return versionNumber >= 130_000
    ? [...unmark, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`]
    : [
        ...unmark,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ${literal}`,
        `DROP DATABASE IF EXISTS ${name}`,
      ];
}

/** A database as a connection string: a bare name with "=" or "postgres://" in it would be read as one itself. */
function conninfo(database: string): string {
  return `dbname='${database.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function streamNamed(backup: Backup, name: string): BackupStream {
  const stream = backup.streams.find((each) => each.name === name);
  if (stream === undefined) throw new UserError("invalid-snapshot", `the snapshot lacks postgresql's "${name}"`);
  return stream;
}

/** The stream, read already: letting roles in again must work when nothing can be read any more. */
async function inMemory(stream: BackupStream): Promise<BackupStream> {
  const bytes = await readSmall(stream);
  return {
    ...stream,
    async *read() {
      yield bytes;
    },
  };
}

function readFacts(facts: JsonValue): Facts {
  const record = (typeof facts === "object" && facts !== null && !Array.isArray(facts) ? facts : {}) as Record<
    string,
    JsonValue
  >;
  const names = (key: string) => {
    const list = record[key];
    if (Array.isArray(list) && list.every((each) => typeof each === "string")) return list as string[];
    throw new UserError("invalid-snapshot", `postgresql's "${key}" in the manifest is no list of names`);
  };
  const versionNumber = Number(record["versionNumber"]);
  if (!Number.isInteger(versionNumber))
    throw new UserError("invalid-snapshot", "postgresql's version in the manifest is no number");
  return {
    databases: names("databases"),
    roles: names("roles"),
    tablespaces: names("tablespaces"),
    extensions: record["extensions"] === undefined ? [] : names("extensions"),
    versionNumber,
  };
}

function countsIn(text: string, database: string): Record<string, number> {
  try {
    return JSON.parse(text) as Record<string, number>; // made by our SQL
  } catch (error) {
    throw new UserError("storage-failed", `the counts of database "${database}" are missing`, { cause: error });
  }
}

function add(totals: Record<string, number>, more: Readonly<Record<string, number>>): void {
  for (const [key, value] of Object.entries(more)) totals[key] = (totals[key] ?? 0) + value;
}

function secrets(context: Context): Readonly<Record<string, string>> {
  const password = context.credentials[passwordVariable];
  return password === undefined ? {} : { KAA_PASSWORD: password };
}

/** Runs something in the pod and gives its failure the right outcome. */
async function inPod<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const better = reword(error, [
      { words: /authentication failed|no password supplied|role ".*" does not exist/, outcome: "credentials" },
      {
        words: /connection to server .* failed|could not connect|starting up|shutting down/,
        outcome: "storage-not-ready",
      },
    ]);
    throw isOutcome(better, "credentials") ? better.in("PostgreSQL refuses the login") : better;
  }
}
