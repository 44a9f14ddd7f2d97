# Sourced by every script of the bed: versions, places, addresses, and the care of our own daemons.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KAA_BACKUP_BED_CACHE:-$HOME/.cache/kaa-backup-bed}
run=$cache/run logs=$run/logs pki=$run/pki state=$run/state pids=$run/pids
kubernetes_version=1.34.4 etcd_version=3.6.4 coredns_version=1.12.4
minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
node=bed bridge=bed0 node_ip=10.77.0.1 pod_net=10.77.0.0/24 service_net=10.96.0.0/24 service_api_ip=10.96.0.1
# With kube-proxy the API server must not listen inside the service range: kube-proxy's cluster-ips-check would refuse it.
api_ip=10.95.0.1 dns_ip=10.95.0.53 s3_ip=10.98.0.1
containerd_socket=/run/bed/containerd.sock
bin=$run/bin
export KUBECONFIG=$run/kubeconfig PATH=$bin:$PATH
started_at=$(date +%s)

say() { printf '[%4d s] %s\n' $(($(date +%s) - started_at)) "$*" >&2; }
fail() { say "FAILED: $1"; [ -z "${2:-}" ] || tail -n 25 "$2" >&2; exit 1; }

# artefact NAME VERSION: the folder of a built thing, made by build/NAME.sh when its recipe or version is new. The recipe
# gets the folder to fill in $1 and the version in $2; the folder gets its name only when the recipe has succeeded.
artefact() {
  local name=$1 version=$2 recipe=$here/build/$1.sh key dir log
  key=$(cat "$recipe" "$here"/image/"$name"* 2>/dev/null | sha256sum | cut -c1-12)
  dir=$cache/$name-$version-$key
  if [ ! -d "$dir" ]; then
    log=$cache/build-$name.log
    say "building $name $version (log: $log)"
    rm -rf "$cache/$name-"*.new; mkdir -p "$dir.new"
    bash "$recipe" "$dir.new" "$version" "$here" >"$log" 2>&1 </dev/null || fail "building $name" "$log"
    find "$cache" -maxdepth 1 -name "$name-*" ! -name "*.new" -exec rm -rf {} + # what an older recipe made
    mv "$dir.new" "$dir"
    say "built $name"
  fi
  echo "$dir"
}

# A daemon is ours when its pid file names a live process with the expected command name: a recycled pid is left alone.
alive() {
  local pid; pid=$(cat "$pids/$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$(printf %.15s "$1")" ]
}
start() { # name command...
  local name=$1; shift
  if alive "$name"; then return 0; fi
  setsid "$@" >>"$logs/$name.log" 2>&1 </dev/null &
  echo $! >"$pids/$name"
}
stop() { # name [seconds]
  local pid i
  if ! alive "$1"; then rm -f "$pids/$1"; return 0; fi
  pid=$(cat "$pids/$1"); kill "$pid" 2>/dev/null || true
  for i in $(seq $((${2:-10} * 10))); do readlink "/proc/$pid/exe" >/dev/null || break; sleep 0.1; done # a zombie has no exe
  if alive "$1"; then kill -9 "$pid" 2>/dev/null || true; fi
  rm -f "$pids/$1"
}
wait_for() { # seconds what command...
  local seconds=$1 what=$2 i; shift 2
  for i in $(seq $((seconds * 5))); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.2; done
  fail "gave up waiting for $what after $seconds s"
}
