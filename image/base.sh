#!/bin/bash
# base.sh ARCHITECTURE FOLDER: fills the folder with the lowest layer, a Debian that is unpacked and never run, so that every
# architecture is made alike and nobody needs to be root. `packages` is the closed list of what is in it: no dependencies
# are followed (test/e2e/image.test.ts finds a library that is missing), so neither perl nor OpenSSL come along.
set -euo pipefail
umask 022
architecture=$1 root=$2 suite=bookworm
# From where this machine has its own Debian packages, unless another place is named.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --no-release-info --format '$(SITE)' | awk 'sub("/debian/*$", "") && !n++')}
: "${mirror:?no source of Debian packages is known: set DEBIAN_MIRROR}"
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

# An apt of its own beside that of this machine: it knows one architecture, and believes only what Debian has signed.
mkdir -p "$work"/{lists/partial,cache/archives/partial,packages}
: >"$work/status"
for source in "debian $suite" "debian $suite-updates" "debian-security $suite-security"; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror/$source main"
done >"$work/sources.list"
cat >"$work/apt.conf" <<C
APT { Architecture "$architecture"; Architectures { "$architecture"; }; Sandbox::User "$(id -un)"; };
Dir { State "$work"; State::status "$work/status"; Cache "$work/cache"; Etc::SourceList "$work/sources.list"; Etc::SourceParts "-"; };
Acquire { Languages "none"; Retries "3"; };
C
export APT_CONFIG=$work/apt.conf
apt-get -qq --error-on=any update
mapfile -t packages <"$here/packages"
(cd "$work/packages" && apt-get -qq download "${packages[@]}")

# Debian 12 has its programs in /usr alone; its packages still name /bin and /lib.
mkdir -p "$root"/usr/{bin,sbin,lib}
for name in bin sbin lib; do ln -s usr/$name "$root/$name"; done
if [ "$architecture" = amd64 ]; then mkdir "$root/usr/lib64"; ln -s usr/lib64 "$root/lib64"; fi
# Scanners read what is installed here, as they do in distroless images.
mkdir -p "$root/var/lib/dpkg/status.d"
for package in "$work"/packages/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -C "$root" -xp --no-same-owner --keep-directory-symlink
  dpkg-deb --field "$package" >"$root/var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)"
done

# What the packages' own scripts would have done.
(LC_ALL=C; cat "$root"/usr/share/ca-certificates/mozilla/*.crt) >"$root/etc/ssl/certs/ca-certificates.crt"
printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >"$root/etc/nsswitch.conf"
printf '%s\n' root:x:0:0:root:/root:/bin/bash app:x:1000:1000:app:/home/app:/bin/bash \
  nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin >"$root/etc/passwd"
printf '%s\n' root:x:0: app:x:1000: nogroup:x:65534: >"$root/etc/group"

# Licences stay; other documentation, conversions of character sets, and what a machine that lives longer needs go.
find "$root/usr/share/doc" ! -type d ! -name copyright -delete
find "$root/usr/share/doc" -type d -empty -delete
rm -rf "$root"/usr/share/{man,info,locale,lintian,bug,menu,bash-completion,base-files} \
  "$root"/etc/{apt,cron.daily,logrotate.d,update-motd.d,default,init.d} "$root"/var/{backups,cache,local,lock,log,run,spool} \
  "$root"/usr/share/ca-certificates "$root"/usr/sbin/update-ca-certificates "$root"/etc/ca-certificates "$root"/{boot,media,mnt,srv} "$root"/usr/lib/*/gconv
mkdir -p "$root"/{dev,proc,sys,tmp/backup,home/app}
chmod 1777 "$root/tmp" "$root/var/tmp"
chmod -R ug-s "$root"
