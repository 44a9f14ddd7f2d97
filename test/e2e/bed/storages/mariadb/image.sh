# MariaDB 10.11 from Debian, server and client.
packages mariadb-server mariadb-client
version=$(installed mariadb-server)
rm -rf "$root"/var/lib/mysql/*
install -d -m 1777 "$root/run/mysqld"
