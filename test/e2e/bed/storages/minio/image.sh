# The MinIO server.
# needs: minio
install -m 755 "$programs/minio" "$root/usr/local/bin/minio"
version=$(sed -n "s/.*released=\([^ ]*\).*/\1/p" "$folder/../../build/minio.sh")
