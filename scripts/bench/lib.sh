# Sourced by the measurements. They run interleaved, ROUNDS times each, and print a table on stdout; what they are doing
# goes to stderr.
# shellcheck shell=bash disable=SC2034

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
# shellcheck source=scripts/hosts.sh
. scripts/hosts.sh

rounds=${ROUNDS:-3}
quota=${QUOTA:-0.45}
bench_dir=/home/bench # in h1

say() { echo "-- $*" >&2; }

# cpu HOST ...: CPU seconds that the hosts have used since they were made, all their processes and daemons together.
cpu() {
    local host v1 v2 total=0
    for host in "$@"; do
        v1=$(find /sys/fs/cgroup -maxdepth 1 -name '*cpuacct*' | head -n 1)/onehost-split${SPLIT:+-$SPLIT}/$host/cpuacct.usage
        if [ -r "$v1" ]; then
            total=$(awk -v t="$total" '{ printf "%.6f", t + $1 / 1e9 }' "$v1")
            continue
        fi
        v2=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/onehost-split${SPLIT:+-$SPLIT}/$host/cpu.stat
        [ -r "$v2" ] || die "the cgroup of $host is neither at $v1 nor at $v2"
        total=$(awk -v t="$total" '$1 == "usage_usec" { printf "%.6f", t + $2 / 1e6 }' "$v2")
    done
    echo "$total"
}

# measure HOSTS CMD ...: runs CMD (in h1, or wherever it goes by itself); sets took, and used[HOST] for each of HOSTS.
declare -A used
measure() {
    local hosts=$1 host begin
    local -A before
    shift
    for host in $hosts; do before[$host]=$(cpu "$host"); done
    begin=$(now)
    "$@" </dev/null >"$scratch/out" 2>&1 || { tail -n 30 "$scratch/out" >&2; die "failed: $*"; }
    took=$(since "$begin" 3)
    for host in $hosts; do used[$host]=$(awk -v a="${before[$host]}" -v b="$(cpu "$host")" 'BEGIN { printf "%.3f", b - a }'); done
}

# h1 DIR CMD ...: runs CMD in DIR of h1.
h1() {
    # shellcheck disable=SC2016
    on h1 "${redis_env[@]}" sh -c 'cd "$1" && shift && exec "$@"' sh "$@"
}

# column FILE N [PATTERN]: the Nth word of the lines that match.
column() { awk -v n="$2" -v p="${3:-.}" '$0 ~ p { print $n }' "$1"; }

# tool: builds spawn.c in h1, once as spawn and once by the name of a spreader.
tool() {
    # shellcheck disable=SC2016
    on h1 sh -ec 'mkdir -p "$1"; cat >"$1/spawn.c"; gcc -O2 -pthread -o "$1/spawn" "$1/spawn.c"; cp "$1/spawn" "$1/samu"' sh "$bench_dir" <scripts/bench/spawn.c
}
