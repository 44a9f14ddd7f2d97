/** MariaDB's client and dump tool as far as the driver looks: shell scripts over a folder that holds what the server holds.
 *  What is loaded replaces it, in one go at the end; `load` in the folder's log says that a restore has begun. */
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What the driver's own SQL would tell of a server with the database "app". */
export const mariadbInspection = {
  version: "10.11.1-MariaDB",
  tool: "mariadb-dump from 10.11.1-MariaDB",
  rootUser: "root",
  appUser: "",
  kept: ["root"],
  login: "root@%",
  missingRights: [],
  isReadOnly: false,
  isReplica: false,
  galeraNodes: 0,
  eventScheduler: "OFF",
  lowerCaseNames: 0,
  bytes: 5,
  databases: ["app"],
  strayDatabases: [],
  accounts: [{ user: "root", host: "%", isRole: false, plugins: [] }],
  notTransactional: [],
  external: [],
  unreadableViews: [],
  versioned: [],
  versionedByTransaction: [],
  lostDefiners: [],
  functions: [],
  endlessEvents: [],
  engines: [],
  availableEngines: [],
  availablePlugins: [],
  counts: { databases: 1, tables: 1 },
};

const end = "-- Dump completed on today\n";

/** A dump of `rows` rows of about 100 bytes, of which three quarters remain when it is compressed. */
export function mariadbDump(rows: number, text = "row"): string {
  const line = (row: number) => `(${row},'${createHash("sha512").update(`${text} ${row}`).digest("base64")} ${text}')`;
  const lines = Array.from({ length: rows }, (_, row) => line(row));
  return `CREATE TABLE \`t\`;\nINSERT INTO \`t\` VALUES\n${lines.join(",\n")};\n${end}`;
}

/** Puts the tools into `folder/bin` and a server's data into `folder/data`. `folder/before-dump` is sourced before
 *  databases are dumped, `folder/after-dump` afterwards, `folder/before-sql` before SQL is read, `folder/before-load`
 *  before databases are loaded: there a test makes them misbehave. */
export function standInMariadb(folder: string, databases: string): { readonly bin: string; readonly data: string } {
  const [bin, data] = [join(folder, "bin"), join(folder, "data")];
  for (const each of [bin, data]) mkdirSync(each, { recursive: true });
  for (const name of ["before-dump", "after-dump", "before-sql", "before-load"]) writeFileSync(join(folder, name), "");
  writeFileSync(join(data, "accounts.sql"), `-- accounts\n${end}`);
  writeFileSync(join(data, "databases.sql"), databases);
  writeFileSync(join(folder, "inspection.json"), `${JSON.stringify(mariadbInspection)}\n`);
  const tool = (name: string, script: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\nfolder='${folder}' data='${data}'\n${script}`);
    chmodSync(join(bin, name), 0o755);
  };
  tool(
    "mariadb-dump",
    `case "$*" in *--version*) echo mariadb-dump 10.11; exit ;; esac
case "$*" in *global_priv*) exec cat "$data/accounts.sql" ;; esac
. "$folder/before-dump"
cat "$data/databases.sql"
. "$folder/after-dump"
`,
  );
  tool(
    "mariadb",
    `case " $* " in
  *--help*) echo '  --sandbox  disallow commands'; exit ;;
  *--print-defaults* | *'show all slaves'*) exit ;;
  *'select @@global.event_scheduler'*) echo OFF; exit ;;
  *"concat('select count"*) echo 'count rows;'; exit ;;
  *"concat('[', coalesce"*) echo '["app"]'; exit ;;
  *"concat('drop database"*) echo 'drop all;'; exit ;;
  *" -e "*) exit ;;
  *lock_wait_timeout=3600*)
    echo load >>"$folder/log"
    . "$folder/before-load"
    cat >"$data/incoming.$$" && mv "$data/incoming.$$" "$data/databases.sql"
    exit ;;
esac
. "$folder/before-sql"
cat >"$data/sql.$$"
if grep -q '@tool' "$data/sql.$$"; then cat "$folder/inspection.json"
elif grep -q 'kaa_keep' "$data/sql.$$"; then
  echo load >>"$folder/log"
  { echo '-- accounts'; grep -- '-- Dump completed' "$data/sql.$$"; } >"$data/accounts.sql"
elif grep -q 'drop all' "$data/sql.$$"; then
  echo load >>"$folder/log"
  rm -f "$data/databases.sql"
elif grep -q "select 'end'" "$data/sql.$$"; then grep -c "^([0-9]" "$data/databases.sql"; echo end
elif grep -q 'counts' "$data/sql.$$"; then
  rows=$(grep -c "^([0-9]" "$data/databases.sql")
  echo '{"counts":{"databases":1,"tables":1,"rows":'$rows'},"accounts":[{"user":"root","host":"%"}]}'
fi
rm -f "$data/sql.$$"
`,
  );
  return { bin, data };
}
