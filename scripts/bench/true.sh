#!/usr/bin/env bash
# A remote /bin/true on a warm nest: inside a session (a spreader spawns it and waits, N times, the median), and as
# a session of its own (onehost run /bin/true, from fork to exit). Beside each the same without onehost.
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"

n=${N:-300}
up 4 --cpu-quota "$quota" >&2
tool
for round in $(seq "$rounds"); do
    say "round $round"
    h1 "$bench_dir" onehost run -q --no-local ./samu 50 /bin/true </dev/null >/dev/null # warm
    h1 "$bench_dir" onehost run -q --no-local --explain ./samu 10 /bin/true </dev/null >"$scratch/explain" 2>&1
    {
        echo "remote $(h1 "$bench_dir" onehost run -q --no-local ./samu "$n" /bin/true </dev/null)"
        echo "native $(h1 "$bench_dir" ./samu "$n" /bin/true </dev/null)"
        echo "session $(h1 "$bench_dir" ./spawn "$((n / 10))" onehost run -q --no-local /bin/true </dev/null)"
    } | tee -a "$scratch/rows" >&2
done
say "ten of them, as --explain has it:"
cat "$scratch/explain" >&2

echo "| /bin/true, ms (median of $rounds rounds) | |"
echo "|---|---|"
ms() { awk -v us="$(column "$scratch/rows" 2 "^$1 " | median)" 'BEGIN { printf "%.2f\n", us / 1e3 }'; }
echo "| native spawn and wait | $(ms native) |"
echo "| remote, inside a session | $(ms remote) |"
echo "| remote, a session of its own | $(ms session) |"
