/** Shell and SQL that run in PostgreSQL's pod. All of it is constant; data comes as arguments, secrets over stdin. */

/** How long a dump waits for one lock. pg_dump wants it as an argument: it takes PGOPTIONS' back. */
const lockWaitMs = 300_000;

/** Reads no file of the user's, prints bare values, asks for nothing, and ends at the first error. */
const psql = "psql -XAtqw -v ON_ERROR_STOP=1";

/** Finds the tools, the socket and the superuser of this container: POSTGRES_POSTGRES_PASSWORD is the superuser's in images
 *  where POSTGRES_USER is an ordinary one (Bitnami); elsewhere POSTGRES_USER is the superuser (the official image).
 *
 *  PGOPTIONS beat what is set for a role or a database, which its owner may do: timeouts, read-only sessions, and a search path
 *  that would have functions of his own run in our place, as the superuser (CVE-2018-1058). */
const prelude = `
PATH=$PATH:/opt/bitnami/postgresql/bin:/usr/local/pgsql/bin
for d in /usr/lib/postgresql/*/bin; do PATH=$PATH:$d; done
secret() { eval "file=\\\${$1_FILE:-} value=\\\${$1:-}"; if [ -n "$file" ]; then cat "$file"; else printf %s "$value"; fi; }
app_user=\${POSTGRES_USER:-\${POSTGRESQL_USERNAME:-postgres}}
PGUSER=postgres PGPASSWORD=$(secret POSTGRES_POSTGRES_PASSWORD)
[ -n "$PGPASSWORD" ] || PGPASSWORD=$(secret POSTGRESQL_POSTGRES_PASSWORD)
if [ -z "$PGPASSWORD" ]; then
  PGUSER=$app_user PGPASSWORD=$(secret POSTGRES_PASSWORD)
  [ -n "$PGPASSWORD" ] || PGPASSWORD=$(secret POSTGRESQL_PASSWORD)
fi
[ -z "\${KAA_PASSWORD:-}" ] || PGPASSWORD=$KAA_PASSWORD
PGPORT=\${POSTGRESQL_PORT_NUMBER:-5432} PGHOST=127.0.0.1
for d in /var/run/postgresql /tmp; do if [ -S "$d/.s.PGSQL.$PGPORT" ]; then PGHOST=$d; break; fi; done
PGOPTIONS='-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=${lockWaitMs}'
PGOPTIONS="$PGOPTIONS -c default_transaction_read_only=off -c search_path=pg_catalog -c client_min_messages=warning"
PGCONNECT_TIMEOUT=20 PGCLIENTENCODING=UTF8 LC_ALL=C
unset KAA_PASSWORD PGDATABASE PGSERVICE PGSSLMODE PGSSLCERT PGSSLKEY PGHOSTADDR PGPASSFILE
export PATH PGUSER PGPASSWORD PGPORT PGHOST PGOPTIONS PGCONNECT_TIMEOUT PGCLIENTENCODING LC_ALL
sql() { ${psql} "$@"; }
`;

/** Prints pg_dump's version, then one JSON document of facts. Fails with 127 when a tool is missing. */
export const inspectScript = `${prelude}
for tool in psql pg_dump pg_dumpall pg_restore; do
  command -v $tool >/dev/null || { echo "$tool: not found" >&2; exit 127; }
done
version=$(pg_dump --version) || exit
sql -d postgres -v tool="$version" -v app="$app_user" -f - <<'SQL'
select json_build_object(
  'version', current_setting('server_version'),
  'versionNumber', current_setting('server_version_num')::int,
  'tool', :'tool',
  'appUser', :'app',
  'user', current_user,
  'superuser', (select rolsuper from pg_roles where rolname = current_user),
  'inRecovery', pg_is_in_recovery(),
  'databases', (select json_agg(json_build_object('name', datname, 'bytes', pg_database_size(oid),
      'connectable', datallowconn, 'template', datistemplate) order by datname) from pg_database where datname <> 'template0'),
  'roles', (select json_agg(rolname order by rolname) from pg_roles where rolname !~ '^pg_'),
  'tablespaces', (select coalesce(json_agg(spcname order by spcname), '[]') from pg_tablespace where spcname !~ '^pg_'),
  'extensions', (select json_agg(name order by name) from pg_available_extensions),
  'prepared', (select count(*) from pg_prepared_xacts)
);
SQL
`;

/** What a role is, as JSON on one line: everything of pg_authid, memberships and settings. */
export const rolesScript = `${prelude}
sql -d postgres -f - <<'SQL'
select json_build_object(
  'roles', (select coalesce(json_agg(json_build_object('name', rolname, 'superuser', rolsuper, 'inherit', rolinherit,
      'createRole', rolcreaterole, 'createDatabase', rolcreatedb, 'login', rolcanlogin, 'replication', rolreplication,
      'bypassRls', rolbypassrls, 'connectionLimit', rolconnlimit, 'password', rolpassword,
      'validUntil', rolvaliduntil::text, 'comment', shobj_description(oid, 'pg_authid')) order by rolname), '[]')
    from pg_authid where rolname !~ '^pg_'),
  'memberships', (select coalesce(json_agg(json_build_object('role', r.rolname, 'member', m.rolname, 'admin', a.admin_option,
      'inherit', to_jsonb(a) -> 'inherit_option', 'set', to_jsonb(a) -> 'set_option') order by r.rolname, m.rolname), '[]')
    from pg_auth_members a join pg_authid r on r.oid = a.roleid join pg_authid m on m.oid = a.member
    where m.rolname !~ '^pg_'),
  'settings', (select coalesce(json_agg(json_build_object('role', r.rolname, 'setting', setting) order by r.rolname, n), '[]')
    from pg_db_role_setting s left join pg_authid r on r.oid = s.setrole,
      unnest(s.setconfig) with ordinality as u(setting, n) where s.setdatabase = 0)
);
SQL
`;

/** For recovery by hand; we ourselves restore from the JSON above. */
export const globalsScript = `${prelude}
exec pg_dumpall --globals-only -l postgres -w
`;

/** True when somebody has put objects of their own into a database that every server has. */
export const isPristineScript = `${prelude}
sql -d "$1" -c "select not exists (select from pg_class where oid >= 16384 and relnamespace <> 'information_schema'::regnamespace)
  and not exists (select from pg_proc where oid >= 16384) and not exists (select from pg_namespace where oid >= 16384)
  and not exists (select from pg_type where oid >= 16384) and not exists (select from pg_extension where extname <> 'plpgsql')"
`;

/** $1 the conninfo of a database. A JSON list of what it needs on the server it is restored to. */
export const extensionsScript = `${prelude}
sql -d "$1" -c "select coalesce(json_agg(extname order by extname), '[]') from pg_extension"
`;

/** Creates nothing: a database may have an event trigger that forbids it. */
const selectCounts = `
do $kaa$
declare t record; n bigint; total bigint := 0; tables bigint := 0;
begin
  for t in select c.oid::regclass as name from pg_class c join pg_namespace s on s.oid = c.relnamespace
    where c.relkind = 'r' and s.nspname !~ '^pg_' and s.nspname <> 'information_schema'
      and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
  loop
    execute format('select count(*) from only %s', t.name) into n;
    total := total + n; tables := tables + 1;
  end loop;
  perform set_config('kaa.counts', json_build_object('tables', tables, 'rows', total,
    'largeObjects', (select count(*) from pg_largeobject_metadata))::text, false);
end $kaa$;
select current_setting('kaa.counts');
`;

/** $1 the conninfo of a database, $2 zlib's level. A second session exports its snapshot and counts rows in it, so that the counts are
 *  those of the dump; it stays open until pg_dump has ended, kept by a feeder that writes an empty line each second. Then psql is
 *  killed, and the feeder ends by itself (SIGPIPE): were it killed, its sleep would be an orphan, which the wrapper, when it ends
 *  everything at that moment, would kill, too, and PostgreSQL would restart (src/cluster/wrapper.ts). The counts go to stderr. */
export const dumpScript = `${prelude}
counting=$(cat <<'SQL'
begin isolation level repeatable read;
select pg_export_snapshot();${selectCounts}
SQL
)
sh -c 'printf "%s\\n" "$1"; while sleep 1 && echo; do :; done' feeder "$counting" |
  sh -c 'echo $$; exec ${psql} -d "$1"' client "$1" | {
  IFS= read -r client; IFS= read -r snapshot; IFS= read -r counts
  if [ -z "$counts" ]; then echo "cannot read the database's counts" >&2; kill "$client" 2>/dev/null; exit 1; fi
  pg_dump -Fc "-Z$2" --no-sync -w --lock-wait-timeout=${lockWaitMs} --snapshot="$snapshot" -d "$1"
  status=$?
  kill "$client"
  echo "kaa-counts $counts" >&2
  exit $status
}
`;

/** $1 the conninfo of a database; analyzes it and prints the same counts. */
export const countScript = `${prelude}
sql -d "$1" -f - <<'SQL'
analyze;
${selectCounts}
SQL
`;

/** Stdin: the JSON of rolesScript. $1 "bar" (services cannot log in while databases are replaced) or "open". Creates and
 *  alters roles to what they were; the superuser we are and the container's own user keep the target's passwords. */
export const applyRolesScript = `${prelude}
{ printf '%s\\n%s\\n' "$app_user" "$1"; cat; } | sql -d postgres --single-transaction -c "create temp table kaa_input (n serial, line text)" \\
  -c "copy kaa_input (line) from stdin with (format csv, quote e'\\\\x01', delimiter e'\\\\x02')" -c "$(cat <<'SQL'
do $kaa$
declare
  input jsonb := (select line::jsonb from kaa_input where n = 3);
  app_user text := (select line from kaa_input where n = 1);
  bar boolean := (select line = 'bar' from kaa_input where n = 2);
  r jsonb; m record; name text; value text;
begin
  for r in select * from jsonb_array_elements(input -> 'roles') loop
    if not exists (select from pg_roles where rolname = r ->> 'name') then
      execute format('create role %I password %L', r ->> 'name', r ->> 'password');
    end if;
    execute format('comment on role %I is %L', r ->> 'name', r ->> 'comment');
    if r ->> 'name' = current_user then continue; end if;
    execute format('alter role %I with %s %s %s %s %s %s %s connection limit %s %s', r ->> 'name',
      case when (r ->> 'superuser')::bool then 'superuser' else 'nosuperuser' end,
      case when (r ->> 'inherit')::bool then 'inherit' else 'noinherit' end,
      case when (r ->> 'createRole')::bool then 'createrole' else 'nocreaterole' end,
      case when (r ->> 'createDatabase')::bool then 'createdb' else 'nocreatedb' end,
      case when (r ->> 'login')::bool and not bar then 'login' else 'nologin' end,
      case when (r ->> 'replication')::bool then 'replication' else 'noreplication' end,
      case when (r ->> 'bypassRls')::bool then 'bypassrls' else 'nobypassrls' end,
      (r ->> 'connectionLimit')::int,
      -- there is no way back to "never set"; infinity means the same
      case when r ->> 'validUntil' is not null then format('valid until %L', r ->> 'validUntil')
        when exists (select from pg_roles where rolname = r ->> 'name' and rolvaliduntil is not null) then 'valid until ''infinity'''
        else '' end);
    if r ->> 'name' <> app_user then
      execute format('alter role %I password %L', r ->> 'name', r ->> 'password');
    end if;
  end loop;
  for m in select rolname from pg_roles where rolname !~ '^pg_' and rolname <> current_user
    and not exists (select from jsonb_array_elements(input -> 'roles') e where e ->> 'name' = rolname) loop
    if bar or m.rolname <> app_user then execute format('alter role %I nologin', m.rolname);
    else execute format('alter role %I login', m.rolname); end if;
  end loop;
  for m in select g.rolname as role, u.rolname as member from pg_auth_members a
    join pg_roles g on g.oid = a.roleid join pg_roles u on u.oid = a.member where u.rolname !~ '^pg_' loop
    execute format('revoke %I from %I', m.role, m.member);
  end loop;
  for r in select * from jsonb_array_elements(input -> 'memberships') loop
    if r -> 'inherit' = 'null' or current_setting('server_version_num')::int < 160000 then
      execute format('grant %I to %I %s', r ->> 'role', r ->> 'member', case when (r ->> 'admin')::bool then 'with admin option' else '' end);
    else
      execute format('grant %I to %I with admin %s, inherit %s, set %s', r ->> 'role', r ->> 'member',
        (r ->> 'admin')::bool, (r ->> 'inherit')::bool, (r ->> 'set')::bool);
    end if;
  end loop;
  alter role all reset all;
  for m in select rolname from pg_roles where rolname !~ '^pg_' loop execute format('alter role %I reset all', m.rolname); end loop;
  for r in select * from jsonb_array_elements(input -> 'settings') loop
    name := split_part(r ->> 'setting', '=', 1);
    value := substr(r ->> 'setting', length(name) + 2);
    -- lists of names are stored quoted as they must be written; everything else is one literal
    if name not in ('search_path', 'temp_tablespaces', 'local_preload_libraries', 'session_preload_libraries')
      or value !~ '^[[:alnum:]_$", ./-]*$' then value := quote_literal(value); end if;
    if r ->> 'role' is null then execute format('alter role all set %s to %s', quote_ident(name), value);
    else execute format('alter role %I set %s to %s', r ->> 'role', quote_ident(name), value); end if;
  end loop;
end $kaa$
SQL
)"
`;

/** $1 the conninfo to begin from, then the statements that drop a database. Each is sent by itself: several in one string are one
 *  transaction, in which no database can be dropped. */
export const dropScript = `${prelude}
database=$1; shift
for each; do shift; set -- "$@" -c "$each"; done
exec ${psql} -d "$database" "$@"
`;

/** Stdin: a custom-format dump; $1 the conninfo to begin from. The database must not exist. */
export const restoreScript = `${prelude}
exec pg_restore --create --exit-on-error -w -d "$1"
`;

/** Stdin: the JSON of rolesScript. Drops the roles that it does not name. */
export const dropRolesScript = `${prelude}
{ printf '%s\\n' "$app_user"; cat; } | sql -d postgres -c "create temp table kaa_input (n serial, line text)" \\
  -c "copy kaa_input (line) from stdin with (format csv, quote e'\\\\x01', delimiter e'\\\\x02')" -c "$(cat <<'SQL'
do $kaa$
declare m record;
begin
  for m in select rolname from pg_roles where rolname !~ '^pg_' and rolname <> current_user
    and rolname <> (select line from kaa_input where n = 1)
    and not exists (select from jsonb_array_elements((select line::jsonb from kaa_input where n = 2) -> 'roles') e
      where e ->> 'name' = rolname) loop
    execute format('drop owned by %I', m.rolname);
    execute format('drop role %I', m.rolname);
  end loop;
end $kaa$
SQL
)"
`;
