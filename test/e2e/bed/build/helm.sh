# The real helm. Kubernetes' modules are taken in the version that hyperkube.sh has, so that most of it is compiled already.
set -euo pipefail
version=v3.19.5
out=$1
kubernetes=$(sed -n 's/^version=1\.\([^ ]*\).*/v0.\1/p' "$(dirname "$0")/hyperkube.sh")
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
{
  printf 'module bedhelm\n\ngo 1.24.0\n\nrequire helm.sh/helm/v3 %s\n\nreplace (\n' "$version"
  for module in api apiextensions-apiserver apimachinery apiserver cli-runtime client-go component-base kubectl; do
    printf '\tk8s.io/%s => k8s.io/%s %s\n' "$module" "$module" "$kubernetes"
  done
  echo ')'
} >go.mod
export GOFLAGS="-mod=mod -modcacherw"
go get "helm.sh/helm/v3/cmd/helm@$version"
flags="-s -w -X helm.sh/helm/v3/internal/version.version=$version"
for package in chartutil lint/rules; do # the version that `helm template` and `helm lint` take for the cluster's
  flags="$flags -X helm.sh/helm/v3/pkg/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$package.k8sVersionMinor=$(cut -d. -f2 <<<"$kubernetes")"
done
go build -trimpath -ldflags "$flags" -o "$out/helm" helm.sh/helm/v3/cmd/helm
