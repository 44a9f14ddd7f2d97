# What `bed status` and `bed env` print.

recipe_version() { sed -n "s/.*\<$2=\([^ ]*\).*/\1/p" "$here/build/$1.sh" | head -n 1; } # PROGRAM VARIABLE
print_status() {
  local name state version kubernetes namespace pod ready waiting image
  kubernetes=$(recipe_version hyperkube version)
  {
    printf 'NAME\tSTATE\tVERSION\n'
    for name in containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy coredns minio; do
      if alive $name; then state=running; else state=stopped; fi
      case $name in
        containerd) version=$(dpkg-query -f '${source:Upstream-Version}' -W containerd 2>/dev/null || echo -) ;;
        etcd) version=$(recipe_version hyperkube etcd) ;;
        coredns) version=$(recipe_version coredns version) ;;
        minio) version=$(recipe_version minio released) ;;
        *) version=$kubernetes ;;
      esac
      printf '%s\t%s\t%s\n' $name "$state" "$version"
    done
    if alive kube-apiserver; then
      kubectl get pods -A -o jsonpath='{range .items[*]}{.metadata.namespace} {.metadata.name} {.spec.containers[0].image} {.status.containerStatuses[0].ready} {.status.phase} {.status.containerStatuses[*].state.waiting.reason}{"\n"}{end}' |
        while read -r namespace pod image ready state waiting; do
          if [ "$ready" = true ]; then state=ready; elif [ -n "$waiting" ]; then state=$waiting; else state="$state, not ready"; fi
          name=${image#localhost/bed/}
          version=$(cat "$cache/image-${name/:/-}/version" 2>/dev/null || echo "$image")
          printf '%s\t%s\t%s\n' "$namespace/$pod" "$state" "$version"
        done
    fi
  } | column -t -s $'\t'
}

print_env() {
  [ -s "$run/s3/password" ] || fail "the bed has never been up: bed up"
  printf 'export %s=%q\n' KUBECONFIG "$KUBECONFIG" \
    AWS_ENDPOINT_URL "$s3_url" AWS_ACCESS_KEY_ID "$(<"$run/s3/user")" AWS_SECRET_ACCESS_KEY "$(<"$run/s3/password")" AWS_REGION us-east-1 \
    BED_S3_URL_IN_PODS http://s3.bed:9000 BED_RELEASE $release BED_NAMESPACES "${namespaces[*]}" \
    BED_AUDIT_LOG "$run/audit.log" BED_SECRETS "$secrets" BED_RUN "$run" BED_CONTAINERD_SOCKET $containerd_socket
  printf 'export PATH=%q:"$PATH"\n' "$tools"
}
