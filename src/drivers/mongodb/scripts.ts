/** Scripts that run in MongoDB's pod. The password comes as a line of YAML in $KAA_CONFIG and reaches the tools as a file
 *  that exists only as a descriptor. */

/** Prints the tools that are missing, one a line, and then the version of mongodump. */
export const inspectScript = `for tool in mongodump mongorestore; do command -v "$tool" >/dev/null || echo "missing $tool"; done
mongodump --version 2>/dev/null | head -n 1`;

/** $1: port; $2: user, or empty; further: more flags. stdout: the archive. */
export const dumpScript = `port=$1; user=$2; shift 2
set -- --host 127.0.0.1 --port "$port" --archive "$@"
if [ -z "$user" ]; then exec mongodump "$@"; fi
exec mongodump --config=/dev/fd/3 --username "$user" --authenticationDatabase admin "$@" 3<<EOF
$KAA_CONFIG
EOF`;

/** $1: port; $2: user, or empty. stdin: an archive. */
export const restoreScript = `port=$1; user=$2
set -- --host 127.0.0.1 --port "$port" --archive --drop --stopOnError --nsExclude 'admin.system.*' --nsExclude 'config.*'
if [ -z "$user" ]; then mongorestore "$@" 2>&1; exit; fi
mongorestore --config=/dev/fd/3 --username "$user" --authenticationDatabase admin "$@" 3<<EOF 2>&1
$KAA_CONFIG
EOF`;
