# OpenSearch with repository-s3, where the Open Distro image keeps its Elasticsearch.
# needs: opensearch
# needs: front
packages ca-certificates curl # repository-s3 deletes nothing without a trust store, even over plain HTTP
home=$root/usr/share/elasticsearch
mkdir -p "$home/bin"
for program in $programs; do
  if [ -e "$program/front" ]; then install -m 755 "$program/front" "$root/usr/local/bin/front"; else cp -r "$program"/{agent,java,lib,modules,plugins,tools} "$home/"; fi
done
install -m 755 "$folder/elasticsearch-keystore" "$home/bin/"
install -d -m 777 "$home/config" "$home/data" "$home/logs"
install -m 644 "$folder/log4j2.properties" "$home/config/"
echo 'elasticsearch:x:1000:0:elasticsearch:/usr/share/elasticsearch:/bin/bash' >>"$root/etc/passwd"
path=/usr/share/elasticsearch/bin:$path
version=$(sed -n 's/^version=\([^ ]*\).*/\1/p' "$folder/../../build/opensearch.sh")
