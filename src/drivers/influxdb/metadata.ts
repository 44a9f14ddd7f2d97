/** What influxd's own backup loses: users, grants, continuous queries; and what it may get wrong: retention policies. */
import { randomBytes } from "node:crypto";
import { UserError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json.ts";
import { type InfluxApi, identifier, literal } from "./api.ts";

export interface Policy {
  readonly name: string;
  readonly duration: string;
  readonly shardGroupDuration: string;
  readonly replicas: number;
  readonly isDefault: boolean;
}

export interface Database {
  readonly name: string;
  readonly policies: readonly Policy[];
  /** CREATE CONTINUOUS QUERY statements. */
  readonly continuousQueries: readonly string[];
  readonly subscriptions: readonly string[];
}

export interface User {
  readonly name: string;
  readonly isAdministrator: boolean;
  readonly grants: readonly { readonly database: string; readonly privilege: string }[];
}

export interface Metadata {
  readonly databases: readonly Database[];
  readonly users: readonly User[];
}

/** The server's own statistics, which it makes again by itself. */
const ownDatabase = "_internal";

export async function databaseNames(api: InfluxApi): Promise<readonly string[]> {
  return (await api.names("SHOW DATABASES")).filter((name) => name !== ownDatabase);
}

export async function readMetadata(api: InfluxApi): Promise<Metadata> {
  const queries = await api.query("SHOW CONTINUOUS QUERIES");
  const subscriptions = await api.query("SHOW SUBSCRIPTIONS");
  const databases: Database[] = [];
  for (const name of await databaseNames(api)) {
    const policies = await api.query(`SHOW RETENTION POLICIES ON ${identifier(name)}`);
    databases.push({
      name,
      policies: policies.map((row) => ({
        name: String(row["name"]),
        duration: String(row["duration"]),
        shardGroupDuration: String(row["shardGroupDuration"]),
        replicas: Number(row["replicaN"]),
        isDefault: row["default"] === true,
      })),
      continuousQueries: queries.filter((row) => row[""] === name).map((row) => String(row["query"])),
      subscriptions: subscriptions.filter((row) => row[""] === name).map((row) => String(row["name"])),
    });
  }
  const users: User[] = [];
  for (const row of await api.query("SHOW USERS")) {
    const name = String(row["user"]);
    const grants = await api.query(`SHOW GRANTS FOR ${identifier(name)}`);
    users.push({
      name,
      isAdministrator: row["admin"] === true,
      grants: grants
        .map((grant) => ({ database: String(grant["database"]), privilege: String(grant["privilege"]) }))
        .filter(({ privilege }) => privilege !== "NO PRIVILEGES"),
    });
  }
  return { databases, users };
}

/** Numbers that tell whether a restore has brought everything back. Exact, from the index; no points are read. */
export async function countsOf(api: InfluxApi): Promise<Readonly<Record<string, number>>> {
  const { databases, users } = await readMetadata(api);
  const totals = { databases: databases.length, users: users.length, measurements: 0, series: 0, shards: 0 };
  for (const { name } of databases) {
    const on = `EXACT CARDINALITY ON ${identifier(name)}`;
    const sum = (rows: Awaited<ReturnType<InfluxApi["query"]>>) =>
      rows.reduce((total, row) => total + Number(row["count"] ?? 0), 0);
    totals.measurements += sum(await api.query(`SHOW MEASUREMENT ${on}`));
    totals.series += sum(await api.query(`SHOW SERIES ${on}`));
  }
  totals.shards = (await shardsOf(api)).length;
  return {
    ...totals,
    "continuous queries": databases.reduce((sum, each) => sum + each.continuousQueries.length, 0),
    "retention policies": databases.reduce((sum, each) => sum + each.policies.length, 0),
  };
}

/** The ids of all shards but those of the server's own database. */
export async function shardsOf(api: InfluxApi): Promise<readonly string[]> {
  const rows = await api.query("SHOW SHARDS");
  return rows.filter((row) => row["database"] !== ownDatabase).map((row) => String(row["id"]));
}

/** Makes retention policies, continuous queries, users and grants those of the snapshot. The databases are there already.
 *  Users that exist keep their passwords: those are the target's own.
 *  @returns what needs a look: users whose password is now unknown, subscriptions that were not made. */
export async function applyMetadata(api: InfluxApi, wanted: Metadata): Promise<readonly string[]> {
  for (const database of wanted.databases) {
    await applyPolicies(api, database);
    for (const statement of database.continuousQueries) await api.query(statement);
  }
  const existing = await api.names("SHOW USERS", "user");
  const warnings: string[] = [];
  for (const user of wanted.users) {
    if (!existing.includes(user.name)) {
      const password = randomBytes(32).toString("base64url");
      await api.query(`CREATE USER ${identifier(user.name)} WITH PASSWORD ${literal(password)}`);
      warnings.push(`user "${user.name}" has a random password now: SET PASSWORD FOR ${identifier(user.name)} = …`);
    }
    await applyGrants(api, user);
  }
  for (const name of existing) {
    if (name !== api.administrator && !wanted.users.some((user) => user.name === name))
      await api.query(`DROP USER ${identifier(name)}`);
  }
  const subscriptions = wanted.databases.flatMap(({ name, subscriptions }) =>
    subscriptions.map((each) => `${name}.${each}`),
  );
  if (subscriptions.length > 0)
    warnings.push(`subscriptions were not made, because they send data elsewhere: ${subscriptions.join(", ")}`);
  return warnings;
}

async function applyPolicies(api: InfluxApi, { name, policies }: Database): Promise<void> {
  const on = `ON ${identifier(name)}`;
  const existing = await api.names(`SHOW RETENTION POLICIES ${on}`);
  for (const policy of policies) {
    const verb = existing.includes(policy.name) ? "ALTER" : "CREATE";
    const numbers = `DURATION ${policy.duration} REPLICATION ${policy.replicas} SHARD DURATION ${policy.shardGroupDuration}`;
    const isDefault = policy.isDefault ? " DEFAULT" : "";
    await api.query(`${verb} RETENTION POLICY ${identifier(policy.name)} ${on} ${numbers}${isDefault}`);
  }
  for (const gone of existing.filter((each) => !policies.some((policy) => policy.name === each)))
    await api.query(`DROP RETENTION POLICY ${identifier(gone)} ${on}`);
}

async function applyGrants(api: InfluxApi, { name, isAdministrator, grants }: User): Promise<void> {
  const user = identifier(name);
  if (isAdministrator) await api.query(`GRANT ALL PRIVILEGES TO ${user}`);
  else if (name !== api.administrator) await api.query(`REVOKE ALL PRIVILEGES FROM ${user}`);
  const had = await api.query(`SHOW GRANTS FOR ${user}`);
  for (const { database } of had)
    await api.query(`REVOKE ALL PRIVILEGES ON ${identifier(String(database))} FROM ${user}`);
  for (const { database, privilege } of grants)
    await api.query(
      `GRANT ${privilege === "ALL PRIVILEGES" ? "ALL" : privilege} ON ${identifier(database)} TO ${user}`,
    );
}

const privileges = ["READ", "WRITE", "ALL PRIVILEGES"];
/** One statement: a semicolon only within quotes, and only where no comment or regular expression could hide a quote. */
const continuousQuery =
  /^CREATE CONTINUOUS QUERY (?:[^;]*|(?:[^;"'/-]|-(?!-)|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')*)$/;
const durations = /^(\d+(h|m|s|ms|u|ns))+$/;

/** Reads a manifest's record with care: parts of it become statements.
 *  @throws UserError `invalid-snapshot`. */
export function parseMetadata(value: JsonValue): Metadata {
  return { databases: list(value, "databases").map(parseDatabase), users: list(value, "users").map(parseUser) };
}

function parseDatabase(value: JsonValue): Database {
  const continuousQueries = list(value, "continuousQueries").map(text);
  if (!continuousQueries.every((each) => continuousQuery.test(each))) throw invalid("a continuous query");
  return {
    name: text(part(value, "name")),
    policies: list(value, "policies").map((policy) => {
      const [duration, shardGroupDuration] = [text(part(policy, "duration")), text(part(policy, "shardGroupDuration"))];
      const replicas = part(policy, "replicas");
      if (!durations.test(duration) || !durations.test(shardGroupDuration)) throw invalid("a duration");
      if (typeof replicas !== "number" || !Number.isSafeInteger(replicas)) throw invalid("a number of replicas");
      const isDefault = part(policy, "isDefault") === true;
      return { name: text(part(policy, "name")), duration, shardGroupDuration, replicas, isDefault };
    }),
    continuousQueries,
    subscriptions: list(value, "subscriptions").map(text),
  };
}

function parseUser(value: JsonValue): User {
  return {
    name: text(part(value, "name")),
    isAdministrator: part(value, "isAdministrator") === true,
    grants: list(value, "grants").map((grant) => {
      const privilege = text(part(grant, "privilege"));
      if (!privileges.includes(privilege)) throw invalid("a privilege");
      return { database: text(part(grant, "database")), privilege };
    }),
  };
}

function part(value: JsonValue, name: string): JsonValue | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, JsonValue>>)[name]
    : undefined;
}

function list(value: JsonValue, name: string): readonly JsonValue[] {
  const found = part(value, name);
  if (!Array.isArray(found)) throw invalid(`its list of ${name}`);
  return found;
}

function text(value: JsonValue | undefined): string {
  if (typeof value !== "string") throw invalid("a name");
  return value;
}

function invalid(what: string): UserError {
  return new UserError("invalid-snapshot", `influxdb's record in the manifest is damaged: ${what}`);
}
