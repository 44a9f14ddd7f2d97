# Sourced by every part of the bed: places, addresses, progress lines, and the care of our own processes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KAA_BACKUP_BED_CACHE:-$HOME/.cache/kaa-backup-bed}
run=$cache/run
logs=$run/logs pids=$run/pids pki=$run/pki config=$run/config secrets=$run/secrets
binaries=$run/bin # every built program; `tools` has kubectl, krew and helm, for the user's PATH
tools=$run/tools
containerd_root=$cache/containerd # outlives `down --wipe`: images need not be imported again
containerd_socket=/run/bed/containerd.sock
cgroup_root=/bed-$(cksum <<<"$cache" | cut -d' ' -f1); if [ -f /sys/fs/cgroup/cgroup.controllers ]; then cgroup_root=/; fi
volumes=/tmp/hostpath_pv # where the controller manager makes volumes, fixed in its code: a link into $run

release=kaa
namespaces=(production-kaa stage-kaa)
node=bed bridge=bed0 node_ip=10.77.0.1 pod_net=10.77.0.0/24
service_net=10.96.0.0/24 service_api_ip=10.96.0.1
# The API server must listen outside the service range: kube-proxy refuses what is "still a cluster IP" after its DNAT.
api_ip=10.95.0.1 dns_ip=10.95.0.53 s3_ip=10.98.0.1
s3_url=http://$s3_ip:9000

export KUBECONFIG=$run/kubeconfig PATH=$binaries:$PATH
started_at=$EPOCHSECONDS

say() { printf '[%4d s] %s\n' $((EPOCHSECONDS - started_at)) "$*" >&2; }
fail() { # message [log]: ends the run, showing the end of the log that tells why
  say "FAILED: $1"
  if [ -s "${2:-}" ]; then printf -- '--- last lines of %s\n' "$2" >&2; tail -n 30 "$2" >&2; fi
  exit 1
}

# render FILE: the file with each @name@ replaced by the shell variable of that name.
render() {
  local text name
  text=$(<"$1")
  for name in $(grep -o '@[A-Za-z0-9_]*@' "$1" | tr -d @ | sort -u); do text=${text//"@$name@"/"${!name}"}; done
  printf '%s\n' "$text"
}
# replace FILE: stdin becomes the content of FILE, which is left untouched when it has that content already.
replace() {
  cat >"$1.new"
  if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

random() { local text; text=$(openssl rand -hex "$1"); printf %s "${text:0:$1}"; } # LENGTH: letters and digits

# A daemon is ours when its pid file names a live process by number and start time: a recycled pid is left alone.
born() { # pid: its start time, nothing for a zombie (init may reap slowly)
  local fields
  { read -r fields <"/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${fields##*) }
  [ "$1" != Z ] && echo "${20}"
}
alive() { # name
  local pid at
  { read -r pid at <"$pids/$1"; } 2>/dev/null && [ "$(born "$pid")" = "$at" ]
}
start() { # name command...
  local name=$1 pid; shift
  if alive "$name"; then return 0; fi
  setsid "$@" >>"$logs/$name.log" 2>&1 </dev/null 9>&- & # 9 is the lock of `bed`: it must not outlive it in a daemon
  pid=$!
  echo "$pid $(born "$pid")" >"$pids/$name"
}
stop() { # name: asks, waits for ten seconds, then insists
  local pid i
  if alive "$1"; then
    pid=$(cut -d' ' -f1 "$pids/$1")
    kill "$pid" || true
    for i in {1..100}; do alive "$1" || break; sleep 0.1; done
    if alive "$1"; then kill -9 "$pid" || true; fi
  fi
  rm -f "$pids/$1"
}
wait_for() { # daemon seconds command...: repeats the command until it succeeds; gives up early when the daemon has died
  local daemon=$1 seconds=$2 end=$((EPOCHSECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    alive "$daemon" || fail "$daemon has ended" "$logs/$daemon.log"
    [ "$EPOCHSECONDS" -lt "$end" ] || fail "$daemon is not ready after $seconds s" "$logs/$daemon.log"
    sleep 0.2
  done
}
