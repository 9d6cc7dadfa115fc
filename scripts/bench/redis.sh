#!/usr/bin/env bash
# Redis on four hosts of 0.45 core: h1's own make -j2, onehost, distcc and icecream, on the very same hosts, interleaved.
# The compile phase is from the settings that redis' make writes when its serial dependency scan is over, to its last object.
#   PEERS="onehost distcc icecc"   which of them
#   J=8                             how many jobs make starts at a time, in all of them
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/bench/peers.sh
. "$(dirname "$0")/peers.sh"

peers=${PEERS:-onehost distcc icecc}
jobs=${J:-8}
hosts="h1 h2 h3 h4"
source=$(scripts/source.sh redis)
up 4 --cpu-quota "$quota" >&2
case $peers in *distcc* | *icecc*)
    say "setting up distcc and icecream"
    peers_fetch
    # shellcheck disable=SC2086
    peers_install $hosts
    case $peers in *distcc*) distcc_start h2 h3 h4 ;; esac
    case $peers in *icecc*) icecc_start h2 h3 h4 ;; esac
esac

build() { # build NAME CMD ...
    local name=$1 compile host busiest=0
    shift
    say "$name, round $round"
    fresh "$source" "$redis_dir"
    measure "$hosts" h1 "$redis_dir" "$@"
    # shellcheck disable=SC2016
    compile=$(h1 "$redis_dir" sh -c 'stat -c %.6Y src/.make-settings; stat -c %.6Y src/*.o | sort -n | tail -n 1' </dev/null |
        awk 'NR == 1 { a = $1 } END { printf "%.3f", $1 - a }')
    for host in $hosts; do busiest=$(printf '%s\n' "$busiest" "${used[$host]}" | sort -n | tail -n 1); done
    echo "$name $round $took $compile $busiest ${used[h1]} ${used[h2]} ${used[h3]} ${used[h4]}" | tee -a "$scratch/rows" >&2
    digest "$redis_dir" >"$scratch/$name.sums"
}

for round in $(seq "$rounds"); do
    build alone make -j2 "${redis_flags[@]}"
    for peer in $peers; do
        case $peer in
        onehost) build onehost onehost run make -j"$jobs" "${redis_flags[@]}"
            cmp "$scratch/alone.sums" "$scratch/onehost.sums" >&2 || die "the objects differ"
            tail -n 1 "$scratch/out" >&2 ;;
        distcc) build distcc env DISTCC_HOSTS="$distcc_hosts" DISTCC_DIR=/tmp/distcc make -j"$jobs" CC="distcc gcc" "${redis_flags[@]}" ;;
        icecc) build icecc make -j"$jobs" CC="icecc gcc" "${redis_flags[@]}" ;;
        esac
    done
done

echo "| | whole build, s (median) | times | compile phase, s (median) | times | busiest host, CPU s | home alone over busiest |"
echo "|---|---|---|---|---|---|---|"
alone_whole=$(column "$scratch/rows" 3 '^alone ' | median)
alone_compile=$(column "$scratch/rows" 4 '^alone ' | median)
alone_cpu=$(column "$scratch/rows" 6 '^alone ' | median)
for name in alone $peers; do
    whole=$(column "$scratch/rows" 3 "^$name " | median)
    compile=$(column "$scratch/rows" 4 "^$name " | median)
    busiest=$(column "$scratch/rows" 5 "^$name " | median)
    echo "| $name | $whole | $(ratio "$alone_whole" "$whole") | $compile | $(ratio "$alone_compile" "$compile") | $busiest | $(ratio "$alone_cpu" "$busiest") |"
done
echo
echo "Rounds (name, round, whole s, compile s, busiest CPU s, CPU s of h1 h2 h3 h4):"
echo
sed 's/^/    /' "$scratch/rows"
