#!/bin/bash
# Starts the cluster and the S3 server, or completes their start; safe to run again.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
was_up=; if alive kubelet; then was_up=1; fi
mkdir -p "$logs" "$pki" "$state/cni" "$state/kubelet" "$pids" "$run/s3" /run/bed

# --- certificates and kubeconfigs: one CA, ECDSA, ten years
if [ ! -e "$pki/done" ]; then
  cd "$pki"
  openssl ecparam -name prime256v1 -genkey -noout -out ca.key
  openssl req -x509 -new -key ca.key -subj /CN=bed-ca -days 3650 -out ca.crt 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null; openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
  cert() { # name subject [subjectAltName]
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:+subjectAltName=$3}" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm -f "$1.csr" "$1.ext"
  }
  cert apiserver /CN=kube-apiserver "IP:$api_ip,IP:$service_api_ip,IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  cert kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  cert admin /O=system:masters/CN=admin
  cert kcm /CN=system:kube-controller-manager
  cert scheduler /CN=system:kube-scheduler
  cert proxy /CN=system:kube-proxy
  cert node "/O=system:nodes/CN=system:node:$node" "IP:$node_ip,DNS:$node"
  kubeconfig() { # certificate file
    cat >"$2" <<C
apiVersion: v1
kind: Config
clusters: [{name: bed, cluster: {server: "https://$api_ip:443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: bed, context: {cluster: bed, user: $1, namespace: default}}]
current-context: bed
C
    chmod 600 "$2"
  }
  kubeconfig admin "$KUBECONFIG"
  for name in kcm scheduler node proxy; do kubeconfig $name $name.kubeconfig; done
  touch done; cd "$here"
fi

# --- network: a bridge for the pods, our service addresses on lo, and a guard so that nothing of ours leaves by eth0
ip link show $bridge >/dev/null 2>&1 || ip link add $bridge type bridge
ip addr replace $node_ip/24 dev $bridge; ip link set $bridge up
for address in $api_ip $dns_ip $s3_ip; do ip addr replace $address/32 dev lo; done
ip route replace $service_net dev $bridge # the host reaches service addresses through kube-proxy
nft -f - <<N
table inet bedguard
delete table inet bedguard
table inet bedguard {
  chain forward { type filter hook forward priority -10; policy accept; ip saddr $pod_net ip daddr != $pod_net drop; ip daddr $pod_net ip saddr != $pod_net drop; }
  chain output { type filter hook postrouting priority 200; policy accept; oifname "eth0" ip daddr { 10.77.0.0/16, 10.95.0.0/16, 10.96.0.0/16, 10.98.0.0/16 } drop; }
  chain input { type filter hook input priority -10; policy accept; iifname "eth0" ip daddr { 10.77.0.0/16, 10.95.0.0/16, 10.96.0.0/16, 10.98.0.0/16 } drop; }
}
N

# --- configuration
cat >"$state/cni/10-bed.conflist" <<C
{"cniVersion":"0.4.0","name":"bed","plugins":[{"type":"bridge","bridge":"$bridge","isDefaultGateway":true,"ipMasq":false,"hairpinMode":true,
 "ipam":{"type":"host-local","dataDir":"$state/cni-ipam","ranges":[[{"subnet":"$pod_net","rangeStart":"10.77.0.10","gateway":"$node_ip"}]]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
C
cat >"$state/containerd.toml" <<C
version = 2
root = "$state/containerd"
state = "/run/bed/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs","io.containerd.snapshotter.v1.zfs","io.containerd.snapshotter.v1.devmapper","io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "$containerd_socket"
[ttrpc]
  address = "$containerd_socket.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$state/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
C
echo "nameserver $dns_ip" >"$state/resolv.conf"
echo "$s3_ip s3.bed" >"$state/hosts"
cat >"$state/Corefile" <<C
.:53 {
  bind $dns_ip
  errors
  cache 5
  hosts $state/hosts {
    fallthrough cluster.local in-addr.arpa
  }
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $KUBECONFIG bed
    pods verified
    ttl 2
  }
}
C
# What an operator's audit log would show of us: requests with their bodies, but for Secrets.
cat >"$state/audit.yaml" <<C
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: Request, resources: [{group: "", resources: [pods/exec, pods/portforward]}]}
- {level: Request, users: [kaa-backup, "system:serviceaccount:production-kaa:kaa-backup"]}
- {level: None}
C
cat >"$state/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/node.crt
tlsPrivateKeyFile: $pki/node.key
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
containerRuntimeEndpoint: unix://$containerd_socket
resolvConf: $state/resolv.conf
clusterDNS: [$dns_ip]
clusterDomain: cluster.local
readOnlyPort: 0
registerNode: true
serializeImagePulls: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 200Mi, nodefs.available: 1%, imagefs.available: 1%}
C
[ -s "$run/s3/password" ] || head -c 18 /dev/urandom | base64 -w0 | tr '+/' 'ab' >"$run/s3/password"

# --- daemons
start containerd /usr/bin/containerd -c "$state/containerd.toml"
start etcd "$bin/etcd" --name bed --data-dir "$state/etcd" --listen-client-urls http://127.0.0.1:23790 --advertise-client-urls http://127.0.0.1:23790 \
  --listen-peer-urls http://127.0.0.1:23800 --initial-advertise-peer-urls http://127.0.0.1:23800 --initial-cluster bed=http://127.0.0.1:23800 --unsafe-no-fsync --log-level warn
start kube-apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:23790 --bind-address=$api_ip --advertise-address=$api_ip --secure-port=443 \
  --service-cluster-ip-range=$service_net --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
  --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" --kubelet-certificate-authority="$pki/ca.crt" \
  --kubelet-preferred-address-types=InternalIP --profiling=false \
  --audit-policy-file="$state/audit.yaml" --audit-log-path="$run/audit.log" --audit-log-mode=batch --audit-log-maxsize=200
MINIO_ROOT_USER=kaa-bed MINIO_ROOT_PASSWORD=$(cat "$run/s3/password") MINIO_BROWSER=off MINIO_UPDATE=off HOME=$run/s3 \
  start minio "$bin/minio" server --address $s3_ip:9000 "$run/s3/data"
wait_for 90 containerd ctr -a "$containerd_socket" version
for image in pause kaa-storages; do
  # A changed image is imported under the same name: the mark tells which one is in.
  mark=$state/image-$image
  [ "$(readlink -f "$run/images/$image.tar")" = "$(cat "$mark" 2>/dev/null)" ] && continue
  say "importing image $image"
  ctr -a "$containerd_socket" -n k8s.io images import "$run/images/$image.tar" >>"$logs/import.log" 2>&1 || fail "import of $image" "$logs/import.log"
  readlink -f "$run/images/$image.tar" >"$mark"
done
wait_for 120 "the API server" kubectl get --raw /readyz
start kube-controller-manager "$bin/kube-controller-manager" --kubeconfig="$pki/kcm.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true \
  --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
  --enable-hostpath-provisioner=true --profiling=false
start kube-scheduler "$bin/kube-scheduler" --kubeconfig="$pki/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false --profiling=false
start kubelet "$bin/kubelet" --config="$state/kubelet.yaml" --kubeconfig="$pki/node.kubeconfig" --hostname-override=$node --node-ip=$node_ip --root-dir="$state/kubelet"
# A Ready left over from before a restart does not count: the kubelet must have renewed its lease since this start.
fresh() { local at; at=$(kubectl -n kube-node-lease get lease $node -o jsonpath='{.spec.renewTime}') && [ "$(date -d "$at" +%s)" -ge "$started_at" ]; }
[ -n "$was_up" ] || wait_for 90 "the kubelet's lease" fresh
wait_for 120 "the node" kubectl wait --for=condition=Ready node/$node --timeout=5s
wait_for 60 "the default service account" kubectl -n default get sa default
cat >"$state/proxy.yaml.new" <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
bindAddress: $node_ip
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clusterCIDR: $pod_net
hostnameOverride: $node
nodePortAddresses: [$node_ip/32]
clientConnection: {kubeconfig: $pki/proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
C
# kube-proxy exits when its configuration file is written to, even with the same content.
cmp -s "$state/proxy.yaml.new" "$state/proxy.yaml" || mv "$state/proxy.yaml.new" "$state/proxy.yaml"
start kube-proxy "$bin/kube-proxy" --config="$state/proxy.yaml"
start coredns "$bin/coredns" -conf "$state/Corefile"
kubectl apply -f - >/dev/null <<Y
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/host-path
Y
wait_for 30 "the S3 server" curl -fsS "http://$s3_ip:9000/minio/health/ready"
say "cluster and S3 are up"
