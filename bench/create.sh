#!/bin/bash
# Pairs, in turn: create of one database by this program, and the pipeline an operator would write by hand
#   kubectl exec … pg_dump | pigz -6 | aws s3 cp -
# on the test bed. Prints seconds, CPU seconds and peak memory of whole processes, and the ratio of each pair.
# Needs the bed up, pigz, GNU time, and the aws command (apt-get install pigz time; pip install awscli).
#   bench/create.sh [PAIRS] [ROWS]      about 190 bytes a row in the server; 11000000 rows make 2 GiB
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${1:-3} rows=${2:-11000000} namespace=production-kaa
eval "$(bash test/e2e/bed/bed env)"
login='export PGUSER=postgres PGPASSWORD=${POSTGRES_POSTGRES_PASSWORD:-$(cat $POSTGRES_POSTGRES_PASSWORD_FILE 2>/dev/null)};'
pod() { kubectl -n $namespace exec -i -c postgresql kaa-postgresql-0 -- bash -c "$login $1"; }
pod "psql -XAtqc \"select 1 from pg_database where datname = 'bench'\"" </dev/null | grep -q 1 || pod 'psql -qX -v ON_ERROR_STOP=1 -f -' <<S
create database bench;
\\c bench
create table readings as select n as id, md5((n % 5000)::text)::uuid as endpoint, timestamptz '2024-01-01' + n * interval '1 second' as at,
  'sensors/' || (n % 97) || '/temperature' as topic, json_build_object('t', round((20 + 10 * sin(n / 1000.0) + random())::numeric, 3), 'fw', '1.' || (n % 7)) as payload,
  decode(md5(random()::text), 'hex') as raw from generate_series(1, $rows) n;
S
timed() { /usr/bin/time -f "%e %U %S %M" -o /tmp/bench-time.$$ "$@" >/dev/null; cat /tmp/bench-time.$$; rm -f /tmp/bench-time.$$; }
ours() { dist/kubectl-kaa_backup create -n $namespace --storage postgresql -q; }
pipeline() {
  set -o pipefail
  kubectl -n $namespace exec -i -c postgresql kaa-postgresql-0 -- bash -c "$login pg_dump -Fc -Z0 -d bench" </dev/null 2>/dev/null | pigz -6 |
    aws s3 cp - "s3://storage-backup--$namespace/pipeline.gz" --only-show-errors
}
export -f ours pipeline; export login namespace
for pair in $(seq "$pairs"); do
  a=$(timed bash -c ours) b=$(timed bash -c pipeline)
  echo "pair $pair: ours $a   pipeline $b   (seconds, user, system, KiB)   pipeline/ours $(echo "${b%% *} ${a%% *}" | awk '{printf "%.2f", $1 / $2}')"
done
aws s3 ls "s3://storage-backup--$namespace/" | tail -n 3
