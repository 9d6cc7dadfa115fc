#!/usr/bin/env bash
# COUNT live processes of one home on the other hosts, of SESSIONS sessions, started AT at a time: how fast they come and go, and what memory they take at home, as
# ghosts, in the session's supervisor and in the daemons. Nothing may be left when they have ended.
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"

count=${COUNT:-10000}
at=${AT:-64}
sessions=${SESSIONS:-4} # each has its own descriptors, of which a process may have so many
up "${HOSTS:-4}" >&2 # no quota
tool
rss() { # rss PATTERN: how many processes of h1 have such a command, and their memory in kB (Pss)
    # shellcheck disable=SC2016
    on h1 sh -c 'n=0; for p in /proc/[0-9]*; do tr "\0" " " <$p/cmdline 2>/dev/null | grep -q "$1" && { n=$((n + 1)); awk "/^Pss:/ { print \$2 }" $p/smaps_rollup; }; done 2>/dev/null | awk "{ s += \$1 } END { print NR, s + 0 }"' sh "$1" </dev/null
}
daemons() { # kB of the daemons, carriers and nests' inits of all hosts
    local host
    for host in $(seq "${HOSTS:-4}"); do
        # shellcheck disable=SC2016
        on "h$host" sh -c 'for p in /proc/[0-9]*; do tr "\0" " " <$p/cmdline 2>/dev/null | grep -q "^/usr/local/bin/onehostd\|^onehost-nest\|^onehost-carrier" && awk "/^Pss:/ { print \$2 }" $p/smaps_rollup; done 2>/dev/null; :' </dev/null
    done | awk '{ s += $1 } END { print s + 0 }'
}
h1 "$bench_dir" onehost run -q --no-local ./samu 50 /bin/true </dev/null >/dev/null # warm
before=$(daemons)
runs=()
for i in $(seq "$sessions"); do
    mkfifo "$scratch/go$i"
    h1 "$bench_dir" onehost run -q --no-local ./samu many "$((count / sessions))" "$((at / sessions))" <"$scratch/go$i" >"$scratch/out$i" &
    runs+=($!)
done
ends=()
for i in $(seq "$sessions"); do exec {end}>"$scratch/go$i" && ends+=("$end"); done
until [ "$(grep -h '^up' "$scratch"/out* | wc -l)" = "$sessions" ]; do
    for run in "${runs[@]}"; do kill -0 "$run" 2>/dev/null || die "a session ended before its processes were up"; done
    sleep 0.2
done
read -r ghosts memory <<<"$(rss '^/bin/sleep 100000')"
read -r _ supervisor <<<"$(rss '^onehost run -q --no-local ./samu many')"
after=$(daemons)
for host in $(seq 2 "${HOSTS:-4}"); do echo "h$host runs $(on h1 onehost ps --jobs --host "h$host" --no-headers </dev/null | wc -l)" >&2; done
for end in "${ends[@]}"; do exec {end}>&-; done
for run in "${runs[@]}"; do
    status=0
    wait "$run" || status=$?
    [ "$status" = 0 ] || die "a session ended with $status"
done
for _ in 1 2 3 4 5 6 7 8 9 10; do # the last of them may be on their way out
    left=$({ on h1 onehost ps -C sleep --no-headers </dev/null || true; } | wc -l) # none is an error to ps
    [ "$left" != 0 ] || break
    sleep 0.2
done
up=$(cat "$scratch"/out* | awk '/^up/ && $2 > m { m = $2 } END { print m }') down=$(cat "$scratch"/out* | awk '/^down/ && $2 > m { m = $2 } END { print m }')
echo "| $count processes elsewhere, of $sessions sessions, $at at a time | |"
echo "|---|---|"
echo "| started in, s | $up |"
echo "| a second | $(ratio "$count" "$up" 0) |"
echo "| ended in, s | $down |"
echo "| ghosts, and memory of each, kB | $ghosts, $(ratio "$memory" "$ghosts" 1) |"
echo "| supervisors, kB for each process | $(ratio "$supervisor" "$count" 1) |"
echo "| daemons and nests of all hosts, kB more for each process | $(ratio "$((after - before))" "$count" 1) |"
echo "| processes left | $left |"
