#!/bin/bash
# layer.sh FOLDER FILE: packs the folder as a layer. Equal content gives equal bytes: times are the epoch's, so that a layer
# that has not changed is the same layer in the next release. All is root's but the two folders that are written to: they
# are app's, and the group root may write there, which any other user of a container is in unless told otherwise.
set -euo pipefail
folder=$1 file=$2
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
pack() { tar --format=gnu --numeric-owner --sort=name --mtime=@0 --group=0 -C "$folder" -f "$work/layer" "$@"; }
mapfile -t names < <(ls -A "$folder" | LC_ALL=C sort)
pack --create --owner=0 --exclude=./home/app --exclude=./tmp/backup -- "${names[@]/#/./}"
for writable in ./home/app ./tmp/backup; do
  if [ -d "$folder/$writable" ]; then pack --append --owner=1000 --mode=0775 "$writable"; fi
done
gzip -n -6 <"$work/layer" >"$file"
