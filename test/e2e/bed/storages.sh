#!/bin/bash
# Puts the storages into production-kaa and stage-kaa and waits until they are ready. Each folder below storages/ is one;
# its Secret's passwords are made once per namespace, and differ.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# A password with every character that a careless program trips over, but a newline.
password() { printf '%s %s' "$(head -c 9 /dev/urandom | base64 -w0 | tr '+/' 'xy')" "\$p'a\"s%s\\w#ö"; }
for namespace in production-kaa stage-kaa; do
  kubectl create namespace $namespace --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  for folder in "$here"/storages/*/; do
    name=$(basename "$folder")
    secrets=$run/secrets/$namespace; mkdir -p "$secrets"; chmod 700 "$run/secrets"
    arguments=()
    while read -r key; do
      [ -s "$secrets/$name-$key" ] || password >"$secrets/$name-$key"
      arguments+=("--from-file=$key=$secrets/$name-$key")
    done <"$folder/secret-keys"
    kubectl -n $namespace create secret generic "kaa-$name" "${arguments[@]}" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    kubectl -n $namespace apply -f "$folder/$namespace.yaml" >/dev/null
  done
done
for namespace in production-kaa stage-kaa; do
  for folder in "$here"/storages/*/; do
    name=kaa-$(basename "$folder")
    kubectl -n $namespace rollout status "statefulset/$name" --timeout=180s >/dev/null || {
      kubectl -n $namespace describe pod "$name-0" | tail -n 25 >&2; fail "$namespace/$name is not ready"
    }
    say "$namespace/$name is ready"
  done
done
