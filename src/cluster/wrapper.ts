/** The constant POSIX `sh` script around every command that we run in a pod (dash, bash, busybox). It
 *  - takes secrets from stdin, so that they are in no argument list and no audit log;
 *  - counts and hashes what the command reads and writes, and reports that as the last line of stderr (the witness);
 *  - kills the command before it could take a cut input for a whole one;
 *  - watches stdin afterwards: end-of-file means that our side is gone, and everything started here ends within 5 s.
 *
 *  Nothing here may become an orphan that dies of a signal: in a database's container the server itself is process 1 and
 *  adopts it, and PostgreSQL takes the death of a child that it does not know for a crash of one of its own and restarts
 *  (seen with 15.18; postmaster.c, CleanupBackend). So only leaves of our process tree are ever killed: their parents are
 *  shells that wait for them, and go on to end by themselves. The tree is read from /proc with nothing but built-ins.
 *  `hold` keeps a pipe open meanwhile, because the end of a cut input must not look like the end of a whole one.
 *  The watchdog waits for USR1, which says that the input has been read; its redirections are made by `exec`, because dash
 *  keeps copies of descriptors that are redirected on a compound command, and would hold pipes open. */
export const wrapperScript = `nonce=$1 length=$2 sha256=$3 decoder=$4 encoder=$5 body=$6
shift 6
exec 3<&0 5>&1 </dev/null
end_leaves() {
  family=" $$ " grown= all=
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$stat" || continue
    rest=\${line##*) } && rest=\${rest#* }
    all="$all \${line%% *}:\${rest%% *}"
  done
  while [ "$grown" != "$family" ]; do
    grown=$family
    for pair in $all; do
      case $family in *" \${pair%:*} "*) continue ;; esac
      case $family in *" \${pair#*:} "*) [ "\${pair%:*}" = "$2" ] || family="$family\${pair%:*} " ;; esac
    done
  done
  for pid in $family; do
    case "$all " in *":$pid "*) ;; *) kill "-$1" "$pid" ;; esac
  done
} 2>/dev/null
end_all() {
  read -r self rest </proc/self/stat
  for round in TERM TERM TERM KILL KILL KILL; do
    end_leaves $round "$self"
    sleep 1
  done
}
hold() { for second in 1 2 3 4; do sleep 1; done; }
(
  exec >/dev/null 2>&1 5>&-
  go=
  trap 'go=1' USR1
  until [ "$go" ]; do sleep 1; done
  while read -r line <&3; do :; done
  end_all
) &
watchdog=$!
while IFS= read -r line <&3 && [ -n "$line" ]; do
  value=$(printf '%b.' "\${line#*=}")
  export "\${line%%=*}=\${value%.}"
done
unset line value
if openssl dgst -sha256 </dev/null >/dev/null 2>&1; then
  hash() { openssl dgst -sha256 -r; }
else
  hash() { sha256sum; }
fi
measure() {
  { { { tee /dev/fd/6 /dev/fd/7 >&9; } 7>&1 | wc -c >&4; } 6>&1 | hash >&4; } 4>&1
}
receive() {
  got=$(head -c "$length" <&3 | measure 9>&7)
  echo "received $got" >&8
  case $got in *"$sha256"*) kill -USR1 "$watchdog" ;; *) end_all; hold ;; esac
}
decode() {
  if [ "$decoder" = gzip ]; then gzip -dc 3<&-; else cat 3<&-; fi
  coded=$?
  echo "decoder $coded" >&8
  [ $coded = 0 ] || { end_all; hold; }
}
run() {
  sh -c "$body" kaa-backup "$@" 3<&- 5>&- 8>&-
  echo "status $?" >&8
}
report=$(
  {
    if [ "$length" = none ]; then
      kill -USR1 "$watchdog"
      run "$@"
    else
      { receive; } 7>&1 | decode | run "$@"
    fi | {
      if [ "$encoder" = gzip ]; then
        {
          got=$(measure 9>&7)
          echo "plain $got" >&8
        } 7>&1 | {
          gzip -1
          echo "encoder $?" >&8
        }
      else
        cat
      fi
    } | {
      got=$(measure 9>&5)
      echo "sent $got" >&8
    }
  } 8>&1
)
{ kill -KILL "$watchdog"; wait "$watchdog"; } 2>/dev/null
report=$(echo $report) status=\${report##*status }
printf '\\nkaa-backup %s %s\\n' "$nonce" "$report" >&2
exit "\${status%% *}"
`;
