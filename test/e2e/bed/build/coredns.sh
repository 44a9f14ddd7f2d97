# A CoreDNS with the six plugins that the bed needs.
set -euo pipefail
version=1.12.4
out=$1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
{
  printf 'package main\n\nimport (\n\t"github.com/coredns/coredns/coremain"\n'
  for plugin in bind cache errors hosts kubernetes ready; do printf '\t_ "github.com/coredns/coredns/plugin/%s"\n' $plugin; done
  printf ')\n\nfunc main() { coremain.Run() }\n'
} >main.go
printf 'module bedcoredns\n\ngo 1.24.0\n\nrequire github.com/coredns/coredns v%s\n' "$version" >go.mod
export GOFLAGS="-mod=mod -modcacherw"
go get ./...
go build -trimpath -ldflags '-s -w' -o "$out/coredns" .
