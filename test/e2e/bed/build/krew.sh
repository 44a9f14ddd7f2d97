# krew as kubectl calls it, from its Go module: what users install this plugin with.
set -euo pipefail
version=v0.4.3
out=$1
export GOFLAGS=-modcacherw
GOBIN=$out go install -trimpath -ldflags "-s -w" "sigs.k8s.io/krew/cmd/krew@$version"
mv "$out/krew" "$out/kubectl-krew"
