# Two OCI images without a container engine: pause, and one with PostgreSQL 15, MariaDB 10.11 and their tools.
set -euo pipefail
out=$1 here=$3
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
mkdir pause
cp "$here/image/images.pause.go" main.go
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o pause/pause main.go
tar -C pause --owner=0 --group=0 -cf layer.tar .
python3 "$here/image/images.oci.py" layer.tar localhost/pause:1 "$out/pause.tar" /pause
root=$work/root
debootstrap --variant=minbase --include=ca-certificates,procps,postgresql-15,mariadb-server bookworm "$root"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/lib/postgresql/15 "$root"/var/lib/mysql/* \
  "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*
install -m 755 "$here/image/images.postgresql-entrypoint.sh" "$root/usr/local/bin/postgresql-entrypoint"
install -m 755 "$here/image/images.mariadb-entrypoint.sh" "$root/usr/local/bin/mariadb-entrypoint"
tar -C "$root" --numeric-owner --exclude=./proc/* --exclude=./sys/* --exclude=./dev/* -cf layer.tar .
python3 "$here/image/images.oci.py" layer.tar localhost/kaa-storages:1 "$out/kaa-storages.tar" /bin/bash
