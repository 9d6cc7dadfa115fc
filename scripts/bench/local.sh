#!/usr/bin/env bash
# What it costs to be in a session and stay at home: a gcc -O2 build, spawn and wait, and the calls whose pid argument
# the filter looks at. Interleaved; the noise is the spread of the native rounds around their median.
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"

source=$(scripts/source.sh redis)
up 2 >&2 # no quota: throttling would hide what is looked for
tool
fresh "$source" "$redis_dir"
build() { # build NAME [CMD ...]: the Lua library, by gcc -O2, one job
    local name=$1
    shift
    h1 "$redis_dir/deps/lua/src" make -s clean </dev/null >&2
    measure h1 h1 "$redis_dir/deps/lua/src" "$@" make -s a CFLAGS="-O2 -Wall" AR="ar rcu"
    echo "$name-wall $took" | tee -a "$scratch/rows" >&2
    echo "$name-cpu ${used[h1]}" | tee -a "$scratch/rows" >&2
}
build warm
for round in $(seq "$((rounds * 3))"); do
    say "round $round"
    build native
    build session onehost run -q --local
    for name in native session; do
        prefix=()
        [ $name = native ] || prefix=(onehost run -q --local)
        h1 "$bench_dir" "${prefix[@]}" ./spawn 300 /bin/true </dev/null | sed "s/^/$name-spawn /"
        h1 "$bench_dir" "${prefix[@]}" ./spawn calls </dev/null | awk -v n=$name '{ print n "-getpid", $1; print n "-stat", $2; print n "-kill", $3 }'
    done | tee -a "$scratch/rows" >&2
done

row() { # row NAME UNIT TEXT
    local native session noise
    native=$(column "$scratch/rows" 2 "^native-$1 " | median)
    session=$(column "$scratch/rows" 2 "^session-$1 " | median)
    noise=$(column "$scratch/rows" 2 "^native-$1 " | sort -n | awk -v m="$native" '{ v[NR] = $1 } END { printf "%.1f", 100 * (v[NR] - v[1]) / 2 / m }')
    echo "| $3, $2 | $native | $session | $(ratio "$session" "$native" 3) | ±$noise % |"
}
echo "| | native | in a session, local | ratio | native's own spread |"
echo "|---|---|---|---|---|"
row wall s "gcc -O2 build, whole"
row cpu s "gcc -O2 build, CPU"
row spawn us "spawn and wait of /bin/true"
row getpid ns getpid
row stat ns stat
row kill ns kill
