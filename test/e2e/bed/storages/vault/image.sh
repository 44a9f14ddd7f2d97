# Vault with its own raft storage.
# needs: vault
install -m 755 "$programs/vault" "$root/usr/local/bin/vault"
version=$(sed -n 's/^version=\([^ ]*\).*/\1/p' "$folder/../../build/vault.sh")
