/** MariaDB: all databases in one consistent dump, accounts and grants as the rows of the server's own tables. Restoring
 *  replaces every database and account; administrators stay. docs/storages/mariadb.md has the details. */
import { digestOf } from "../base/bytes.ts";
import { messageOf, UserError, withEffect } from "../base/errors.ts";
import { type Command, runForText } from "../cluster/cluster.ts";
import { dumpStream, outputEncoding, steadyCounts } from "./commands.ts";
import type {
  Backup,
  BackupStream,
  Context,
  Driver,
  DumpOutput,
  DumpResult,
  Inspection,
  Instance,
  RestoreResult,
} from "./driver.ts";
import { type Facts, factsOf, readFacts } from "./mariadb/facts.ts";
import { planRestore } from "./mariadb/plan.ts";
import { inPod, passwordVariable, secrets } from "./mariadb/pod.ts";
import { DumpReader, readAlong } from "./mariadb/reader.ts";
import * as scripts from "./mariadb/scripts.ts";
import { type Account, lookAt, type Server } from "./mariadb/server.ts";

const driver: Driver = {
  storage: "mariadb",
  title: "MariaDB",
  canUseDirectory: true,
  credentialVariables: [passwordVariable],
  selectors: [
    { "app.kubernetes.io/name": "mariadb", "app.kubernetes.io/component": "primary" },
    { "app.kubernetes.io/name": "mariadb" },
    { "app.kubernetes.io/name": "mariadb-galera" },
    { app: "mariadb", component: "master" },
    { app: "mariadb" },
    { app: "mysql" },
  ],
  inspect,
  dump,
  plan: async (instance, backup, context) => planRestore(await lookAt(instance, context), backup),
  restore,
};
export default driver;

async function inspect(instance: Instance, context: Context): Promise<Inspection> {
  const server = await lookAt(instance, context);
  return {
    serverVersion: server.version,
    estimatedBytes: server.bytes,
    contents: server.databases,
    warnings: warningsOf(server),
  };
}

function warningsOf(server: Server): readonly string[] {
  const facts: readonly (readonly [string, readonly string[]])[] = [
    ["not consistent if written to meanwhile, for want of transactions", server.notTransactional],
    ["dumped without rows, which are kept elsewhere", server.external],
    ["left out, because they refer to something that is gone", server.unreadableViews.map(viewName)],
    ["dumped without history", keepsHistory(server) ? [] : server.versioned],
    ["not dumped: functions of shared libraries", server.functions],
  ];
  return [
    ...facts.filter(([, names]) => names.length > 0).map(([what, names]) => `${what}: ${names.join(", ")}`),
    ...(server.isReplica || server.isReadOnly ? ["a replica or read-only: what it holds may be old"] : []),
  ];
}

function viewName(view: { readonly database: string; readonly name: string }): string {
  return `${view.database}.${view.name}`;
}

/** mariadb-dump can do it since 10.11, but not when one of the tables counts by transactions instead of time. */
function keepsHistory({ versioned, versionedByTransaction, version }: Server): boolean {
  const [major = 0, minor = 0] = version.split(".").map((each) => Number.parseInt(each, 10));
  const isRecent = major > 10 || (major === 10 && minor >= 11);
  return isRecent && versioned.length > 0 && versionedByTransaction.length === 0;
}

async function dump(instance: Instance, output: DumpOutput, context: Context): Promise<DumpResult> {
  const server = await lookAt(instance, context);
  const [stray] = server.strayDatabases;
  if (stray !== undefined) {
    const remedy = "ALTER DATABASE … UPGRADE DATA DIRECTORY NAME";
    throw new UserError("storage-failed", `cannot dump database "${stray}": its name is of MySQL 5.0`, {
      hints: [`${remedy} makes it usable again`],
    });
  }
  if (server.endlessEvents.length > 0) {
    const says = `cannot dump event "${server.endlessEvents.join('", "')}": mariadb-dump would never end, because of its ";;"`;
    throw new UserError("storage-failed", says, { hints: ['ALTER EVENT: write "; ;" instead'] });
  }
  const facts = factsOf(server, keepsHistory(server));
  const encoding = outputEncoding(context);
  const dumpTo = async (name: string, script: string, args?: readonly string[]) => {
    const reader = new DumpReader();
    const command = {
      script,
      secrets: secrets(context),
      outputEncoding: encoding,
      ...(args !== undefined && { input: inputOf(args) }),
    };
    const check = (bytes: AsyncIterable<Uint8Array>) => readAlong(bytes, encoding, reader);
    await inPod(() => dumpStream(context, server.target, output, { name, command, check }));
    return reader.rows;
  };
  await dumpTo("accounts.sql", scripts.accountsScript);
  const rows =
    facts.databases.length === 0 ? 0 : await dumpTo("databases.sql", scripts.dumpScript, dumpArguments(server, facts));
  const after = await lookAt(instance, context);
  const { counts, warnings } = steadyCounts(server.counts, after.counts);
  return {
    counts: { ...counts, rows, accounts: facts.accounts.length },
    warnings: [...warningsOf(server), ...warnings],
    facts: { ...facts },
  };
}

function dumpArguments(server: Server, facts: Facts): readonly string[] {
  return [
    ...(facts.history ? ["--dump-history"] : []),
    ...server.unreadableViews.map((view) => `--ignore-table=${viewName(view)}`),
    "--databases",
    "--",
    ...facts.databases,
  ];
}

/** As dumpScript reads them: a line for each, every byte an octal escape. */
function inputOf(args: readonly string[]): NonNullable<Command["input"]> {
  const octal = (byte: number) => `\\0${byte.toString(8).padStart(3, "0")}`;
  const lines = args.map((each) => `${Array.from(Buffer.from(each, "utf8"), octal).join("")}\n`);
  const text = Buffer.from(lines.join(""));
  async function* bytes() {
    yield text;
  }
  return { bytes: bytes(), digest: digestOf(text), encoding: "identity" };
}

/** Accounts first: views can only be created when the definers of the views below them exist. */
async function restore(instance: Instance, backup: Backup, context: Context): Promise<RestoreResult> {
  const server = await lookAt(instance, context).catch((error: unknown) => {
    throw withEffect(error, "MariaDB was not changed");
  });
  const facts = readFacts(backup.facts);
  const run = async (script: string, args: readonly string[], stream?: BackupStream) => {
    const input = stream && { bytes: stream.read(), digest: stream.stored, encoding: stream.encoding };
    const command = { script, args, secrets: secrets(context), ...(input && { input }), signal: context.signal };
    return await inPod(() => runForText(context.cluster, server.target, command));
  };
  const accounts = streamNamed(backup, "accounts.sql");
  const databases = facts.databases.length === 0 ? undefined : streamNamed(backup, "databases.sql");
  try {
    await run(scripts.restoreAccountsScript, [definerRows(facts.lostDefiners)], accounts);
    const report = await run(scripts.restoreScript, [facts.history ? "history" : ""], databases);
    return { counts: countsAfter(report, facts), warnings: [] };
  } catch (error) {
    throw withEffect(error, await openAgain(server, context));
  }
}

/** The restore was cut off: lets the services in again, even when it was we who cancelled it.
 *  @returns what is known of the target's state. */
async function openAgain(server: Server, { cluster, ...context }: Context): Promise<string> {
  const command = {
    script: scripts.openScript,
    args: [server.eventScheduler],
    secrets: secrets({ cluster, ...context }),
    signal: AbortSignal.timeout(30_000),
  };
  try {
    const names = JSON.parse(await runForText(cluster, server.target, command)) as string[]; // made by our SQL
    return `there are the databases ${names.join(", ") || "(none)"} now; unless the restore is repeated, they and the accounts may be incomplete`;
  } catch (error) {
    return `databases and accounts may be incomplete, and accounts locked, until the restore is repeated (${messageOf(error)})`;
  }
}

/** SQL that gives these accounts as rows; names as hexadecimal digits, which need no quoting. */
function definerRows(definers: readonly Account[]): string {
  const hex = (text: string) => `convert(x'${Buffer.from(text, "utf8").toString("hex")}' using utf8mb4)`;
  return definers.map(({ user, host }) => `select ${hex(user)} as user, ${hex(host)} as host`).join(" union ");
}

function countsAfter(report: string, { accounts, kept }: Facts): Readonly<Record<string, number>> {
  const found = JSON.parse(report) as { counts: Record<string, number>; accounts: Account[] }; // made by our SQL
  const isThere = ({ user, host }: Account) =>
    kept.includes(user) || found.accounts.some((each) => each.user === user && each.host === host);
  return { ...found.counts, accounts: accounts.filter(isThere).length };
}

function streamNamed(backup: Backup, name: string): BackupStream {
  const stream = backup.streams.find((each) => each.name === name);
  if (stream === undefined) throw new UserError("invalid-snapshot", `the snapshot lacks mariadb's "${name}"`);
  return stream;
}
