/** Shell and SQL that run in MariaDB's pod. All of it is constant; data comes as arguments, secrets over stdin. */

/** Finds tools, socket and the administrator of this container (Bitnami, official and Debian images). `sql` prints rows
 *  raw, without a heading. The password goes by MYSQL_PWD, which only processes of the same user can read. */
const prelude = `
PATH=$PATH:/opt/bitnami/mariadb/bin
secret() { eval "file=\\\${$1_FILE:-} value=\\\${$1:-}"; if [ -n "$file" ]; then cat "$file"; else printf %s "$value"; fi; }
MYSQL_PWD=$(secret MARIADB_ROOT_PASSWORD)
[ -n "$MYSQL_PWD" ] || MYSQL_PWD=$(secret MYSQL_ROOT_PASSWORD)
[ -z "\${KAA_PASSWORD:-}" ] || MYSQL_PWD=$KAA_PASSWORD
unset KAA_PASSWORD
root=\${MARIADB_ROOT_USER:-\${MYSQL_ROOT_USER:-root}} app=\${MARIADB_USER:-\${MYSQL_USER:-}}
export MYSQL_PWD PATH LC_ALL=C.UTF-8
client=$(command -v mariadb || command -v mysql) || { echo "mariadb: not found" >&2; exit 127; }
dumper=$(command -v mariadb-dump || command -v mysqldump) || { echo "mariadb-dump: not found" >&2; exit 127; }
at="--host=127.0.0.1 --port=\${MARIADB_PORT_NUMBER:-3306}"
for s in /opt/bitnami/mariadb/tmp/mysql.sock /run/mysqld/mysqld.sock /var/run/mysqld/mysqld.sock /tmp/mysql.sock; do
  if [ -S "$s" ]; then at="--socket=$s"; break; fi
done
sql() { "$client" --no-defaults $at --user="$root" --default-character-set=utf8mb4 --local-infile=0 --connect-timeout=20 -N -B -r "$@"; }
ours="('information_schema', 'performance_schema', 'mysql', 'sys')"
text() { printf "'%s'" "$(printf %s "$1" | sed "s/[\\\\\\\\']/\\\\\\\\&/g")"; }
admins="('mariadb.sys', $(text "$root"))"
`;

const nameList = (select: string) => `concat('[', coalesce((${select}), ''), ']')`;

/** One JSON document of facts. */
export const inspectScript = `${prelude}
exec "$client" --no-defaults $at --user="$root" --default-character-set=utf8mb4 --connect-timeout=20 -N -B -r -e "
set session group_concat_max_len = 1073741824;
select concat('{\\"version\\":', json_quote(version()), ',\\"tool\\":', json_quote($(text "$("$dumper" --version)")),
  ',\\"readOnly\\":', if(@@global.read_only, 1, 0), ',\\"appUser\\":', json_quote($(text "$app")), ',\\"rootUser\\":', json_quote($(text "$root")),
  ',\\"bytes\\":', (select coalesce(sum(data_length), 0) from information_schema.tables where table_schema not in $ours),
  ',\\"databases\\":', ${nameList("select group_concat(json_quote(schema_name) order by 1) from information_schema.schemata where schema_name not in $ours")},
  ',\\"accounts\\":', ${nameList("select group_concat(json_quote(concat(user, '@', host)) order by user, host) from mysql.global_priv")},
  ',\\"notTransactional\\":', ${nameList("select group_concat(json_quote(concat(table_schema, '.', table_name))) from information_schema.tables where table_schema not in $ours and table_type = 'BASE TABLE' and engine not in ('InnoDB', 'RocksDB')")},
  '}')"
`;

/** Arguments: the databases. One transaction, so they are consistent with one another. */
export const dumpScript = `${prelude}
exec "$dumper" --no-defaults $at --user="$root" --default-character-set=utf8mb4 --single-transaction --quick --routines --events \\
  --triggers --hex-blob --max-allowed-packet=1G --databases -- "$@"
`;

/** The tables that hold accounts and what they may do, as rows: exact, hashes included. */
export const accountsScript = `${prelude}
exec "$dumper" --no-defaults $at --user="$root" --default-character-set=utf8mb4 --no-create-info --complete-insert --skip-triggers \\
  --skip-add-locks --skip-disable-keys --hex-blob mysql global_priv db tables_priv columns_priv procs_priv roles_mapping proxies_priv servers
`;

/** One JSON document of counts, exact. */
export const countScript = `${prelude}
rows=$(sql -e "select concat('select count(*) from \\\`', replace(table_schema, '\\\`', '\\\`\\\`'), '\\\`.\\\`', replace(table_name, '\\\`', '\\\`\\\`'), '\\\`;')
  from information_schema.tables where table_schema not in $ours and table_type in ('BASE TABLE', 'SYSTEM VERSIONED')" | sql | {
  total=0
  while read -r n; do total=$((total + n)); done
  echo $total
}) || exit
sql -e "select concat('{\\"databases\\":', (select count(*) from information_schema.schemata where schema_name not in $ours),
  ',\\"tables\\":', (select count(*) from information_schema.tables where table_schema not in $ours and table_type in ('BASE TABLE', 'SYSTEM VERSIONED')),
  ',\\"rows\\":', $rows,
  ',\\"views\\":', (select count(*) from information_schema.views where table_schema not in $ours),
  ',\\"routines\\":', (select count(*) from information_schema.routines where routine_schema not in $ours),
  ',\\"triggers\\":', (select count(*) from information_schema.triggers where trigger_schema not in $ours),
  ',\\"events\\":', (select count(*) from information_schema.events where event_schema not in $ours), '}')"
`;

/** Keeps services out while databases are replaced: accounts that are no administrator's are locked, with a mark on those
 *  that were not locked before, and their sessions are ended. Prints event_scheduler as it was, and switches it off. */
export const barScript = `${prelude}
sql -e "update mysql.global_priv set priv = json_compact(json_set(priv, '$.account_locked', true, '$.kaa_backup', true))
    where user not in $admins and coalesce(json_value(priv, '$.is_role'), 0) = 0 and coalesce(json_value(priv, '$.account_locked'), 0) = 0;
  flush privileges;
  select @@global.event_scheduler;" || exit
sql -e "set global event_scheduler = off" 2>/dev/null
sql -e "select concat('kill ', id, ';') from information_schema.processlist where user not in $admins
    and user not in ('system user', 'event_scheduler', 'unauthenticated user')" | sql --force 2>/dev/null
exit 0
`;

/** Takes back what barScript did. $1: event_scheduler as it was. */
export const openScript = `${prelude}
sql -e "update mysql.global_priv set priv = json_compact(json_remove(priv, '$.account_locked', '$.kaa_backup'))
    where coalesce(json_value(priv, '$.kaa_backup'), 0) = 1;
  flush privileges" || exit
if [ "$1" = ON ]; then sql -e "set global event_scheduler = on"; fi
`;

/** $1: SQL that drops databases. */
export const dropScript = `${prelude}
exec "$client" --no-defaults $at --user="$root" --default-character-set=utf8mb4 -e "set foreign_key_checks = 0; $1"
`;

/** Stdin: a dump. binary-mode leaves no client command in force but "delimiter", which dumps of routines need. A first line
 *  that switches the sandbox on stays: clients that do not know it are refused before a restore. */
export const restoreScript = `${prelude}
exec "$client" --no-defaults $at --user="$root" --default-character-set=utf8mb4 --local-infile=0 --binary-mode --max-allowed-packet=1G
`;

/** Stdin: the rows of accountsScript. Replaces all accounts and grants in one go: the server works from memory until the
 *  last line. Administrators stay as they are here; the container's own user keeps the password it has here. */
export const restoreAccountsScript = `${prelude}
{
  cat <<SQL
use mysql;
create temporary table kaa_priv as select * from global_priv;
create temporary table kaa_db as select * from db;
delete from global_priv; delete from db; delete from tables_priv; delete from columns_priv;
delete from procs_priv; delete from roles_mapping; delete from proxies_priv; delete from servers;
SQL
  cat
  cat <<SQL
delete from global_priv where user in $admins;
insert into global_priv select * from kaa_priv where user in $admins;
replace into db select * from kaa_db where user in $admins;
update global_priv g join kaa_priv k on k.user = g.user and k.host = g.host
  set g.priv = json_compact(json_set(g.priv, '$.plugin', json_value(k.priv, '$.plugin'), '$.authentication_string', json_value(k.priv, '$.authentication_string')))
  where g.user = $(text "$app") and g.user <> '';
insert ignore into global_priv select host, user, json_compact(json_remove(priv, '$.account_locked', '$.kaa_backup')) from kaa_priv
  where user = $(text "$app") and user <> '' and not exists (select 1 from (select user from global_priv) x where x.user = $(text "$app"));
insert ignore into db select * from kaa_db where user = $(text "$app") and user <> ''
  and not exists (select 1 from (select user from db) x where x.user = $(text "$app"));
flush privileges;
SQL
} | sql --binary-mode --max-allowed-packet=1G
`;
