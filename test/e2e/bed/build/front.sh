# The door of OpenSearch: HTTP basic authentication, over TLS if wanted, as Open Distro's security plugin has it (which is in
# no registry).
set -euo pipefail
version=1
out=$1
cd "$(dirname "$0")/front"
go build -trimpath -ldflags '-s -w' -o "$out/front" main.go
