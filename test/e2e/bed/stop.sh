#!/bin/bash
# Stops everything that start.sh started. With --wipe the cluster's state goes too; what was built stays.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
set +e
for name in coredns kube-proxy kubelet kube-scheduler kube-controller-manager minio; do stop $name; done
if alive containerd; then
  containers() { ctr -a "$containerd_socket" -n k8s.io "$@" 2>/dev/null; }
  for task in $(containers tasks ls -q); do containers tasks kill -s SIGKILL "$task" >/dev/null; done
  sleep 1
  for task in $(containers tasks ls -q); do containers tasks rm -f "$task" >/dev/null; done
  if [ "${1:-}" = --wipe ]; then for each in $(containers containers ls -q); do containers containers rm "$each" >/dev/null; done; fi
fi
for name in kube-apiserver etcd containerd; do stop $name; done
awk -v r="$state" '$2 ~ "^"r || $2 ~ "^/run/bed" {print $2}' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
for netns in $(ip netns list 2>/dev/null | awk '/^cni-/{print $1}'); do ip netns del "$netns"; done
{
  ip link del $bridge
  for address in $api_ip $dns_ip $s3_ip; do ip addr del $address/32 dev lo; done
  for table in "inet bedguard" "ip kube-proxy" "ip6 kube-proxy"; do nft delete table $table; done
} 2>/dev/null
# hostpath_pv: the one place of the controller manager's volumes, fixed in its code
if [ "${1:-}" = --wipe ]; then rm -rf "$state" "$pki" "$KUBECONFIG" /run/bed /tmp/hostpath_pv "$logs" "$run/s3" "$run/secrets" "$run/audit"*.log; fi
say "stopped"
