#!/bin/bash
# MariaDB as the Bitnami image starts it: MARIADB_ROOT_PASSWORD for root from anywhere, MARIADB_USER with
# MARIADB_PASSWORD and MARIADB_DATABASE, or the same by *_FILE. No socket authentication.
set -euo pipefail
secret() { local file=$1_FILE; if [ -n "${!file:-}" ]; then cat "${!file}"; else printf %s "${!1:-}"; fi; }
quoted() { local text=${1//\\/\\\\}; printf "'%s'" "${text//\'/\'\'}"; }
data=/data/mariadb
chmod 755 /data # a fresh volume is for root alone
install -d -o mysql -g mysql /run/mysqld
if [ ! -d "$data" ]; then # made under another name, so that a half-made one is never used
  new=$data.new; rm -rf "$new"; install -d -m 700 -o mysql -g mysql "$new"
  setpriv --reuid=mysql --regid=mysql --init-groups mariadb-install-db --datadir="$new" --auth-root-authentication-method=normal --skip-test-db
  root=$(quoted "$(secret MARIADB_ROOT_PASSWORD)")
  {
    echo "FLUSH PRIVILEGES;"
    echo "ALTER USER root@localhost IDENTIFIED BY $root;"
    echo "CREATE USER root@'%' IDENTIFIED BY $root;" # the bootstrap reads one statement a line
    echo "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
    echo "DELETE FROM mysql.global_priv WHERE User = 'root' AND Host NOT IN ('%', 'localhost');" # they have no password
    if [ -n "${MARIADB_USER:-}" ]; then
      echo "CREATE DATABASE IF NOT EXISTS \`$MARIADB_DATABASE\`;"
      echo "CREATE USER \`$MARIADB_USER\`@'%' IDENTIFIED BY $(quoted "$(secret MARIADB_PASSWORD)");"
      echo "GRANT ALL ON \`$MARIADB_DATABASE\`.* TO \`$MARIADB_USER\`@'%';"
    fi
  } | setpriv --reuid=mysql --regid=mysql --init-groups mariadbd --no-defaults --datadir="$new" --bootstrap
  mv "$new" "$data"
fi
exec setpriv --reuid=mysql --regid=mysql --init-groups mariadbd --no-defaults --datadir="$data" --socket=/run/mysqld/mysqld.sock \
  --bind-address=0.0.0.0 --port=3306 --event-scheduler=ON --log-warnings=1 "$@"
