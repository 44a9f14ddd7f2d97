# The MinIO server from its Go module: S3 for the snapshots.
set -euo pipefail
out=$1 version=$2
export CGO_ENABLED=0 GOFLAGS=-modcacherw GOTOOLCHAIN=local GOBIN=
source=$(go mod download -json "github.com/minio/minio@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp -r "$source/." "$work"; chmod -R u+w "$work"; cd "$work"
go build -trimpath -ldflags "-s -w -X github.com/minio/minio/cmd.ReleaseTag=bed -X github.com/minio/minio/cmd.Version=2026-02-12T20:18:48Z" -o "$out/minio" .
