#!/bin/bash
# Builds what the bed is made of, each thing once (about 15 minutes on two cores from nothing).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# Debian's own packages: container runtime, CNI plugins, tools.
missing=
for package in containerd runc containernetworking-plugins debootstrap nftables conntrack iproute2 openssl; do
  dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
if [ -n "$missing" ]; then
  say "installing$missing"
  mkdir -p "$cache"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$cache/apt.log" 2>&1 ||
    fail "apt-get install" "$cache/apt.log"
fi
mkdir -p "$bin" "$logs" "$pki" "$state" "$pids" "$run/s3"
link() { ln -sfn "$1"/* "$bin/"; }
link "$(artefact hyperkube "$kubernetes_version")"
link "$(artefact coredns "$coredns_version")"
link "$(artefact minio "$minio_version")"
ln -sfn "$(artefact images 1)" "$run/images"
