#!/usr/bin/env bash
# What a remote gcc -O2 costs in CPU seconds, against the same at home, both with warm caches: the 30 largest files of redis,
# all on one helper. Both hosts' cgroups are counted, and the daemons' share of them is told apart.
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"

source=$(scripts/source.sh redis)
up 2 >&2
fresh "$source" "$redis_dir"
say "making what the files need"
measure h1 h1 "$redis_dir" make -j2 "${redis_flags[@]}"
# shellcheck disable=SC2016
on h1 sh -ec 'cd "$1/src"
    objects=$(ls -S *.c | sed "s/c$/o/" | while read -r o; do [ ! -e "$o" ] || echo "$o"; done | head -n 30 | tr "\n" " ")
    printf "all: %s\n%%.o: %%.c\n\tgcc -std=c99 -O2 -g -DREDIS_STATIC= -I../deps/hiredis -I../deps/linenoise -I../deps/lua/src -I../deps/hdr_histogram -c -o \$@ \$<\n" "$objects" >bench.mk
    echo "rm -f $objects" >bench.clean' sh "$redis_dir" </dev/null

# daemon HOST: CPU seconds of its onehostd and carriers, user and system.
daemon() {
    # shellcheck disable=SC2016
    on "$1" sh -ec 'for p in /proc/[0-9]*; do
        read -r comm <$p/comm || continue
        [ "$comm" != onehostd ] && [ "$comm" != onehost-carrier ] || sed "s/.*) //" $p/stat
    done 2>/dev/null' </dev/null | awk '{ t += $12 + $13 } END { printf "%.2f\n", t / 100 }'
}
run() { # run NAME [CMD ...]
    local name=$1 d1 d2
    shift
    h1 "$redis_dir/src" sh bench.clean </dev/null
    d1=$(daemon h1) d2=$(daemon h2)
    measure "h1 h2" h1 "$redis_dir/src" "$@" make -j2 -s -f bench.mk
    echo "$name $took ${used[h1]} ${used[h2]} $(awk -v a="$d1" -v b="$(daemon h1)" -v c="$d2" -v d="$(daemon h2)" 'BEGIN { print b - a, d - c }')" |
        awk '{ print $0, $3 + $4 }' | tee -a "$scratch/rows" >&2
}
run warm-native
run warm-remote onehost run -q --no-local --hosts h2
for round in $(seq "$rounds"); do
    say "round $round"
    run native
    run remote onehost run -q --no-local --hosts h2
done

native=$(column "$scratch/rows" 7 '^native ' | median)
echo "| CPU s (median of $rounds) | h1 | h2 | of it onehostd on h1 | of it onehostd on h2 | both hosts | ratio |"
echo "|---|---|---|---|---|---|---|"
for name in native remote; do
    both=$(column "$scratch/rows" 7 "^$name " | median)
    echo "| $name | $(column "$scratch/rows" 3 "^$name " | median) | $(column "$scratch/rows" 4 "^$name " | median) | $(column "$scratch/rows" 5 "^$name " | median) | $(column "$scratch/rows" 6 "^$name " | median) | $both | $(ratio "$both" "$native") |"
done
