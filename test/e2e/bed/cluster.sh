# The cluster and the S3 server: certificates, network, daemons, images.

# --- certificates and kubeconfigs: one authority, ECDSA, ten years
certificate() { # name subject [subjectAltName]
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
  openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
  printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n%s\n' \
    "${3:+subjectAltName=$3}" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
  rm "$1.csr" "$1.ext"
}
kubeconfig() { # certificate file
  cat >"$2" <<C
apiVersion: v1
kind: Config
clusters: [{name: bed, cluster: {server: "https://$api_ip:443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: bed, context: {cluster: bed, user: $1, namespace: default}}]
current-context: bed
C
}
make_certificates() (
  umask 077; cd "$pki"
  openssl ecparam -name prime256v1 -genkey -noout -out ca.key
  openssl req -x509 -new -key ca.key -subj /CN=bed-ca -days 3650 -out ca.crt 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
  certificate apiserver /CN=kube-apiserver "IP:$api_ip,IP:$service_api_ip,IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate admin /O=system:masters/CN=admin
  certificate kcm /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate proxy /CN=system:kube-proxy
  certificate node "/O=system:nodes/CN=system:node:$node" "IP:$node_ip,DNS:$node"
  for name in kcm scheduler node proxy; do kubeconfig $name $name.kubeconfig; done
  kubeconfig admin "$KUBECONFIG"
)

# --- network: a bridge for the pods, our addresses on lo, and a guard so that nothing of ours leaves by another way
start_network() {
  ip link show $bridge >/dev/null 2>&1 || ip link add $bridge type bridge
  ip addr replace $node_ip/24 dev $bridge; ip link set $bridge up
  for address in $api_ip $dns_ip $s3_ip; do ip addr replace "$address/32" dev lo; done
  ip route replace $service_net dev $bridge # the host reaches services through kube-proxy
  render "$here/config/guard.nft" | nft -f -
}
stop_network() {
  local name address table
  ip -o link show master $bridge 2>/dev/null | grep -o 'cni-[0-9a-f-]*' | while read -r name; do ip netns del "$name"; done
  ip link del $bridge
  for address in $api_ip $dns_ip $s3_ip; do ip addr del "$address/32" dev lo; done
  for table in "inet bedguard" "ip kube-proxy" "ip6 kube-proxy"; do nft delete table $table; done
} 2>/dev/null

# The kubelet works below a cgroup of this bed's own, for it ends what it does not know, such as another kubelet's pods.
# (Under version 2 it has the root: not tried yet.)
make_cgroups() {
  local controller name
  for controller in /sys/fs/cgroup/*; do
    mkdir -p "$controller$cgroup_root"
    for name in cpuset.cpus cpuset.mems; do # version 1 starts them empty, and then no process can enter
      if [ -e "$controller$cgroup_root/$name" ]; then cat "$controller/$name" >"$controller$cgroup_root/$name"; fi
    done
  done
}

# --- daemons
containerd() { ctr -a $containerd_socket -n k8s.io "$@"; }
start_containerd() {
  start containerd /usr/bin/containerd -c "$config/containerd.toml"
  wait_for containerd 60 containerd version
}
start_apiserver() {
  # Every audit event is written within a second, yet not one by one.
  start kube-apiserver "$binaries/kube-apiserver" --etcd-servers=http://127.0.0.1:23790 --secure-port=443 \
    --bind-address=$api_ip --advertise-address=$api_ip --service-cluster-ip-range=$service_net \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true --profiling=false \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --audit-policy-file="$config/audit.yaml" --audit-log-path="$run/audit.log" --audit-log-maxsize=200 \
    --audit-log-mode=batch --audit-log-batch-max-size=100 --audit-log-batch-max-wait=1s
}
start_controller_manager() {
  start kube-controller-manager "$binaries/kube-controller-manager" --kubeconfig="$pki/kcm.kubeconfig" --bind-address=127.0.0.1 \
    --leader-elect=false --use-service-account-credentials=true --service-account-private-key-file="$pki/sa.key" \
    --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --enable-hostpath-provisioner=true --profiling=false
}
start_s3() {
  [ -s "$run/s3/user" ] || { printf %s "bed-$(random 6)" >"$run/s3/user"; random 24 >"$run/s3/password"; }
  MINIO_ROOT_USER=$(<"$run/s3/user") MINIO_ROOT_PASSWORD=$(<"$run/s3/password") MINIO_BROWSER=off MINIO_UPDATE=off HOME=$run/s3 \
    start minio "$binaries/minio" server --address $s3_ip:9000 "$run/s3/data"
}

# take_volumes: the place for volumes becomes a link to ours. What a bed that lives uses is not touched, nor what is not a
# bed's; but a bed that was killed could not take its link away.
take_volumes() {
  local theirs
  theirs=$(readlink "$volumes" || true)
  if [ "$theirs" = "$run/volumes" ]; then return 0; fi
  case $theirs in
    */run/volumes)
      if lives "${theirs%/volumes}"; then fail "another bed is up: its state is in ${theirs%/volumes}"; fi
      rm "$volumes"
      ;;
    *) if [ -e "$volumes" ] || [ -L "$volumes" ]; then rmdir "$volumes" 2>/dev/null || fail "$volumes is in the way: something else makes volumes there"; fi ;;
  esac
  ln -s "$run/volumes" "$volumes"
}
lives() { # RUN: has a bed with this state any process?
  local name pids=$1/pids
  for name in "$pids"/*; do if alive "${name##*/}"; then return 0; fi; done
  return 1
}

start_cluster() {
  local was_up= etcd=http://127.0.0.1:23790 peer=http://127.0.0.1:23800 file
  if alive kubelet; then was_up=1; fi
  mkdir -p "$logs" "$pids" "$config" "$run"/{s3,cni,kubelet,volumes} /run/bed
  chmod 700 "$run" "$run/s3"; (umask 077; mkdir -p "$pki" "$secrets")
  take_volumes
  [ -e "$pki/done" ] || { make_certificates; touch "$pki/done"; }
  start_network
  if [ $cgroup_root != / ]; then make_cgroups; fi
  for file in containerd.toml kubelet.yaml Corefile audit.yaml kube-proxy.yaml; do
    render "$here/config/$file" | replace "$config/$file" # kube-proxy ends whenever its file is written to
  done
  render "$here/config/cni.json" | replace "$run/cni/10-bed.conflist"
  echo "nameserver $dns_ip" | replace "$config/resolv.conf"

  start etcd "$binaries/etcd" --name bed --data-dir "$run/etcd" --listen-client-urls $etcd --advertise-client-urls $etcd \
    --listen-peer-urls $peer --initial-advertise-peer-urls $peer --initial-cluster bed=$peer --unsafe-no-fsync --log-level warn
  start_apiserver
  start_containerd
  start_s3
  wait_for kube-apiserver 120 kubectl get --raw /readyz
  # After a stop no container of before is alive, but the pods still say "Ready": have them made anew.
  [ -n "$was_up" ] || kubectl delete pods --all --all-namespaces --force --grace-period=0 >/dev/null 2>&1
  start_controller_manager
  start kube-scheduler "$binaries/kube-scheduler" --kubeconfig="$pki/scheduler.kubeconfig" --bind-address=127.0.0.1 \
    --leader-elect=false --profiling=false
  import_image pause "$(pause)"
  start kubelet "$binaries/kubelet" --config="$config/kubelet.yaml" --kubeconfig="$pki/node.kubeconfig" \
    --hostname-override=$node --node-ip=$node_ip --root-dir="$run/kubelet"
  start kube-proxy "$binaries/kube-proxy" --config="$config/kube-proxy.yaml"
  start coredns "$binaries/coredns" -conf "$config/Corefile"
  [ -n "$was_up" ] || wait_for kubelet 90 lease_is_fresh
  wait_for kubelet 120 kubectl wait --for=condition=Ready node/$node --timeout=5s
  wait_for kube-controller-manager 60 kubectl -n default get serviceaccount default
  kubectl apply -f "$here/config/storage-class.yaml" >/dev/null
  wait_for minio 60 curl -fsS $s3_url/minio/health/ready
  wait_for coredns 30 bash -c "exec 3<>/dev/tcp/$dns_ip/53"
  say "Kubernetes and S3 are ready"
}
# A "Ready" node may be a memory of before a restart: the kubelet must have renewed its lease since.
lease_is_fresh() {
  local at
  at=$(kubectl -n kube-node-lease get lease $node -o jsonpath='{.spec.renewTime}') && [ "$(date -d "$at" +%s)" -ge "$started_at" ]
}

stop_cluster() {
  local name
  set +e # whatever has gone already, go on
  for name in coredns kube-proxy kubelet kube-scheduler kube-controller-manager; do stop $name; done
  # Containers outlive a containerd that has died: then start one to end them.
  if [ -d /run/bed/containerd ] && [ -f "$config/containerd.toml" ]; then start_containerd; stop_containers; fi
  for name in kube-apiserver etcd minio containerd; do stop $name; done
  awk -v kubelet="$run/kubelet" '$2 ~ "^/run/bed/" || $2 == kubelet || index($2, kubelet "/") == 1 { print $2 }' /proc/mounts | sort -r |
    while read -r name; do umount -l "$name"; done
  stop_network
  if [ $cgroup_root != / ]; then find /sys/fs/cgroup/*$cgroup_root -depth -type d -exec rmdir {} \; 2>/dev/null; fi
  if [ "$(readlink $volumes)" = "$run/volumes" ]; then rm $volumes; fi
  rm -rf /run/bed "$run/cni" "$run/pod-logs"
  if [ -n "$wipe" ]; then rm -rf "$run"; fi
  say "stopped${wipe:+, and all data is gone}"
}
# Every container goes (nothing but the volumes is kept between runs): first asked, after five seconds killed.
stop_containers() {
  local id i
  for id in $(containerd tasks ls -q); do containerd tasks kill "$id"; done
  for i in {1..25}; do containerd tasks ls | grep -q RUNNING || break; sleep 0.2; done
  for id in $(containerd tasks ls -q); do containerd tasks rm --force "$id"; done
  for id in $(containerd containers ls -q); do containerd containers rm "$id"; done
} >/dev/null 2>&1
