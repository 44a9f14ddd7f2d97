# The MinIO server from its Go module: S3 for the snapshots, and one of the storages.
set -euo pipefail
version=v0.0.0-20260212201848-7aac2a2c5b7c released=2026-02-12T20:18:48Z
out=$1
export GOFLAGS=-modcacherw
source=$(go mod download -json "github.com/minio/minio@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp -r "$source/." "$work"; chmod -R u+w "$work"; cd "$work"
go build -trimpath -ldflags "-s -w -X github.com/minio/minio/cmd.ReleaseTag=bed -X github.com/minio/minio/cmd.Version=$released" -o "$out/minio" .
