# The lowest layer of every storage's image: a minimal Debian with ps, the user that the Bitnami charts run as, and
# `secret NAME`, which prints the variable NAME or the content of the file that the variable NAME_FILE names.
set -euo pipefail
out=$1
. "$(dirname "$0")/pack.sh"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
root=$work/root
debootstrap --variant=minbase --include=procps bookworm "$root"
echo 'storage:x:1001:0:storage:/tmp:/bin/bash' >>"$root/etc/passwd" # initdb wants a name for its user
cat >"$root/usr/local/bin/secret" <<'S'
#!/bin/bash
file=$1_FILE
if [ -n "${!file:-}" ]; then cat "${!file}"; else printf %s "${!1:-}"; fi
S
chmod 755 "$root/usr/local/bin/secret"
lighten "$root"
pack "$root" "$out"
