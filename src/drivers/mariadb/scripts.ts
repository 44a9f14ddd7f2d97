/** Shell and SQL that run in MariaDB's pod. All of it is constant; data comes as arguments or over stdin, secrets over
 *  stdin. Names are printed raw and read with --binary-mode, so that they may hold anything, line ends too. */

/** Finds tools, socket and administrator of this container (Bitnami, official and Debian images): by the environment, the
 *  client's option files, then the usual places. Nothing else of the option files counts: what an operator has put there
 *  for people (safe-updates, a database) would change what we do. The password goes by MYSQL_PWD, which only processes of
 *  the same user can read. The session variables undo what the server's configuration may say for all sessions. */
const prelude = `
set -f
PATH=$PATH:/opt/bitnami/mariadb/bin:/usr/local/mysql/bin
secret() { eval "file=\\\${$1_FILE:-} value=\\\${$1:-}"; if [ -n "$file" ]; then cat "$file"; else printf %s "$value"; fi; }
MYSQL_PWD=$(secret MARIADB_ROOT_PASSWORD)
[ -n "$MYSQL_PWD" ] || MYSQL_PWD=$(secret MYSQL_ROOT_PASSWORD)
[ -z "\${KAA_PASSWORD:-}" ] || MYSQL_PWD=$KAA_PASSWORD
unset KAA_PASSWORD
root=\${MARIADB_ROOT_USER:-\${MYSQL_ROOT_USER:-root}} app=\${MARIADB_USER:-\${MYSQL_USER:-}}
client=$(command -v mariadb || command -v mysql) || { echo "mariadb: not found" >&2; exit 127; }
dumper=$(command -v mariadb-dump || command -v mysqldump) || { echo "mariadb-dump: not found" >&2; exit 127; }
at=--host=127.0.0.1 MYSQL_TCP_PORT=\${MARIADB_PORT_NUMBER:-\${MYSQL_TCP_PORT:-3306}}
for s in "$MYSQL_UNIX_PORT" $("$client" --print-defaults 2>/dev/null | tr ' ' '\\n' | sed -n 's/^--socket=//p') \\
  /opt/bitnami/mariadb/tmp/mysql.sock /run/mysqld/mysqld.sock /var/lib/mysql/mysql.sock /tmp/mysql.sock; do
  if [ -S "$s" ]; then at=--socket=$s; break; fi
done
export MYSQL_PWD MYSQL_TCP_PORT PATH LC_ALL=C.UTF-8
init="set session sql_mode='', autocommit=1, sql_safe_updates=0, max_statement_time=0, wait_timeout=31536000, lock_wait_timeout=120,
net_read_timeout=86400, net_write_timeout=86400, group_concat_max_len=1073741824"
sql() { "$client" --no-defaults "$at" --user="$root" --default-character-set=utf8mb4 --local-infile=0 --connect-timeout=20 \\
  --skip-reconnect --max-allowed-packet=1G --binary-mode -N -B -r --init-command="$init" "$@"; }
text() { printf "'%s'" "$(printf %s "$1" | sed "s/[\\\\\\\\']/\\\\\\\\&/g")"; }
keep="'mariadb.sys', 'healthcheck'"
for name in "$root" "$MARIADB_REPLICATION_USER" "$MYSQL_REPLICATION_USER" "$MARIADB_GALERA_MARIABACKUP_USER"; do
  [ -z "$name" ] || keep="$keep, $(text "$name")"
done
`;

/** Databases that are the server's own. A name that begins with #mysql50# is a directory that is no database: lost+found. */
const isOurs = (column: string) =>
  `(${column} in ('information_schema', 'performance_schema', 'mysql', 'sys') or ${column} like '#mysql50#%')`;
const isTable = "table_type in ('BASE TABLE', 'SYSTEM VERSIONED')";
/** Engines whose rows are elsewhere: mariadb-dump leaves them out (--no-data-med), and a count could reach far away. */
const externalEngines = "('MRG_MyISAM', 'CONNECT', 'OQGRAPH', 'SPIDER', 'VP', 'FEDERATED')";

const quoted = (column: string) => `concat('\`', replace(${column}, '\`', '\`\`'), '\`')`;
/** SQL within double quotes of the shell. */
const inShell = (sql: string) => sql.replaceAll("`", "\\`");
const jsonList = (column: string, rest: string) =>
  `concat('[', coalesce((select group_concat(${column}) from ${rest}), ''), ']')`;
const names = (column: string, rest: string) => jsonList(`json_quote(${column}) order by ${column}`, rest);
const tables = (where: string) =>
  names(
    "concat(table_schema, '.', table_name)",
    `information_schema.tables where not ${isOurs("table_schema")} and ${where}`,
  );
const jsonObject = (parts: Readonly<Record<string, string>>) =>
  `concat('{', ${Object.entries(parts)
    .map(([key, value]) => `'"${key}":', ${value}`)
    .join(", ',', ")}, '}')`;
const count = (table: string, column: string, more = "") =>
  `(select count(*) from ${table} where not ${isOurs(column)}${more})`;

/** What a restore must bring back, but for rows and accounts. Routines: packages too. */
const objectCounts = {
  databases: count("information_schema.schemata", "schema_name"),
  tables: count("information_schema.tables", "table_schema", ` and ${isTable}`),
  sequences: count("information_schema.tables", "table_schema", " and table_type = 'SEQUENCE'"),
  views: count("information_schema.views", "table_schema"),
  routines: count("mysql.proc", "db"),
  triggers: count("information_schema.triggers", "trigger_schema"),
  events: count("information_schema.events", "event_schema"),
};

const accounts = jsonList(
  `${jsonObject({
    user: "json_quote(user)",
    host: "json_quote(host)",
    isRole: "if(coalesce(json_value(priv, '$.is_role'), 0), 'true', 'false')",
    plugins: "coalesce(json_extract(priv, '$.plugin', '$.auth_or[*].plugin'), '[]')",
  })} order by user, host`,
  "mysql.global_priv where coalesce(json_value(priv, '$.kaa_backup'), 0) <> 3",
);

/** Definers that are no account (any more). A view upon such a view can be read, but not be created again. */
const lostDefiners = jsonList(
  jsonObject({ user: "json_quote(d.user)", host: "json_quote(d.host)" }),
  `(select distinct left(definer, char_length(definer) - char_length(substring_index(definer, '@', -1)) - 1) as user,
      substring_index(definer, '@', -1) as host
    from (select definer, table_schema as db from information_schema.views union select definer, db from mysql.proc) x
    where not ${isOurs("db")}) d
  where d.host <> '' and not exists (select 1 from mysql.global_priv g where g.user = d.user and g.host = d.host)`,
);

const missingRights = names(
  "needed",
  `(select 'SELECT' as needed union select 'CREATE' union select 'DROP' union select 'RELOAD' union select 'PROCESS' union
    select 'SUPER' union select 'SHOW VIEW' union select 'EVENT' union select 'TRIGGER' union select 'CREATE USER') n
  where needed not in (select privilege_type from information_schema.user_privileges where grantee = concat('''',
    left(current_user(), char_length(current_user()) - char_length(substring_index(current_user(), '@', -1)) - 1), '''@''',
    substring_index(current_user(), '@', -1), ''''))`,
);

const facts = jsonObject({
  version: "json_quote(version())",
  tool: "json_quote(@tool)",
  rootUser: "json_quote(@root)",
  appUser: "json_quote(@app)",
  kept: "concat('[', @keep, ']')",
  login: "json_quote(current_user())",
  missingRights,
  isReadOnly: "if(@@global.read_only, 'true', 'false')",
  isReplica: "@replica",
  galeraNodes: `coalesce((select s.variable_value from information_schema.global_status s join information_schema.global_variables v
      on v.variable_name = 'WSREP_ON' and v.variable_value = 'ON' where s.variable_name = 'WSREP_CLUSTER_SIZE'), 0)`,
  eventScheduler: "json_quote(@@global.event_scheduler)",
  lowerCaseNames: "@@lower_case_table_names",
  bytes: `(select coalesce(sum(data_length), 0) from information_schema.tables where not ${isOurs("table_schema")})`,
  databases: names("schema_name", `information_schema.schemata where not ${isOurs("schema_name")}`),
  strayDatabases: names("table_schema", "information_schema.tables where table_schema like '#mysql50#%'"),
  accounts,
  notTransactional: tables(`${isTable} and engine not in ('InnoDB', 'ROCKSDB') and engine not in ${externalEngines}`),
  external: tables(`${isTable} and engine in ${externalEngines}`),
  unreadableViews: jsonList(
    jsonObject({ database: "json_quote(v.table_schema)", name: "json_quote(v.table_name)" }),
    `information_schema.views v left join information_schema.columns c on c.table_schema = v.table_schema and
      c.table_name = v.table_name where not ${isOurs("v.table_schema")} and c.table_name is null`,
  ),
  versioned: tables("table_type = 'SYSTEM VERSIONED'"),
  versionedByTransaction: names(
    "concat(table_schema, '.', table_name)",
    `information_schema.columns where not ${isOurs("table_schema")} and generation_expression = 'ROW START'
      and data_type = 'bigint'`,
  ),
  lostDefiners,
  functions: names("name", "mysql.func"),
  endlessEvents: names(
    "concat(event_schema, '.', event_name)",
    `information_schema.events where not ${isOurs("event_schema")}
      and concat(event_name, event_definition, event_comment, definer) like '%;;%'`,
  ),
  engines: names(
    "engine",
    `(select distinct engine from information_schema.tables where ${isTable} and not ${isOurs("table_schema")}) e`,
  ),
  availableEngines: names("engine", "information_schema.engines where support in ('YES', 'DEFAULT')"),
  availablePlugins: names(
    "plugin_name",
    "information_schema.plugins where plugin_type = 'AUTHENTICATION' and plugin_status = 'ACTIVE'",
  ),
  counts: jsonObject(objectCounts),
});

/** $1: what to select. Prints one JSON document of facts. */
export const inspectScript = `${prelude}
replicas=$(sql -e 'show all slaves status' </dev/null) || exit
{
  echo "set @tool = $(text "$("$dumper" --version)"), @root = $(text "$root"), @app = $(text "$app"),
    @replica = $([ -z "$replicas" ] && echo "'false'" || echo "'true'");
    select group_concat(json_quote(name)) into @keep from (select user as name from mysql.global_priv where user in ($keep) group by user) k;"
  printf 'select %s;\\n' "$1"
} | sql
`;
/** Of `inspectScript`. It is no here-document, for it has more than a page: of such a one dash and busybox leave the writer
 *  unreaped, which stays as a zombie where mariadbd is process 1 (seen with dash 0.5.12; dash's redir.c, openhere). */
export const inspectArguments = [facts] as const;

/** Stdin: the rest of mariadb-dump's arguments, one a line in octal escapes of printf's %b, so that neither the number nor
 *  the bytes of names matter.
 *
 *  One transaction for all databases: they are consistent with one another. No LOCK TABLES in the dump, for with it a table
 *  with a default of NEXTVAL cannot be restored (error 1100, seen with 10.11.19).
 *
 *  mariadb-dump has no option for session variables, and the server would end its session when a slow store makes us read
 *  nothing for net_write_timeout (60 s; error 2013). Sessions take their timeouts from the global ones when they begin, so
 *  these are raised until the first line has come, which proves the login. */
export const dumpScript = `${prelude}
set --
while IFS= read -r line; do
  line=$(printf '%b.' "$line")
  set -- "$@" "\${line%.}"
done
undo=$(sql </dev/null -e "select concat('set global net_write_timeout=', @@global.net_write_timeout, ', global wait_timeout=',
  @@global.wait_timeout, ', global idle_transaction_timeout=', @@global.idle_transaction_timeout,
  ', global idle_readonly_transaction_timeout=', @@global.idle_readonly_transaction_timeout,
  ', global lock_wait_timeout=', @@global.lock_wait_timeout)") || exit
sql </dev/null -e "set global net_write_timeout=86400, global wait_timeout=31536000, global idle_transaction_timeout=0,
  global idle_readonly_transaction_timeout=0, global lock_wait_timeout=600" || exit
exec 3>&1
status=$(
  {
    {
      "$dumper" --no-defaults "$at" --user="$root" --default-character-set=utf8mb4 --single-transaction --quick --routines \\
        --events --triggers --hex-blob --skip-add-locks --max-allowed-packet=1G "$@" 3>&- 4>&-
      echo $? >&4
    } | {
      IFS= read -r line
      sql -e "$undo" </dev/null >&2
      [ -z "$line" ] || printf '%s\\n' "$line"
      exec cat
    } >&3 4>&-
  } 4>&1
)
exit "$status"
`;

const accountTables = ["db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv"];
const allTables = ["global_priv", ...accountTables, "roles_mapping", "servers"];

/** The tables that hold accounts and what they may do, as rows: exact, hashes included. */
export const accountsScript = `${prelude}
exec "$dumper" --no-defaults "$at" --user="$root" --default-character-set=utf8mb4 --no-create-info --complete-insert \\
  --skip-triggers --skip-add-locks --skip-disable-keys --max-allowed-packet=1G mysql ${allTables.join(" ")}
`;

/** Drops the first line of a dump from stdin if it is the one by which mariadb-dump switches on the client's sandbox (10.5.25,
 *  10.6.18, 10.11.8, 11.4.2 and later) and this client does not know it: such a client fails on the line. Otherwise the
 *  line stays, as a guard. */
const feed = `
sandbox=$("$client" --help | sed -n 's/^  \\(--sandbox\\) .*/\\1/p')
feed() {
  if [ -z "$sandbox" ]; then
    IFS= read -r line
    case $line in
      '/*!999999\\- enable the sandbox mode */' | '/*M!999999\\- enable the sandbox mode */ ') ;;
      *) printf '%s\\n' "$line" ;;
    esac
  fi
  cat
}
`;

/** Ends all sessions but ours, replicas' and those that an administrator has just begun: probes. */
const endSessions = `
end_sessions() {
  sql </dev/null -e "select concat('kill ', id, ';') from information_schema.processlist where id <> connection_id()
    and command not in ('Binlog Dump', 'Daemon', 'Slave_IO', 'Slave_SQL', 'Slave_worker')
    and user not in ('system user', 'event_scheduler') and (user not in ($keep) or time > 1)" | sql --force 2>/dev/null || :
}
`;

/** Takes back the marks and what they stand for: see restoreAccountsScript. */
const unmark = `delete from mysql.global_priv where json_value(priv, '$.kaa_backup') = 3;
update mysql.global_priv set priv = json_compact(json_remove(json_set(priv, '$.account_locked', false), '$.kaa_backup'))
  where json_value(priv, '$.kaa_backup') = 2;
update mysql.global_priv set priv = json_compact(json_remove(priv, '$.account_locked', '$.kaa_backup'))
  where json_value(priv, '$.kaa_backup') = 1;`;

/** Lets the services in again. $1: event_scheduler as it was. */
const open = `
open() {
  sql </dev/null -e "set session binlog_format=statement;
${unmark}
flush privileges" || return
  [ "$1" != ON ] || sql </dev/null -e "set global event_scheduler = on"
}
`;

/** Which keys of an account's JSON are its authentication. */
const authentication = ["plugin", "authentication_string", "auth_or", "password_last_changed", "account_locked"];
const each = (list: readonly string[], sql: (name: string) => string) => list.map(sql).join("\n");

/** Stdin: the rows of accountsScript. $1: more rows, of definers that are no account. Replaces all accounts and grants:
 *  - everything is made ready in temporary tables, which hide the real ones while the rows come in;
 *  - $keep (administrators that exist here) stay untouched, but for roles; $app takes on the authentication it has here;
 *  - then the real tables are changed in one go, which counts from "flush privileges" on. At each moment before and
 *    after, administrators can log in, even if everything stops here.
 *  Accounts other than administrators' begin locked, with a mark on those that are to be unlocked (1: the key was absent,
 *  2: it was false) or to vanish (3), and their sessions are ended.
 *  Statements are logged as such (not as rows) because a replica's accounts need not be the same as ours. */
export const restoreAccountsScript = `${prelude}${feed}${endSessions}
set -e
{
  cat <<SQL
set session binlog_format=statement;
${unmark}
use mysql;
create temporary table kaa_keep as select host, user from global_priv where user in ($keep);
create temporary table kaa_app as select host, user, priv from global_priv where user = $(text "$app") and user <> '';
SQL
  cat <<'SQL'
${each(allTables, (t) => `create temporary table kaa_${t} like ${t}; alter table kaa_${t} rename to ${t};`)}
SQL
  feed || exit
  cat <<'SQL'
use mysql;
${each(allTables, (t) => `alter table ${t} rename to kaa_${t};`)}
insert ignore into kaa_roles_mapping (host, user, role, admin_option) select k.host, k.user, m.role, max(m.admin_option)
  from kaa_keep k join kaa_roles_mapping m on m.user = k.user
  where not exists (select 1 from kaa_global_priv g where g.host = k.host and g.user = k.user) group by 1, 2, 3;
delete from kaa_roles_mapping where user in (select user from kaa_keep) and (host, user) not in (select host, user from kaa_keep);
${each(["global_priv", ...accountTables], (t) => `delete from kaa_${t} where user in (select user from kaa_keep);`)}
create temporary table kaa_pair as select g.host, g.user, (select a.priv from kaa_app a
  order by a.host = g.host desc, a.host = '%' desc, a.host limit 1) as priv
  from kaa_global_priv g where g.user in (select user from kaa_app);
${each(
  authentication,
  (
    key,
  ) => `update kaa_global_priv g join kaa_pair p using (host, user) set g.priv = json_compact(if(json_exists(p.priv, '$.${key}'),
  json_set(g.priv, '$.${key}', json_extract(p.priv, '$.${key}')), json_remove(g.priv, '$.${key}')));`,
)}
create temporary table kaa_more as select host, user from kaa_app where (host, user) not in (select host, user from kaa_pair);
${each(["global_priv", ...accountTables], (t) => `insert ignore into kaa_${t} select t.* from ${t} t join kaa_more m using (host, user);`)}
update kaa_global_priv set priv = json_compact(json_set(priv, '$.account_locked', true,
  '$.kaa_backup', if(json_exists(priv, '$.account_locked'), 2, 1)))
  where coalesce(json_value(priv, '$.is_role'), 0) = 0 and coalesce(json_value(priv, '$.account_locked'), 0) = 0;
SQL
  [ -z "$1" ] || cat <<SQL
insert ignore into kaa_global_priv (host, user, priv) select l.host, l.user, (select json_set(json_remove(priv, '$.auth_or'),
  '$.authentication_string', '', '$.account_locked', true, '$.kaa_backup', 3) from global_priv where user = $(text "$root")
  order by 0 + json_value(priv, '$.access') desc limit 1) from ($1) l;
SQL
  cat <<'SQL'
${each(["global_priv", ...accountTables], (t) => `delete from ${t} where user not in (select user from kaa_keep);\ninsert into ${t} select * from kaa_${t};`)}
${each(["roles_mapping", "servers"], (t) => `delete from ${t};\ninsert into ${t} select * from kaa_${t};`)}
flush privileges;
SQL
} | sql
end_sessions
`;

/** Exact: a full count of each table. $1: "history" to count the history of system-versioned tables, too. */
const report = `
report() {
  rows=$({
    sql </dev/null -e "select concat('select count(*) from ', ${inShell(quoted("table_schema"))}, '.', ${inShell(quoted("table_name"))},
      if('$1' = 'history' and table_type = 'SYSTEM VERSIONED', ' for system_time all', ''), ';') from information_schema.tables
      where not ${isOurs("table_schema")} and ${isTable} and engine not in ${externalEngines}" && echo "select 'end';"
  } | sql | {
    total=0 last=
    while read -r last && [ "$last" != end ]; do total=$((total + last)); done
    [ "$last" = end ] && echo $total
  }) || return
  sql <<SQL
select ${jsonObject({ counts: jsonObject({ ...objectCounts, rows: "$rows" }), accounts })};
SQL
}
`;

/** Stdin: a dump, or nothing. $1: "history" as above. Drops all databases, loads the dump, prints a report, and lets the
 *  services in again whatever happens; TERM must not keep us from that. Events rest meanwhile.
 *
 *  The session variables make the load independent of the target's configuration: rows that break a CHECK (it may be younger
 *  than they are) and tables that only a lax InnoDB takes come back as they were, and so do timestamps without a default
 *  and character sets written without a collation. --binary-mode leaves no client command in force but "delimiter", which
 *  routines need; --sandbox and --local-infile=0 are second locks on the same door. */
export const restoreScript = `${prelude}${feed}${endSessions}${open}${report}
trap : HUP INT PIPE TERM
drop() {
  for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    end_sessions
    list=$(sql </dev/null -e "select concat('drop database ', ${inShell(quoted("schema_name"))}, ';') from information_schema.schemata
      where not ${isOurs("schema_name")}") || return
    words=$(printf 'set foreign_key_checks=0, lock_wait_timeout=10;\n%s' "$list" | sql 2>&1) && return
    case $words in *'ERROR 1205 '*) ;; *) break ;; esac
  done
  echo "$words" >&2
  return 1
}
load() {
  sql $sandbox --init-command="$init, lock_wait_timeout=3600, check_constraint_checks=0, innodb_strict_mode=0
    /*M!100601 , old_mode='UTF8_IS_UTF8MB3' */ /*M!100804 , explicit_defaults_for_timestamp=1 */ /*M!110201 , character_set_collations='' */" >/dev/null
}
feed_and_load() {
  if [ -n "$sandbox" ]; then load; return; fi
  statuses=$({ { feed; echo $? >&5; } | { load 5>&-; echo $? >&5; }; } 5>&1)
  case $statuses in *[1-9]*) return 1 ;; esac
}
scheduler=$(sql </dev/null -e 'select @@global.event_scheduler') || exit
[ "$scheduler" != ON ] || sql </dev/null -e 'set global event_scheduler = off' || exit
drop && feed_and_load && report "$1"
status=$?
open "$scheduler" || status=$?
exit $status
`;

/** Undoes what a restore that was cut off may have left. $1: event_scheduler as it was. Prints the databases there are. */
export const openScript = `${prelude}${open}
open "$1" || exit
sql </dev/null -e "select ${names("schema_name", `information_schema.schemata where not ${isOurs("schema_name")}`)}"
`;
