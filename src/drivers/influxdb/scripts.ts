/** Scripts that run in InfluxDB's pod. influxd's backup writes files; they go where there is most room, and are deleted
 *  when the script ends, however it ends. What a killed run left is deleted by the next. */

const folders = `"$INFLUXD_TMP" /bitnami/influxdb /var/lib/influxdb /var/lib/influxdb2 /tmp`;
const dataFolders = `"$INFLUXDB_DATA_DIR" /bitnami/influxdb/data /var/lib/influxdb/data`;
const onlyWritable = `[ -n "$each" ] && [ -d "$each" ] && [ -w "$each" ] || continue`;

const workFolder = `base=; room=0
for each in ${folders}; do
  ${onlyWritable}
  rm -rf "$each"/kaa-backup.??????
  free=$(df -Pk "$each" | awk 'NR == 2 { print $4 }' 2>/dev/null) || free=$(df -Pk "$each" | sed -n '2s/^.* \\([0-9]*\\) *[0-9]*% .*/\\1/p')
  [ "\${free:-0}" -gt "$room" ] && base=$each && room=$free
done
[ -n "$base" ] || { echo 'no folder of the container can be written to' >&2; exit 3; }
dir=$(mktemp -d "$base/kaa-backup.XXXXXX") || exit
trap 'rm -rf "$dir"' EXIT
trap 'exit 143' TERM INT HUP
`;

/** Prints the tools that are missing, one a line, and then the kilobytes that the data take. */
export const inspectScript = `for tool in influxd tar mktemp df gzip; do command -v "$tool" >/dev/null || echo "$tool"; done
echo "kilobytes $(du -sk /bitnami/influxdb/data /var/lib/influxdb/data 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }')"`;

/** The kilobytes for which there will be room in one of those folders once the databases are dropped. */
export const roomScript = `most=0
for each in ${folders}; do
  ${onlyWritable}
  set -- $(df -Pk "$each" | sed -n 2p)
  room=\${4:-0}
  for data in ${dataFolders}; do
    [ -n "$data" ] && [ -d "$data" ] && [ "$(stat -c %d "$data")" = "$(stat -c %d "$each")" ] || continue
    room=$((room + $(du -sk "$data" 2>/dev/null | sed 's/[^0-9].*//')))
  done
  [ "$room" -gt "$most" ] && most=$room
done
echo "$most"`;

/** Sends what lies in $dir, when it has a manifest and every file in it is whole. */
const send = `cd "$dir" || exit
set -- *.manifest
[ -f "$1" ] || { echo 'the backup has no manifest' >&2; exit 3; }
for each in *.gz; do [ -f "$each" ] || continue; gzip -t "$each" || exit; done
tar -cf - *`;

/** $@: ids of the shards that the server knows. stdout: a tar of influxd's portable backup. None of those that have a folder may be
 *  missing: the server leaves out what it could not open, and influxd says success (services/snapshotter/service.go,
 *  writeDatabaseInfo). A shard that was created ahead of its time has no folder yet.
 *
 *  influxd tries again for four minutes what fails because the disk is full, and the disk, which may be the server's own, stays full
 *  meanwhile (seen with 1.6.7). So it is ended as soon as it says so. */
export const dumpScript = `${workFolder}
status=$(
  {
    {
      sh -c 'echo $$; exec influxd backup -portable -host 127.0.0.1:8088 "$1" 2>&1' influxd "$dir"
      echo $? >&4
    } | {
      IFS= read -r influxd
      while IFS= read -r line; do
        echo "$line" >&2
        case $line in *'no space left on device'*) kill "$influxd" ;; esac
      done
    }
  } 4>&1
)
[ "$status" = 0 ] || exit "$status"
for id; do
  for each in ${dataFolders}; do
    for folder in "$each"/*/*/"$id"; do
      [ ! -d "$folder" ] || [ -f "$(echo "$dir"/*".s$id.tar.gz")" ] || { echo "the backup lacks shard $id" >&2; exit 3; }
    done
  done
done
${send}`;

/** stdin: that tar. No database but the server's own may exist. */
export const restoreScript = `${workFolder}
tar -xf - -C "$dir" || exit
influxd restore -portable -host 127.0.0.1:8088 "$dir" >"$dir/log" 2>&1
code=$?
cat "$dir/log" >&2
[ "$code" = 0 ] || exit "$code"
if grep -v ' on database _internal\\. ' "$dir/log" | grep -q 'Skipping shard'; then echo "influxd skipped a shard" >&2; exit 3; fi`;

/** As `inspectScript`, for 2.x. Versions before 2.1 have the command in influxd's own package; a slim image may lack it. */
export const inspectTwoScript = `for tool in influx tar mktemp df gzip; do command -v "$tool" >/dev/null || echo "$tool"; done
echo "kilobytes $(du -sk /bitnami/influxdb /var/lib/influxdb2 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }')"`;

/** $1: port. $INFLUX_TOKEN: the operator's token. stdout: a tar of influx's backup. */
export const dumpTwoScript = `${workFolder}
export INFLUX_HOST="http://127.0.0.1:$1"
influx backup "$dir" >&2 || exit
${send}`;

/** $1: port. $INFLUX_TOKEN: the operator's token. stdin: that tar. */
export const restoreTwoScript = `${workFolder}
tar -xf - -C "$dir" || exit
export INFLUX_HOST="http://127.0.0.1:$1"
influx restore --full "$dir" >&2`;
