# image.sh FOLDER BASE PROGRAMS OUT: makes the image of the storage that FOLDER describes, as one layer above BASE. It is
# run in a mount namespace of its own, so that no mount outlives it however it ends. FOLDER/image.sh is sourced: it fills
# $root (with `packages`, or by copying out of $programs) and sets version, and if need be path, stop_signal.
set -euo pipefail
folder=$1 base=$2 programs=$3 out=$4
. "$(dirname "$0")/pack.sh"
work=$(mktemp -d); trap 'cd /; umount -R "$work/root" || true; rm -rf "$work"' EXIT
cd "$work"; mkdir below layer overlay root
zstd -dcq "$base/layer.tar.zst" | tar -C below -xp
mount -t overlay overlay -o lowerdir=below,upperdir=layer,workdir=overlay root
root=$work/root
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin stop_signal=SIGTERM

# packages NAME...: installs Debian packages into $root without starting what they bring.
packages() {
  mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"
  cat /etc/resolv.conf >"$root/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"; chmod 755 "$root/usr/sbin/policy-rc.d"
  mkdir -p "$root/etc/postgresql-common"; echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
  DEBIAN_FRONTEND=noninteractive TMPDIR=/tmp chroot "$root" sh -euc '
    apt-get -o APT::Sandbox::User=root update
    apt-get -o APT::Sandbox::User=root -o Dpkg::Options::=--force-unsafe-io install -y --no-install-recommends "$@"' sh "$@"
  rm "$root/usr/sbin/policy-rc.d"; : >"$root/etc/resolv.conf"
  umount -R "$root/dev"; umount "$root/proc"
}
installed() { chroot "$root" dpkg-query -f '${source:Upstream-Version}' -W "$1"; } # package: its upstream version

. "$folder/image.sh"
if [ -f "$folder/entrypoint" ]; then install -m 755 "$folder/entrypoint" "$root/usr/local/bin/entrypoint"; fi
lighten "$root"
umount "$root"
pack layer "$out"
printf '{"Entrypoint": ["/usr/local/bin/entrypoint"], "User": "1001:0", "StopSignal": "%s", "Env": ["PATH=%s"]}\n' \
  "$stop_signal" "$path" >"$out/config.json"
echo "$version" >"$out/version"
