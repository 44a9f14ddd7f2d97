# One program for etcd, the control plane, kubelet, kube-proxy and kubectl, from the Go module of Kubernetes.
set -euo pipefail
version=1.34.4 etcd=3.6.4
out=$1 minor=${version#1.}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat >main.go <<'G'
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	var c *cobra.Command
	switch filepath.Base(os.Args[0]) {
	case "etcd":
		etcdmain.Main(os.Args)
		return
	case "kube-apiserver":
		c = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		c = kcm.NewControllerManagerCommand()
	case "kube-scheduler":
		c = scheduler.NewSchedulerCommand()
	case "kubelet":
		c = kubelet.NewKubeletCommand(context.Background())
	case "kube-proxy":
		c = kubeproxy.NewProxyCommand()
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
		return
	default:
		fmt.Fprintln(os.Stderr, "call me by the name of a component")
		os.Exit(2)
	}
	os.Exit(cli.Run(c))
}
G
# The module's own replacements point into its source tree, which the module lacks: replace by the published versions.
curl -fsS "$(go env GOPROXY | cut -d, -f1)/k8s.io/kubernetes/@v/v$version.mod" -o k8s.mod
{
  printf 'module hyperkube\n\ngo 1.24.0\n\ngodebug default=go1.24\n\nrequire (\n'
  printf '\tk8s.io/kubernetes v%s\n\tgo.etcd.io/etcd/server/v3 v%s\n)\n\nreplace (\n' "$version" "$etcd"
  grep -E '^\sk8s.io/[a-z-]+ => ' k8s.mod | awk -v v="v0.$minor" '{print "\t"$1" => "$1" "v}'
  echo ')'
} >go.mod
export GOFLAGS="-mod=mod -modcacherw"
go get ./...
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags="$flags -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
done
go build -trimpath -ldflags "$flags" -o "$out/hyperkube" .
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do ln -s hyperkube "$out/$name"; done
