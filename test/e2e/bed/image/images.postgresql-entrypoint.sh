#!/bin/bash
# PostgreSQL as the Bitnami image starts it: POSTGRES_PASSWORD for the superuser (or for POSTGRES_USER, with
# POSTGRES_POSTGRES_PASSWORD for the superuser), or the same by *_FILE. Passwords are asked for on the local socket too.
set -euo pipefail
secret() { local file=$1_FILE; if [ -n "${!file:-}" ]; then cat "${!file}"; else printf %s "${!1:-}"; fi; }
export PGDATA=/data/pgdata
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
chmod 755 /data # a fresh volume is for root alone
if [ ! -d "$PGDATA" ]; then # made under another name, so that a half-made one is never used
  new=$PGDATA.new; rm -rf "$new"; install -d -m 700 -o postgres -g postgres "$new"
  user=${POSTGRES_USER:-postgres} password=$(secret POSTGRES_PASSWORD) admin=$(secret POSTGRES_POSTGRES_PASSWORD)
  [ -n "$admin" ] || admin=$password
  install -m 600 -o postgres /dev/null /tmp/pw; printf '%s' "$admin" >/tmp/pw
  as_postgres initdb -D "$new" -U postgres --pwfile=/tmp/pw --auth=scram-sha-256 -E UTF8 --locale=C.UTF-8
  rm -f /tmp/pw
  echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
  if [ "$user" != postgres ]; then
    as_postgres postgres --single -D "$new" postgres <<S
CREATE ROLE "$user" LOGIN CREATEDB PASSWORD '${password//\'/\'\'}';
CREATE DATABASE "$user" OWNER "$user";
S
  fi
  mv "$new" "$PGDATA"
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql "$@"
