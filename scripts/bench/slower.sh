#!/usr/bin/env bash
# Never slower than not using it: ./configure of bash and of tar, thousands of short execs, and a make of one job, through
# onehost run and natively on h1.
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"

what=${WHAT:-bash tar make}
up 4 --cpu-quota "$quota" >&2
redis=$(scripts/source.sh redis)
bash=$(scripts/source.sh bash)
tar=$(scripts/source.sh tar)
run() { # run WHAT NAME DIR CMD ...
    local what=$1 name=$2
    shift 2
    measure h1 h1 "$@"
    echo "$what-$name $took ${used[h1]}" | tee -a "$scratch/rows" >&2
}
both() { # both WHAT TARBALL SUBDIR CMD ... : which of the two comes first changes from round to round
    local what=$1 tarball=$2 dir=$bench_dir/$1 sub=$3 order="native onehost" name
    shift 3
    [ $((round % 2)) = 1 ] || order="onehost native"
    for name in $order; do
        fresh "$tarball" "$dir"
        case $name in
        native) run "$what" native "$dir$sub" "$@" ;;
        onehost) run "$what" onehost "$dir$sub" onehost run -q "$@" ;;
        esac
    done
}
for round in $(seq "$rounds"); do
    say "round $round"
    for one in $what; do
        case $one in
        bash) both bash "$bash" "" ./configure ;;
        tar) both tar "$tar" "" env FORCE_UNSAFE_CONFIGURE=1 ./configure ;;
        make) both make "$redis" /deps/lua/src make -j1 a CFLAGS="-O2 -Wall" AR="ar rcu" ;;
        *) die "WHAT: $one is none of bash, tar and make" ;;
        esac
    done
done

echo "| median of $rounds | native, s | onehost run, s | ratio | CPU s of h1, ratio |"
echo "|---|---|---|---|---|"
for what in $what; do
    native=$(column "$scratch/rows" 2 "^$what-native " | median)
    through=$(column "$scratch/rows" 2 "^$what-onehost " | median)
    cpu=$(ratio "$(column "$scratch/rows" 3 "^$what-onehost " | median)" "$(column "$scratch/rows" 3 "^$what-native " | median)" 3)
    case $what in
    make) text="make -j1 (Lua)" ;;
    *) text="$what: ./configure" ;;
    esac
    echo "| $text | $native | $through | $(ratio "$through" "$native" 3) | $cpu |"
done
