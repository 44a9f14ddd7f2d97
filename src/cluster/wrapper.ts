/** The constant POSIX `sh` script around every command that we run in a pod (dash, bash, busybox). It
 *  - takes secrets from stdin, so that they are in no argument list and no audit log;
 *  - counts and hashes what the command reads and writes, and reports that as the last line of stderr (the witness);
 *  - kills the command before it could take a cut input for a whole one;
 *  - watches stdin afterwards: end-of-file means that our side is gone, and everything started here ends within 3 s.
 *
 *  kill takes a negative number here and not `-- -N`, which dash and busybox refuse. A container runtime makes the first
 *  process of an exec session a group leader (runc nsexec.c: setsid), so that -$$ is the session; elsewhere only sh dies,
 *  and the rest ends on its broken pipes. The watchdog is a subshell with `exec` redirections, because dash keeps a copy
 *  of descriptors that are redirected on a function call, and would hold pipes open. */
export const wrapperScript = `nonce=$1 length=$2 sha256=$3 decoder=$4 encoder=$5 body=$6
shift 6
exec 3<&0 5>&1 </dev/null
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
stop() {
  trap '' TERM
  kill -TERM -$$ || kill -TERM $$
  sleep 3
  kill -KILL -$$ || kill -KILL $$
}
watch() {
  (
    exec <&3 >/dev/null 2>&1 3<&- 5>&- 7>&- 8>&-
    trap '' TERM
    while read -r line; do :; done
    stop
  ) &
  echo "watch $!" >&8
}
run() {
  sh -c "$body" kaa-backup "$@" 3<&- 5>&- 8>&-
  echo "status $?" >&8
}
report=$(
  {
    if [ "$length" = none ]; then
      watch
      run "$@"
    else
      {
        got=$(head -c "$length" <&3 | measure 9>&7)
        echo "received $got" >&8
        case $got in *"$sha256"*) ;; *) stop 2>/dev/null ;; esac
        watch
      } 7>&1 | {
        if [ "$decoder" = gzip ]; then
          gzip -dc 3<&- 5>&-
          echo "decoder $?" >&8
        else
          cat
        fi
      } | run "$@"
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
report=$(echo $report)
watchdog=\${report##*watch } status=\${report##*status }
kill -KILL "\${watchdog%% *}" 2>/dev/null
printf '\\nkaa-backup %s %s\\n' "$nonce" "$report" >&2
exit "\${status%% *}"
`;
