#!/usr/bin/env bash
# Divides this machine into four hosts of 0.45 core, builds redis in the first of them with the help of the others, then
# without, compares every object byte for byte, and leaves nothing behind. See the README.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/hosts.sh
. scripts/hosts.sh

step() { printf '\n== %s\n' "$*"; }
build() { # build NAME CMD ...: a fresh build in h1 by CMD; sets took, writes the digests to NAME
    local name=$1 begin status=0
    shift
    fresh "$source" "$redis_dir"
    begin=$(now)
    # shellcheck disable=SC2016
    on h1 "${redis_env[@]}" sh -c 'cd "$1" && shift && exec "$@"' sh "$redis_dir" "$@" || status=$?
    [ "$status" -lt 128 ] || exit "$status" # a person's ^C is no failure of the build
    [ "$status" = 0 ] || die "the build failed: $*"
    took=$(since "$begin")
    digest "$redis_dir" >"$scratch/$name"
}

step "What the build needs: make, a C compiler, and the source of redis"
scripts/packages.sh make gcc=build-essential
source=$(scripts/source.sh redis)
echo "$source"

step "Four hosts: onehost split 4 --cpu-quota 0.45"
up 4 --cpu-quota 0.45
on h1 onehost hosts
! on h2 test -e "$redis_dir" || die "$redis_dir exists in h2"

step "In h1: onehost run make -j8"
build together onehost run make -j8 "${redis_flags[@]}"
together=$took

step "In h1 alone: make -j2"
build alone make -s -j2 "${redis_flags[@]}" </dev/null >"$scratch/log" || { tail -n 20 "$scratch/log" >&2; exit 1; }
alone=$took

step "The result"
cmp "$scratch/together" "$scratch/alone" || { diff "$scratch/together" "$scratch/alone" | head -n 20; die "the two builds differ"; }
echo "$(wc -l <"$scratch/alone") objects, archives and programs are the same byte for byte"
echo "four hosts ${together}s, h1 alone ${alone}s: $(ratio "$alone" "$together") times as fast"
