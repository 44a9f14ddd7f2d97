#!/bin/bash
# build.sh ARCHITECTURE FOLDER: compiles kubectl into the folder, and puts the licences of all that is in it beside.
set -euo pipefail
umask 022
architecture=$1 root=$2
cd "$(dirname "$0")"
export CGO_ENABLED=0 GOOS=linux GOARCH=$architecture GOFLAGS="-mod=readonly -buildvcs=false" # go.sum holds what it is made of
minor=$(sed -n 's/^\tk8s.io\/kubectl v0\.//p' go.mod) # k8s.io/kubectl v0.34.4 is kubectl 1.34.4
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags="$flags -X $package.gitVersion=v1.$minor -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
done
go build -trimpath -ldflags "$flags" -o "$root/usr/local/bin/kubectl" .
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' . | sort -u |
  while read -r module version folder; do
    target=$root/usr/share/doc/kubectl/$module@$version
    find "$folder" -maxdepth 1 -type f -iregex '.*/\(licen[cs]e\|copying\|notice\)[^/]*' -exec install -D -m 644 -t "$target" {} +
    [ -d "$target" ] || { echo "$module has no licence" >&2; exit 1; }
  done
