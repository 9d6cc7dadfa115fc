#!/usr/bin/env bash
# A helper crashes in mid-build, at a random moment, KILLS times: every build has to end with 0, and its objects have to
# be those of a build that nobody disturbed.
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"

kills=${KILLS:-10}
victim=${VICTIM:-h3}
source=$(scripts/source.sh redis)
up 4 --cpu-quota "$quota" >&2

state() { on h1 onehost hosts </dev/null | awk -v h="$1" '$1 == h { print $3 }'; }
await() { # await STATE: of the victim, as h1 sees it, within 60 s
    local try
    for try in $(seq 300); do
        [ "$(state "$victim")" != "$1" ] || return 0
        sleep 0.2
    done
    die "$victim is $(state "$victim") and not $1 after $((try / 5)) s"
}

fresh "$source" "$redis_dir"
say "an undisturbed build"
measure h1 h1 "$redis_dir" onehost run make -j8 "${redis_flags[@]}"
digest "$redis_dir" >"$scratch/whole.sums"
whole=$took
good=0
echo "| build | $victim killed after, s | exit | objects | s |"
echo "|---|---|---|---|---|"
for i in $(seq "$kills"); do
    fresh "$source" "$redis_dir"
    delay=$(awk -v w="$whole" -v r="$RANDOM" 'BEGIN { printf "%.1f", 1 + (w - 3) * r / 32768 }')
    begin=$(now)
    h1 "$redis_dir" onehost run make -j8 "${redis_flags[@]}" </dev/null >"$scratch/out" 2>&1 &
    build=$!
    sleep "$delay"
    "$onehost" split kill "${named[@]}" "$victim" >&2
    status=0
    wait "$build" || status=$?
    took=$(since "$begin")
    digest "$redis_dir" >"$scratch/killed.sums"
    same=same
    cmp -s "$scratch/whole.sums" "$scratch/killed.sums" || same=differ
    if [ "$status" = 0 ] && [ $same = same ]; then good=$((good + 1)); else tail -n 20 "$scratch/out" >&2; fi
    echo "| $i | $delay | $status | $same | $took |"
    await failed
    "$onehost" split start "${named[@]}" "$victim" >&2
    await alive
done
echo
echo "$good of $kills builds ended with 0 and identical objects (undisturbed: $whole s)."
[ "$good" = "$kills" ]
