/** The constant POSIX `sh` script around every command that we run in a pod (dash, bash, busybox). It
 *  - takes secrets from stdin, so that they are in no argument list and no audit log;
 *  - counts and hashes what the command reads and writes, and reports that as the last line of stderr (the witness);
 *  - kills the command before it could take a cut input for a whole one;
 *  - watches stdin afterwards: end-of-file means that our side is gone, and everything started here ends within 5 s.
 *
 *  Nothing here may become an orphan that dies of a signal: in a database's container the server itself is process 1 and
 *  adopts it, and PostgreSQL takes the death of a child that it does not know for a crash of one of its own and restarts
 *  (seen with 15.18; postmaster.c, CleanupBackend). So only leaves of our process tree are ever killed: their parents are
 *  shells that wait for them, and go on to end by themselves. No shell is killed, though it has no child: it may be about to
 *  start one. A tool that is none (pg_dumpall runs `pg_dump --version`) is stopped first, and told to end if it is a leaf
 *  although it was seen stopped before: one that had started nothing when it was looked at once left a shell behind that exited
 *  with 141, which is a crash to PostgreSQL, too. Nor does the watchdog ever die while it sleeps, for a server that
 *  is process 1 and waits for nobody would keep its sleep as a zombie; a signal may end its wait early, so it waits until
 *  there is nothing left to wait for. The tree is read from /proc with nothing but built-ins.
 *  `hold` keeps a pipe open meanwhile, because the end of a cut input must not look like the end of a whole one.
 *  The watchdog waits for USR1, which says that the input has been read, and which would end it before it listens: on a busy node
 *  that comes first (14 of 100 commands then outlived us), so its set of caught signals is looked at (USR1 is the tenth). Its
 *  redirections are made by `exec`, because dash keeps copies of descriptors that are redirected on a compound command, and would
 *  hold pipes open.
 *  In the end it is told so until it has ended: a signal that comes as its trap is taken away is lost, and a restore then waited for
 *  ever (seen once).
 *  `dd` is the last to write: tee writes 8 KiB at a time, and each write is a message of its own through runtime, kubelet and API
 *  server (a dump of 1.7 GB took a fifth longer). */
export const wrapperScript = `nonce=$1 length=$2 sha256=$3 decoder=$4 encoder=$5 body=$6
shift 6
exec 3<&0 5>&1 </dev/null
signal_tools() {
  before=$stopped stopped= family=" $$ " grown= all= shells=
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$stat" || continue
    case $line in *" (sh) "*) shells="$shells \${line%% *} " ;; esac
    rest=\${line##*) }
    case $rest in T*) stopped="$stopped \${line%% *} " ;; esac
    rest=\${rest#* }
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
    case $shells in *" $pid "*) continue ;; esac
    case "$1$all " in STOP* | CONT*) ;; *":$pid "*) continue ;; esac
    case "$1$before" in TERM*" $pid "* | [!T]*) ;; *) continue ;; esac
    kill "-$1" "$pid"
  done
} 2>/dev/null
end_all() {
  read -r self rest </proc/self/stat
  for round in TERM TERM TERM KILL KILL KILL; do
    for signal in STOP STOP $round CONT; do signal_tools $signal "$self"; done
    sleep 1
  done
}
hold() { for second in 1 2 3 4; do sleep 1; done; }
(
  exec >/dev/null 2>&1 5>&-
  go= over=
  trap 'go=1 over=1' TERM
  trap 'go=1' USR1
  until [ "$go" ]; do
    sleep 1 &
    nap=$!
    wait "$nap" && nap=
  done
  [ -z "$nap" ] || kill "$nap"
  while [ "$nap" ] && kill -0 "$nap"; do wait "$nap"; done
  trap - TERM
  [ -z "$over" ] || exit
  while read -r line <&3; do :; done
  trap exit TERM
  while [ -r "/proc/$$/stat" ]; do end_all; done
) &
watchdog=$!
listens() {
  while read -r field value; do
    case $field$value in SigCgt:*[2367abef]??) return ;; esac
  done 2>/dev/null <"/proc/$watchdog/status"
  return 1
}
release() {
  until listens; do [ -r "/proc/$watchdog/status" ] || return; done
  kill -USR1 "$watchdog"
}
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
  case $got in *"$sha256"*) release ;; *) end_all; hold ;; esac
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
      release
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
      {
        got=$(measure 9>&7)
        echo "sent $got" >&8
      } 7>&1 | dd ibs=64k obs=128k >&5 2>/dev/null
    }
  } 8>&1
)
{
  while kill "$watchdog" && read -r line <"/proc/$watchdog/stat"; do
    case $line in *") Z "*) break ;; esac
  done
  wait "$watchdog"
} 2>/dev/null
report=$(echo $report) status=\${report##*status }
printf '\\nkaa-backup %s %s\\n' "$nonce" "$report" >&2
exit "\${status%% *}"
`.replaceAll(/^ +/gm, ""); // it goes in a URL, for which some proxies take 16 KiB
