/** Names and contents that nobody would choose, or that somebody has chosen to break out: into a shell of the pod, into the clients
 *  that read a dump, into the sessions of the administrator. All of them are data, and come back as they were. */
import { existsSync } from "node:fs";
import { CreateBucketCommand, DeleteObjectsCommand, ListObjectsV2Command, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { inPod, resetBed } from "./bed.ts";
import { minioClient, mongo } from "./natives.ts";
import { namespace, refused, restored, snapshotOf } from "./rounds.ts";

beforeAll(() => resetBed(namespace));
afterAll(() => resetBed(namespace));

const inShell = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** What runs in spite of everything makes this file, in the pod or here. */
const marker = "/tmp/kaa-broke-out";
const touch = `touch ${marker}`;

async function nothingBrokeOut(...storages: readonly string[]): Promise<void> {
  expect(existsSync(marker), "a command ran on this machine").toBe(false);
  for (const storage of storages)
    expect(await inPod(namespace, storage, `ls ${marker}* 2>/dev/null || true`), `a command ran in ${storage}`).toBe(
      "",
    );
}

const awkward = `-d $(${touch});'"\n\`id\``;
const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
const text = (value: string) => `'${value.replaceAll("'", "''")}'`;
const inBackticks = (name: string) => `\`${name.replaceAll("`", "``")}\``;

// --- PostgreSQL: pg_dumpall knows no line ends in the names of databases, so each is dumped by itself

const psql = (sql: string, database = "postgres") =>
  inPod(namespace, "postgresql", `psql -qXAt -v ON_ERROR_STOP=1 -d ${inShell(conninfo(database))} -f -`, sql);
const conninfo = (name: string) => `dbname='${name.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

async function postgresContents(...databases: readonly string[]): Promise<string> {
  const shared = await psql(
    `select rolname, rolsuper, rolcanlogin, rolpassword, shobj_description(oid, 'pg_authid') from pg_authid order by 1;
    select datname, pg_get_userbyid(datdba), datacl, shobj_description(oid, 'pg_database') from pg_database order by 1;
    select d.datname, r.rolname, setconfig from pg_db_role_setting s left join pg_database d on d.oid = setdatabase
      left join pg_roles r on r.oid = setrole order by 1, 2`,
  );
  const dumped: string[] = [];
  for (const name of databases)
    dumped.push(
      await inPod(namespace, "postgresql", `pg_dump -d ${inShell(conninfo(name))} | grep -vE '^.(un)?restrict '`),
    );
  return [shared, ...dumped].join("\n");
}

async function dropPostgres(...databases: readonly string[]): Promise<void> {
  for (const each of databases) await psql(`drop database ${quoted(each)}`);
}

// --- MariaDB

const mariadb = (sql: string) => inPod(namespace, "mariadb", "mariadb $at -N -B --binary-mode", sql);

async function mariadbContents(...databases: readonly string[]): Promise<string> {
  const list = databases.map(inShell).join(" ");
  const dump = `mariadb-dump $at --skip-dump-date --routines --events --hex-blob --order-by-primary --databases -- ${list}`;
  const names =
    "select hex(schema_name) from information_schema.schemata order by 1; select host, hex(user), priv from mysql.global_priv order by 1, 2";
  return (await mariadb(names)) + (await inPod(namespace, "mariadb", dump));
}

/** In a database of its own, for mariadb-dump 10.11 takes quotes, backslashes and line ends in its name for something else. */
const eventIn = (database: string, name: string, value: string) =>
  `create database ${inBackticks(database)}; use ${inBackticks(database)};
  create event ${inBackticks(name)} on schedule every 1 year starts '2037-01-01' comment ${text(name)} do set @x = ${text(value)};`;

describe("names with quotes, line ends, shell syntax and leading hyphens come back (DB-15):", () => {
  test("PostgreSQL", async () => {
    const name = `${awkward}😀`;
    const role = `r${awkward}`;
    await psql(
      `create role ${quoted(role)} login password ${text(awkward)}; comment on role ${quoted(role)} is ${text(awkward)};
      alter role ${quoted(role)} set application_name = ${text(awkward)};
      create database ${quoted(name)} owner ${quoted(role)}; comment on database ${quoted(name)} is ${text(name)};
      alter database ${quoted(name)} set application_name = ${text(awkward)}`,
    );
    await psql(
      `create schema ${quoted(name)} authorization ${quoted(role)}; set search_path = ${quoted(name)};
      create table ${quoted(name)} (${quoted(name)} text default ${text(name)}); insert into ${quoted(name)} values (default), (${text(`\\.\n${name}`)});
      create index ${quoted(`i${awkward}`)} on ${quoted(name)} (${quoted(name)}); create view ${quoted(`v${awkward}`)} as select * from ${quoted(name)};
      create function ${quoted(`f${awkward}`)}() returns text language sql as ${text(`select ${text(name)}`)};
      grant select on ${quoted(name)} to ${quoted(role)}`,
      name,
    );
    const before = await postgresContents(name);
    expect(before).toContain(touch);
    const date = await snapshotOf("postgresql");
    await dropPostgres(name);
    await psql(`drop role ${quoted(role)}; create database "later $(x)"; create role "later""';"`);
    await restored(date, "postgresql");
    expect(await postgresContents(name)).toBe(before);
    await nothingBrokeOut("postgresql");
  });

  test("MariaDB", async () => {
    const name = `${awkward}✓`;
    const quotedName = inBackticks(name);
    const user = `u${awkward}`;
    await mariadb(
      `create database ${quotedName}; use ${quotedName}; create user ${inBackticks(user)}@'%' identified by ${text(awkward)};
      grant select on ${quotedName}.* to ${inBackticks(user)}@'%'; create role ${inBackticks(`r${awkward}`)};
      create table ${quotedName} (${quotedName} text default ${text(name)} comment ${text(name)}) engine = InnoDB comment = ${text(name)};
      insert into ${quotedName} values (default), (${text(`${name} 😀`)}); create view ${inBackticks(`v${awkward}`)} as select * from ${quotedName};
      create procedure ${inBackticks(`p${awkward}`)}() comment ${text(name)} select ${text(name)};
      create trigger ${inBackticks(`t${awkward}`)} before insert on ${quotedName} for each row set @x = ${text(name)};
      ${eventIn("events", awkward, name)}`,
    );
    const before = await mariadbContents(name, "events");
    expect(before).toContain(touch);
    const date = await snapshotOf("mariadb");
    await mariadb(
      `drop database ${quotedName}; drop user ${inBackticks(user)}@'%'; create database \`later $(x)\`; create user ${inBackticks("later'\n")}@'%'`,
    );
    await restored(date, "mariadb");
    expect(await mariadbContents(name, "events")).toBe(before);
    await nothingBrokeOut("mariadb");
  });

  test("MariaDB, but mariadb-dump finds no events in a database with a quote in its name, which is said", async () => {
    await mariadb(eventIn("it's", "e", "x"));
    try {
      await refused("mariadb", 9, /Unknown database 'it\\'s'/);
    } finally {
      await mariadb("drop database `it's`");
    }
    await snapshotOf("mariadb");
  });

  test("MariaDB, but an event that would keep mariadb-dump busy for ever is refused", async () => {
    await mariadb(eventIn("endless", "e", "a;;b"));
    try {
      await refused("mariadb", 9, /cannot dump event "endless\.e": mariadb-dump would never end/);
    } finally {
      await mariadb("drop database endless");
    }
    await snapshotOf("mariadb");
  });

  test("InfluxDB", async () => {
    // It refuses line ends, slashes and backslashes in names.
    const name = `-d $(${touch});'"\`x\`😀`.replaceAll("/", "_");
    const identifier = `"${name.replaceAll('"', '\\"')}"`;
    const influx = (...queries: readonly string[]) =>
      inPod(
        namespace,
        "influxdb",
        `export INFLUX_USERNAME=$INFLUXDB_ADMIN_USER INFLUX_PASSWORD=$INFLUXDB_ADMIN_USER_PASSWORD
        ${queries.map((each) => `influx -format csv -precision ns -execute ${inShell(each)}`).join("\n")}`,
      );
    // influxd makes its own database whenever it likes, and csv has a line of names for each database.
    const ofInfluxd = /^(databases,_internal|_internal,.*|name,name(,query)?)$/;
    const contents = async () => {
      const told = await influx(
        "show databases",
        "show users",
        `show grants for ${identifier}`,
        "show continuous queries",
        `show retention policies on ${identifier}`,
        `select * from ${identifier}.${identifier}./.*/`,
      );
      return told
        .split("\n")
        .filter((line) => !ofInfluxd.test(line))
        .join("\n");
    };
    const point = name.replaceAll(/[ ,]/g, "\\$&");
    await influx(
      `create database ${identifier}`,
      `create retention policy ${identifier} on ${identifier} duration 0s replication 1 default`,
      `create user ${identifier} with password 'x'`,
      `grant read on ${identifier} to ${identifier}`,
      `create continuous query ${identifier} on ${identifier} begin select mean(v) as v into ${identifier}.${identifier}."m;n" from ${identifier}.${identifier}.${identifier} group by time(1h) end`,
    );
    await inPod(
      namespace,
      "influxdb",
      `export INFLUX_USERNAME=$INFLUXDB_ADMIN_USER INFLUX_PASSWORD=$INFLUXDB_ADMIN_USER_PASSWORD
      influx -database ${inShell(name)} -precision ns -execute ${inShell(`insert ${point},t=${point} v=1,s=${JSON.stringify(name)} 1700000000000000000`)}`,
    );
    const before = await contents();
    expect(before).toContain(touch.replaceAll("/", "_"));
    const date = await snapshotOf("influxdb");
    await influx(`drop database ${identifier}`, "create database later");
    await restored(date, "influxdb");
    expect(await contents()).toBe(before);
    await nothingBrokeOut("influxdb");
  });

  test("MongoDB", async () => {
    // The bed's stand-in takes letters, digits, hyphens and underscores in the names of databases, and no double quotes, line ends
    // and dollar signs in those of collections.
    const name = `${awkward}😀`.replaceAll(/["\n$]/g, "€");
    const database = "-odd-db_";
    const contents = async () =>
      [
        await mongo(namespace, "admin", { listDatabases: 1, nameOnly: true }),
        await mongo(namespace, database, { listCollections: 1, nameOnly: true }, { find: name }, { listIndexes: name }),
        await mongo(namespace, database, { usersInfo: 1 }),
      ].join("");
    await mongo(
      namespace,
      database,
      { insert: name, documents: [{ _id: awkward, [name]: awkward }] },
      { createIndexes: name, indexes: [{ key: { a: 1 }, name }] },
      { createUser: name, pwd: "x", roles: [] },
    );
    const before = await contents();
    expect(before).toContain(touch);
    const date = await snapshotOf("mongodb");
    await mongo(namespace, database, { dropDatabase: 1 }, { insert: "later;", documents: [{ _id: 1 }] });
    await restored(date, "mongodb");
    expect(await contents()).toBe(before);
    await nothingBrokeOut("mongodb");
  });

  test("MinIO", async () => {
    const s3 = await minioClient(namespace);
    const Bucket = "names";
    const keys = [awkward, `${awkward}😀`, "-r", "--all", "a\r\nb", " ", "<&>]]>", "%2e%2e+%20", "\u{85}\u{2028}", "*"];
    const contents = async () =>
      ((await s3.send(new ListObjectsV2Command({ Bucket, EncodingType: "url" }))).Contents ?? []).map(
        ({ Key, ETag, Size }) => `${Key} ${ETag} ${Size}`,
      );
    await s3.send(new CreateBucketCommand({ Bucket }));
    const Metadata = { name: encodeURIComponent(awkward) };
    for (const Key of keys) await s3.send(new PutObjectCommand({ Bucket, Key, Body: `this is ${Key}`, Metadata }));
    const before = await contents();
    expect(before).toHaveLength(keys.length);
    const date = await snapshotOf("minio");
    await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: keys.slice(0, 2).map((Key) => ({ Key })) } }));
    await s3.send(new PutObjectCommand({ Bucket, Key: `later ${awkward}`, Body: "later" }));
    expect(await contents()).not.toEqual(before);
    await restored(date, "minio");
    expect(await contents()).toEqual(before);
    await nothingBrokeOut();
  });
});

describe("a source that would run commands in whoever restores it is restored, and nothing of it runs (DB-18):", () => {
  test("PostgreSQL", async () => {
    const name = `x\n\\! ${touch}\n`;
    const program = `copy (select 1) to program ${text(touch)}`;
    await psql(
      `create role intruder login password 'x'; create role ${quoted(name)} password ${text(name)}; comment on role ${quoted(name)} is ${text(name)};
      alter role ${quoted(name)} set application_name = ${text(name)};
      create database hostile owner intruder; comment on database hostile is ${text(name)}; create database ${quoted(name)} owner ${quoted(name)}`,
    );
    // All that the owner of a database may do without being superuser: functions of his own in the place of the server's.
    await psql(
      `set session authorization intruder; create schema evil;
      create function evil.ran() returns text language plpgsql as $f$ begin ${program}; return '1'; exception when others then return '1'; end $f$;
      create function evil.pg_export_snapshot() returns text language sql as $f$ select evil.ran() where false union all select pg_catalog.pg_export_snapshot() $f$;
      create function evil.current_setting(text) returns text language sql as $f$ select pg_catalog.concat(pg_catalog.current_setting($1), pg_catalog.left(evil.ran(), 0)) $f$;
      create function evil.format(text, regclass) returns text language sql as $f$ select pg_catalog.concat(pg_catalog.format($1, $2), pg_catalog.left(evil.ran(), 0)) $f$;
      create function evil.neq(name, text) returns boolean language sql as $f$ select pg_catalog.text($1) operator(pg_catalog.<>) $2 and evil.ran() is not null $f$;
      create operator evil.<> (leftarg = name, rightarg = text, function = evil.neq);
      create table evil.${quoted(name)} (a text default ${text(name)}); insert into evil.${quoted(name)} values (${text(`\\.\n\\! ${touch}`)}), (${text(program)});
      comment on table evil.${quoted(name)} is ${text(name)}; create view evil.${quoted(`v${name}`)} as select ${text(name)} as a, evil.ran() as b;
      create function evil.${quoted(`f${name}`)}() returns void language plpgsql as ${text(`begin ${program}; /* ${name} */ end`)};
      alter database hostile set search_path = evil, pg_catalog`,
      "hostile",
    );
    const before = await postgresContents("hostile", name);
    const date = await snapshotOf("postgresql");
    await nothingBrokeOut("postgresql");
    await dropPostgres("hostile", name);
    await restored(date, "postgresql");
    expect(await postgresContents("hostile", name)).toBe(before);
    await nothingBrokeOut("postgresql");
  });

  test("MariaDB", async () => {
    await inPod(
      namespace,
      "mariadb",
      `printf 'select 1 into outfile %s;\\n' "'${marker}-sourced'" >/tmp/kaa-backup-source.sql`,
    );
    const commands = [
      `\\! ${touch}`,
      `system ${touch}`,
      `source /tmp/kaa-backup-source.sql`,
      `\\. /tmp/kaa-backup-source.sql`,
      `tee ${marker}`,
      `pager ${touch}`,
      `load data local infile '/etc/passwd' into table t;`,
      `select 1 into outfile '${marker}-outfile';`,
    ].join("\n");
    const value = `x';\n${commands}\n;;\n${commands}\ndelimiter ;\n${commands}\n*/;\n${commands}\n`;
    // As much of it as a name may hold.
    const name = `x\n\\! ${touch}\n;`;
    const n = inBackticks(name);
    const body = `begin /* ;;\n${commands}\n */ set @x = ${text(value)}; /* ${name} */ end`;
    try {
      await mariadb(
        `create database ${n}; use ${n}; create user ${n}@'%' identified by ${text(value)};
        create table ${n} (${n} text default ${text(name)} comment ${text(name)}) engine = InnoDB comment = ${text(name)};
        insert into ${n} values (default), (${text(value)}); create view ${inBackticks(`v${name}`)} as select ${text(value)} as ${n};
        delimiter //
        create procedure ${inBackticks(`p${name}`)}() comment ${text(value)} ${body}//
        create function ${inBackticks(`f${name}`)}() returns text return ${text(value)}//
        create trigger ${inBackticks(`t${name}`)} before insert on ${n} for each row ${body}//
        delimiter ;
        ${eventIn("events_too", name, value.replaceAll(";;", "; ;"))}`,
      );
      const before = await mariadbContents(name, "events_too");
      const date = await snapshotOf("mariadb");
      await nothingBrokeOut("mariadb");
      await mariadb(`drop database ${n}; drop user ${n}@'%'; drop database events_too`);
      await restored(date, "mariadb");
      expect(await mariadbContents(name, "events_too")).toBe(before);
      await nothingBrokeOut("mariadb");
    } finally {
      await inPod(namespace, "mariadb", "rm -f /tmp/kaa-backup-source.sql");
    }
  });
});
