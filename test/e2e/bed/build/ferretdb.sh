# FerretDB 1 with its SQLite backend: a server that speaks MongoDB's protocol, as no package registry has a mongod.
# One patch: mongorestore sends the index option "ns", which FerretDB refuses.
set -euo pipefail
version=v1.24.0
out=$1
export GOFLAGS="-mod=mod -modcacherw"
source=$(cd / && go mod download -json "github.com/FerretDB/FerretDB@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp -r "$source/." "$work"; chmod -R u+w "$work"; cd "$work"; rm -rf vendor
for name in commit branch package; do printf unknown >build/version/$name.txt; done
printf main >build/version/branch.txt; printf %s $version >build/version/version.txt
sed -i 's/case "background":/case "background", "ns":/' internal/handler/msg_createindexes.go
go build -trimpath -tags "" -ldflags "-s -w" -o "$out/ferretdb" ./cmd/ferretdb
