# The image of the process that holds a pod's namespaces: it does nothing, and reaps orphans.
set -euo pipefail
out=$1
. "$(dirname "$0")/pack.sh"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat >main.go <<'G'
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
G
mkdir root
go build -trimpath -ldflags '-s -w' -o root/pause main.go
pack root "$out"
printf '{"Entrypoint": ["/pause"]}\n' >"$out/config.json"
echo 1 >"$out/version"
