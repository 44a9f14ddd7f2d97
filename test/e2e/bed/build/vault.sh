# Vault from its Go module. The module lacks its own ./api and ./sdk (modules of their own) and the web UI, hence the
# patches: the published sdk differs from the in-tree one in two signatures. Built without most backends ("minimal"), to
# which upstream's own "file" storage is added again.
set -euo pipefail
version=v1.21.4
out=$1
export GOFLAGS="-mod=mod -modcacherw"
source=$(cd / && go mod download -json "github.com/hashicorp/vault@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp -r "$source/." "$work"; chmod -R u+w "$work"; cd "$work"; rm -rf vendor
for module in api api/auth/approle api/auth/kubernetes api/auth/userpass sdk; do go mod edit -dropreplace "github.com/hashicorp/vault/$module"; done
go mod edit -require github.com/hashicorp/vault/api/auth/approle@v0.10.0 -require github.com/hashicorp/vault/api/auth/userpass@v0.10.0
sed -i 's/restoredKeyName, err := b.lm.RestorePolicy(/restoredKeyName := keyName\n\terr := b.lm.RestorePolicy(/' builtin/logical/transit/path_restore.go
sed -i 's/activateDeduplication(ctx context.Context, req \*logical.Request) error/activateDeduplication(ctx context.Context, req *logical.Request, _ string) error/' vault/identity_store_util.go
sed -i 's/ActivationFunc(ctx, nil)/ActivationFunc(ctx, nil, "force-identity-deduplication")/' vault/logical_system_activation_flags.go
sed -i 's#^import (#import (\n\tphysFile "github.com/hashicorp/vault/sdk/physical/file"#; s#^func extendAddonHandlers(\*vaultHandlers) {#func extendAddonHandlers(h *vaultHandlers) {\n\th.physicalBackends["file"] = physFile.NewFileBackend#; s#// No-op##' command/commands_min.go
go build -trimpath -tags minimal -ldflags "-s -w" -o "$out/vault" .
