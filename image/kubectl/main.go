// kubectl from the published module k8s.io/kubectl, as cmd/kubectl of k8s.io/kubernetes makes it. That one's module cannot be
// required: its replacements point into a source tree that it lacks.
package main

import (
	_ "k8s.io/client-go/plugin/pkg/client/auth" // registers the ways to log in
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
