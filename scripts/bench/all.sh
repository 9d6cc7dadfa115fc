#!/usr/bin/env bash
# Every measurement of docs/benchmarks.md, one after another; the tables go to dist/bench/NAME.md as well. Takes an hour or
# two on two cores. One alone: scripts/bench/NAME.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."

mkdir -p dist/bench
scripts/packages.sh make gcc=build-essential
status=0
for name in ${BENCH:-redis rate true local calls many compile slower kill projects}; do
    printf '\n## %s\n\n' "$name"
    scripts/bench/"$name".sh | tee dist/bench/"$name".md || { echo "$name failed" >&2; status=1; }
done
exit $status
