# Sourced by the demo and the measurements: hosts on this machine, and redis built in the first of them.
# Everything is made inside the hosts and goes with them; what is fetched stays in the cache.
# shellcheck shell=bash

onehost=${ONEHOST:-$PWD/bin/onehost}
host_up=              # set while hosts of ours are there
named=(${SPLIT:+--name "$SPLIT"}) # a split of that name, beside the machine's own
scratch=$(mktemp -d)  # gone when the script ends, as the hosts are

# However the script ends, nothing of it stays.
trap 'down; rm -rf "$scratch"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

die() { echo "$0: $*" >&2; exit 1; }

# up N [FLAG ...]: hosts h1..hN, which go when the script ends.
up() {
    if "$onehost" split status "${named[@]}" >/dev/null 2>&1; then
        die "this machine is split already: 'onehost split down' first"
    fi
    host_up=1
    "$onehost" split "${named[@]}" "$@"
}

down() {
    [ -n "$host_up" ] || return 0
    host_up=
    trap '' INT TERM HUP # what is begun here has to end
    "$onehost" split down "${named[@]}" || true
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

[ "$(id -u)" = 0 ] || die "hosts on this machine need root: try again with sudo" # before anything is fetched

# on HOST CMD [ARG ...]: runs CMD there.
on() {
    local host=$1
    shift
    "$onehost" split exec "${named[@]}" "$host" -- "$@"
}

now() { echo "$EPOCHREALTIME"; }

# ratio A B [DIGITS]: A/B.
ratio() { awk -v a="$1" -v b="$2" -v d="${3:-2}" 'BEGIN { if (b > 0) printf "%.*f\n", d, a / b; else print "-" }'; }

# since T [DIGITS]: seconds since T.
since() { awk -v a="$1" -v b="$EPOCHREALTIME" -v d="${2:-1}" 'BEGIN { printf "%.*f\n", d, b - a }'; }

median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; else print "-" }'; }

# The same path and date for every build, so that the same input gives the same bytes.
# shellcheck disable=SC2034 # used by those who source this
redis_dir=/home/redis
# shellcheck disable=SC2034
redis_env=(env SOURCE_DATE_EPOCH=1700000000)
# shellcheck disable=SC2034
redis_flags=(MALLOC=libc OPTIMIZATION=-O2)

# fresh TARBALL DIR: unpacks into an empty DIR of h1, and of h1 only.
fresh() {
    # shellcheck disable=SC2016 # for the shell in h1
    on h1 sh -ec 'rm -rf "$2"; mkdir -p "$2"; tar -xf "$1" -C "$2" --strip-components=1' sh "$1" "$2" </dev/null
}

# digest DIR: a line for each object, archive and program that a build made below DIR of h1.
digest() {
    # shellcheck disable=SC2016
    on h1 sh -ec 'cd "$1"; find . -type f \( -name "*.o" -o -name "*.a" -o -perm -u+x \) -print0 | sort -z | xargs -0 sha256sum' sh "$1" </dev/null
}
