# The storages of the two namespaces. Each folder below storages/ is one:
#   image.sh        how its image is made (see image/image.sh); `entrypoint` becomes its entry point
#   secret          the keys of its Secret kaa-NAME, one a line: KEY for a random password, KEY=VALUE for a fixed value,
#                   KEY=@user or KEY=@password for what opens the S3 server
#   manifest.yaml   its objects; lines that end in #env are for production-kaa, those in #files for stage-kaa
#   started.sh      optional: sourced with $namespace set when its pods have been made, before they must be ready

import_image() { # NAME FOLDER [LAYER...]: unless the node has it; the tag tells one recipe from another
  local reference=localhost/bed/$1:${2##*-} known
  if [ "$1" = pause ]; then reference=localhost/bed/pause:1; fi
  known=$(containerd images ls -q)
  if grep -qxF "$reference" <<<"$known"; then return 0; fi
  python3 "$here/image/oci.py" "$reference" "${@:2}" | containerd images import - >>"$logs/import.log" 2>&1 ||
    fail "import of the image of $1" "$logs/import.log"
  { grep "^localhost/bed/$1:" <<<"$known" || true; } | while read -r known; do containerd images rm "$known" >/dev/null; done
  say "imported the image of $1"
}
import_images() {
  local storage base
  base=$(base)
  for storage in "${selected[@]}"; do import_image "$storage" "$(image "$storage")" "$base"; done
}

# Letters and digits first, so that two can be told apart, then what a careless program trips over (but no newline).
password() { printf '%s %s' "$(random 12)" "\$p'a\"s%s\\w#;&"; }

make_secret() { # NAMESPACE STORAGE: its values are made once, and kept as files
  local folder=$secrets/$1/kaa-$2 line key
  mkdir -p "$folder"
  while IFS= read -r line; do
    key=${line%%=*}
    if [ -e "$folder/$key" ]; then continue; fi
    case $line in
      *=@*) printf %s "$(<"$run/s3/${line#*=@}")" >"$folder/$key" ;;
      *=*) printf %s "${line#*=}" >"$folder/$key" ;;
      *) password >"$folder/$key" ;;
    esac
  done <"$here/storages/$2/secret"
  printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: kaa-%s\n' "$2"
  printf '  labels: {app.kubernetes.io/name: %s, app.kubernetes.io/instance: kaa, app.kubernetes.io/managed-by: Helm}\ndata:\n' "$2"
  for key in "$folder"/*; do printf '  %s: %s\n' "$(basename "$key")" "$(base64 -w0 "$key")"; done
  echo ---
}
# apply NAMESPACE STORAGE...: makes all their objects, or puts them back to what they were.
apply() {
  local namespace=$1 storage other=files image arguments=(); shift
  if [ "$namespace" = stage-kaa ]; then other=env; fi
  (umask 077; mkdir -p "$run/objects/$namespace")
  for storage; do
    image=$(image "$storage"); image=localhost/bed/$storage:${image##*-}
    {
      if [ -f "$here/storages/$storage/secret" ]; then make_secret "$namespace" "$storage"; fi
      render "$here/storages/$storage/manifest.yaml" | sed "/ #$other\$/d"
    } >"$run/objects/$namespace/$storage.yaml"
    arguments+=(-f "$run/objects/$namespace/$storage.yaml")
  done
  kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace" >/dev/null
  kubectl -n "$namespace" apply "${arguments[@]}" >"$logs/apply.log" 2>&1 || fail "kubectl apply in $namespace" "$logs/apply.log"
}
workloads() { # NAMESPACE STORAGE...
  local namespace=$1 storage arguments=(); shift
  for storage; do arguments+=(-f "$run/objects/$namespace/$storage.yaml"); done
  kubectl -n "$namespace" get "${arguments[@]}" -o name | grep '\.apps/'
}
# finish NAMESPACE STORAGE...: waits until they are ready.
finish() {
  local namespace=$1 storage workload; shift
  for storage; do
    [ -f "$here/storages/$storage/started.sh" ] || continue
    (. "$here/storages/$storage/started.sh") >>"$logs/$storage.log" 2>&1 || fail "$namespace: $storage did not start" "$logs/$storage.log"
  done
  for workload in $(workloads "$namespace" "$@"); do
    kubectl -n "$namespace" rollout status "$workload" --timeout=240s >/dev/null 2>&1 || explain "$namespace" "$workload"
  done
  say "$namespace: $* ready"
}
explain() { # NAMESPACE WORKLOAD: why it is not ready
  {
    kubectl -n "$1" describe pod -l "app.kubernetes.io/instance=kaa" | grep -A 30 '^Events:'
    kubectl -n "$1" logs "$2" --all-containers --tail=20
  } >"$logs/not-ready.log" 2>&1 || true
  fail "$1: $2 is not ready" "$logs/not-ready.log"
}
start_storages() {
  local namespace
  for namespace in "${namespaces[@]}"; do apply "$namespace" "${selected[@]}"; done
  for namespace in "${namespaces[@]}"; do finish "$namespace" "${selected[@]}"; done
}

# Ends the storages' pods, empties their volumes, and starts them again.
reset_storages() {
  local namespace storages path
  alive kubelet || fail "the bed is not up"
  for namespace in "${namespaces[@]}"; do
    [ -d "$run/objects/$namespace" ] || fail "the bed has no namespace \"$namespace\""
    storages=($(basename -s .yaml "$run/objects/$namespace"/*))
    kubectl -n "$namespace" scale $(workloads "$namespace" "${storages[@]}") --replicas=0 >/dev/null
    # Nobody will miss the data: a second is enough for an end.
    kubectl -n "$namespace" delete pod --all --grace-period=1 >/dev/null 2>&1 || true
    for path in $(kubectl get pv -o jsonpath="{range .items[?(@.spec.claimRef.namespace=='$namespace')]}{.spec.hostPath.path}{'\n'}{end}"); do
      case $path in "$volumes"/?*) find "$path/" -mindepth 1 -delete ;; esac
    done
    apply "$namespace" "${storages[@]}"
  done
  for namespace in "${namespaces[@]}"; do finish "$namespace" $(basename -s .yaml "$run/objects/$namespace"/*); done
}
