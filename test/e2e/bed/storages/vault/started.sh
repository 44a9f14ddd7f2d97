bash "$here/storages/vault/unseal" "$namespace"
