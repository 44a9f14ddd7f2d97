/** MariaDB: all databases in one consistent dump, accounts and grants as the rows of the server's own tables. Restoring
 *  replaces every database and account; administrators stay. docs/storages/mariadb.md has the details. */
import { isOutcome, UserError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { runForText, type Target } from "../cluster/cluster.ts";
import { chooseTarget, dumpStream, feedStream, outputEncoding, requireEnd, reword, runForJson } from "./commands.ts";
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
import * as scripts from "./mariadb/scripts.ts";

const passwordVariable = "MARIADB_ROOT_PWD";

const driver: Driver = {
  storage: "mariadb",
  title: "MariaDB",
  canUseDirectory: true,
  credentialVariables: [passwordVariable],
  selectors: [
    { "app.kubernetes.io/name": "mariadb" },
    { "app.kubernetes.io/name": "mariadb-galera" },
    { app: "mariadb" },
    { app: "mysql" },
  ],
  inspect,
  dump,
  plan,
  restore,
};
export default driver;

interface Server {
  readonly target: Target;
  readonly version: string;
  readonly tool: string;
  readonly appUser: string;
  readonly rootUser: string;
  readonly bytes: number;
  readonly databases: readonly string[];
  readonly accounts: readonly string[];
  readonly notTransactional: readonly string[];
}

/** The driver's record in the manifest. */
interface Facts {
  readonly databases: readonly string[];
  readonly accounts: readonly string[];
}

async function lookAt(instance: Instance, context: Context): Promise<Server> {
  const target = chooseTarget(instance, {
    variables: /^(MARIADB|MYSQL)_ROOT_PASSWORD(_FILE)?$/,
    name: /mariadb|mysql/,
  });
  const json = await inPod(() =>
    runForJson(context, target, { script: scripts.inspectScript, secrets: secrets(context) }),
  );
  const server = json as unknown as Omit<Server, "target"> & { readOnly: number }; // made by our SQL
  if (server.readOnly === 1)
    throw new UserError("storage-not-ready", `pod "${target.pod.name}" is read-only: name the primary`);
  if (compareVersions(server.version, "10.4") < 0) {
    throw new UserError("storage-not-ready", `MariaDB ${server.version} is too old: 10.4 is the oldest`);
  }
  return { ...server, target };
}

async function inspect(instance: Instance, context: Context): Promise<Inspection> {
  const server = await lookAt(instance, context);
  return {
    serverVersion: server.version,
    estimatedBytes: server.bytes,
    contents: server.databases,
    warnings: warningsOf(server),
  };
}

function warningsOf({ notTransactional }: Server): readonly string[] {
  if (notTransactional.length === 0) return [];
  return [`not consistent if written to meanwhile, for want of transactions: ${notTransactional.join(", ")}`];
}

async function dump(instance: Instance, output: DumpOutput, context: Context): Promise<DumpResult> {
  const server = await lookAt(instance, context);
  const before = await count(server, context);
  const endMark = /\n-- Dump completed[^\n]*\n$/;
  const dumpTo = (name: string, script: string, args: readonly string[]) =>
    inPod(() =>
      dumpStream(context, server.target, output, {
        name,
        command: {
          script,
          args,
          secrets: secrets(context),
          outputEncoding: outputEncoding(context),
        },
        ...(outputEncoding(context) === "identity" && { check: (bytes) => requireEnd(bytes, endMark, name) }),
      }),
    );
  await dumpTo("accounts.sql", scripts.accountsScript, []);
  if (server.databases.length > 0) await dumpTo("databases.sql", scripts.dumpScript, server.databases);
  const after = await count(server, context);
  // No session can share mariadb-dump's snapshot, so a count is the dump's only where nothing changed while it ran.
  const steady = Object.entries(before).filter(([unit, value]) => after[unit] === value);
  const changed = Object.keys(before).filter((unit) => after[unit] !== before[unit]);
  return {
    counts: Object.fromEntries(steady),
    warnings: [
      ...warningsOf(server),
      ...(changed.length > 0 ? [`not recorded, for they changed during the dump: ${changed.join(", ")}`] : []),
    ],
    facts: { databases: server.databases, accounts: server.accounts },
  };
}

async function count(server: Server, context: Context): Promise<Readonly<Record<string, number>>> {
  const command = { script: scripts.countScript, secrets: secrets(context) };
  return (await inPod(() => runForJson(context, server.target, command))) as Record<string, number>; // made by our SQL
}

async function plan(instance: Instance, backup: Backup, context: Context): Promise<RestorePlan> {
  const server = await lookAt(instance, context);
  const facts = readFacts(backup.facts);
  const isKept = (account: string) => account.startsWith(`${server.rootUser}@`) || account.startsWith("mariadb.sys@");
  const isApp = (account: string) => server.appUser !== "" && account.startsWith(`${server.appUser}@`);
  const gone = server.accounts.filter((each) => !facts.accounts.includes(each) && !isKept(each) && !isApp(each));
  const made = facts.accounts.filter((each) => !server.accounts.includes(each) && !isKept(each));
  const [snapshotMajor, targetMajor] = [majorOf(backup.serverVersion), majorOf(server.version)];
  return {
    drops: [...server.databases.map((each) => `database ${each}`), ...gone.map((each) => `account ${each}`)],
    creates: [...facts.databases.map((each) => `database ${each}`), ...made.map((each) => `account ${each}`)],
    keeps: [
      `the accounts of "${server.rootUser}"`,
      ...(server.appUser === "" ? [] : [`the password of "${server.appUser}"`]),
    ],
    warnings:
      backup.serverVersion === server.version
        ? []
        : [`snapshot of ${backup.serverVersion}, target is ${server.version}`],
    obstacles:
      compareVersions(snapshotMajor, targetMajor) > 0
        ? [`the snapshot is of version ${backup.serverVersion}, newer than the target's ${server.version}`]
        : [],
  };
}

async function restore(instance: Instance, backup: Backup, context: Context): Promise<RestoreResult> {
  const server = await lookAt(instance, context);
  const facts = readFacts(backup.facts);
  const run = async (script: string, args: readonly string[]) => {
    const command = { script, args, secrets: secrets(context), signal: context.signal };
    return await inPod(() => runForText(context.cluster, server.target, command));
  };
  const feed = async (name: string, script: string) =>
    await inPod(() =>
      feedStream(context, server.target, streamNamed(backup, name), { script, secrets: secrets(context) }),
    );

  const scheduler = (await run(scripts.barScript, [])).trim();
  let state = "databases are untouched";
  try {
    if (server.databases.length > 0) {
      state = "databases are dropped, none is restored whole";
      await run(scripts.dropScript, [server.databases.map((each) => `drop database ${quoted(each)};`).join(" ")]);
    }
    if (facts.databases.length > 0) await feed("databases.sql", scripts.restoreScript);
    state = "databases are restored, accounts are as they were";
    await feed("accounts.sql", scripts.restoreAccountsScript);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(error.outcome, error.message, { cause: error.cause, hints: error.hints, effect: state });
  } finally {
    await run(scripts.openScript, [scheduler]);
  }
  return { counts: await count(server, context), warnings: [] };
}

/** Safe within double quotes of a shell script's argument, which is data there, and within SQL. */
function quoted(name: string): string {
  return `\`${name.replaceAll("`", "``")}\``;
}

function streamNamed(backup: Backup, name: string): BackupStream {
  const stream = backup.streams.find((each) => each.name === name);
  if (stream === undefined) throw new UserError("invalid-snapshot", `the snapshot lacks mariadb's "${name}"`);
  return stream;
}

function readFacts(facts: JsonValue): Facts {
  const record = (typeof facts === "object" && facts !== null && !Array.isArray(facts) ? facts : {}) as Record<
    string,
    JsonValue
  >;
  const names = (key: string) => {
    const list = record[key];
    if (Array.isArray(list) && list.every((each) => typeof each === "string")) return list as string[];
    throw new UserError("invalid-snapshot", `mariadb's "${key}" in the manifest is no list of names`);
  };
  return { databases: names("databases"), accounts: names("accounts") };
}

/** "10.11" of "10.11.19-MariaDB-0+deb12u1" */
function majorOf(version: string): string {
  return /^\d+\.\d+/.exec(version)?.[0] ?? version;
}

function compareVersions(a: string, b: string): number {
  const [aMajor = 0, aMinor = 0] = a.split(".").map((each) => Number.parseInt(each, 10));
  const [bMajor = 0, bMinor = 0] = b.split(".").map((each) => Number.parseInt(each, 10));
  return aMajor - bMajor || aMinor - bMinor;
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
      { words: /Access denied for user/, outcome: "credentials" },
      { words: /Can't connect to/, outcome: "storage-not-ready" },
    ]);
    throw isOutcome(better, "credentials") ? better.in("MariaDB refuses the login") : better;
  }
}
