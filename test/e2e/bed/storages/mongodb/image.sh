# FerretDB (a server that speaks MongoDB's protocol, upon SQLite) with the real mongodump and mongorestore.
# needs: ferretdb
# needs: mongo-tools
# needs: mongo-command
for program in $programs; do install -m 755 -t "$root/usr/local/bin" "$program"/*; done
version=$(sed -n 's/^version=\([^ ]*\).*/\1/p' "$folder/../../build/ferretdb.sh")
