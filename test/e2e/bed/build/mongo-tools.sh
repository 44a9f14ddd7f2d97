# The real mongodump and mongorestore.
set -euo pipefail
version=v0.0.0-20240723193119-837c2bc263f4
out=$1
export GOFLAGS="-mod=mod -modcacherw"
source=$(cd / && go mod download -json "github.com/mongodb/mongo-tools@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp -r "$source/." "$work"; chmod -R u+w "$work"; cd "$work"; rm -rf vendor # it is not complete in the module
for name in mongodump mongorestore; do go build -trimpath -ldflags "-s -w" -o "$out/$name" ./$name/main; done
