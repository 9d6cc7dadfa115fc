#!/usr/bin/env bash
# Redis on four hosts that are joined by 100 Mbit/s: the first build, in which the helpers have seen nothing yet, and the
# second, in which they know the toolchain; against h1's own make -j2. Each round has new hosts.
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"

rate=${RATE:-100mbit}
source=$(scripts/source.sh redis)
for round in $(seq "$rounds"); do
    say "round $round"
    up 4 --cpu-quota "$quota" --rate "$rate" >&2
    for name in cold second; do
        fresh "$source" "$redis_dir"
        measure h1 h1 "$redis_dir" onehost run make -j8 "${redis_flags[@]}"
        digest "$redis_dir" >"$scratch/$name.sums"
        echo "$name $round $took" | tee -a "$scratch/rows" >&2
    done
    fresh "$source" "$redis_dir"
    measure h1 h1 "$redis_dir" make -j2 "${redis_flags[@]}"
    digest "$redis_dir" >"$scratch/alone.sums"
    echo "alone $round $took" | tee -a "$scratch/rows" >&2
    for name in cold second; do cmp "$scratch/alone.sums" "$scratch/$name.sums" >&2 || die "the objects differ"; done
    down >&2
done

alone=$(column "$scratch/rows" 3 '^alone ' | median)
echo "| at $rate | whole build, s (median of $rounds) | times |"
echo "|---|---|---|"
for name in alone cold second; do
    whole=$(column "$scratch/rows" 3 "^$name " | median)
    echo "| $name | $whole | $(ratio "$alone" "$whole") |"
done
