#!/usr/bin/env bash
# Real projects, each built in h1 by `onehost run --no-local make -j8` with the help of the other hosts, then natively in the same
# path, and compared byte for byte; then a part of their own tests, through onehost run. ./configure of those that
# have one runs through it too. PROJECTS chooses some of them.
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"

# package NAME: the Debian source package. prepare, build and check NAME: shell text that is run in its directory, where $run is
# nothing or onehost run with its flags.
# Debian's GNU make comes without its configure, so that it has to be made first.
package() { case $1 in lua) echo lua5.4 ;; zstd) echo libzstd ;; make) echo make-dfsg ;; *) echo "$1" ;; esac; }
prepare() { case $1 in make) echo "zcat ${source%.orig.*}-*.diff.gz | patch -sp1 && autoreconf -fi >/dev/null 2>&1 && \$run ./configure -q" ;; bash) echo '$run ./configure -q --without-bash-malloc' ;; *) echo true ;; esac; }
build() {
    case $1 in
        lua) echo '$run make -s -j8 linux' ;;
        redis) echo '$run make -s -j8 MALLOC=libc OPTIMIZATION=-O2' ;;
        zstd) echo '$run make -s -j8 -C programs zstd && $run make -s -j8 -C tests datagen fuzzer' ;;
        *) echo '$run make -s -j8' ;;
    esac
}
check() {
    case $1 in
        lua) echo "printf 'local t = {} for i = 1, 1e5 do t[i] = i * i end assert(#t == 1e5) assert(load(\"return 6 * 7\")() == 42) io.write(string.rep(\"x\", 1e6))' >t.lua; \$run src/luac -o t.out t.lua && \$run src/lua t.lua | wc -c && \$run src/lua t.out | md5sum" ;;
        redis) echo '$run src/redis-server test endianconv && $run src/redis-server test util && $run src/redis-server test sds && $run src/redis-server test zipmap && $run src/redis-server test intset' ;;
        zstd) echo '$run tests/fuzzer -v -T20s -i200 && $run tests/datagen -g5000000 >t.dat && $run programs/zstd -q -f -19 --single-thread t.dat -o t.zst && $run programs/zstd -q -d -c t.zst | cmp - t.dat' ;;
        make) echo 'cd tests && $run perl run_make_tests.pl -make ../make features/parallelism features/recursion features/targetvars functions/foreach functions/shell options/dash-k targets/SECONDARY' ;;
        bash) echo 'cd tests && for t in arith array case cond errors func heredoc herestr ifs input jobs-none printf quote read redir tilde trap; do [ ! -e run-$t ] || BUILD_DIR=.. THIS_SH=../bash BASH_TSTOUT=/tmp/tst PATH="$PWD/..:$PATH" $run ../bash run-$t >/tmp/$t.out 2>&1 || echo "$t: $?"; [ ! -s /tmp/$t.out ] || { echo "== $t"; sed 5q /tmp/$t.out; }; done' ;;
    esac
}

scripts/packages.sh make gcc=build-essential patch perl autoreconf=autoconf automake autopoint
away='onehost run --no-local'
up 4 --cpu-quota "$quota" >&2
echo "| project | by onehost, s | alone, s | files the same | jobs | its tests |"
echo "|---|---|---|---|---|---|"
status=0
for name in ${PROJECTS:-lua redis zstd make bash}; do
    source=$(scripts/source.sh "$(package "$name")")
    dir=/home/$name
    # shellcheck disable=SC2016
    in_dir() { h1 "$dir" bash -c "run=\$1; $2" bash "$1"; }
    one() { # one RUN: a fresh build; sets took, writes $scratch/sums
        fresh "$source" "$dir"
        in_dir "$1" "$(prepare "$name")" </dev/null >"$scratch/configure" 2>&1 || { tail "$scratch/configure" >&2; return 1; }
        local begin
        begin=$(now)
        in_dir "$1" "$(build "$name")" </dev/null >"$scratch/log" 2>&1 || { tail -n 20 "$scratch/log" >&2; return 1; }
        took=$(since "$begin")
        digest "$dir" >"$scratch/sums"
    }
    say "$name: by onehost"
    if ! one "$away"; then
        for host in h1 h2 h3 h4; do
            echo "$host:" >&2
            on "$host" tail -n 20 /var/log/onehostd.log </dev/null >&2 || true
        done
        echo "| $name | failed | | | | |"
        status=1
        continue
    fi
    mv "$scratch/sums" "$scratch/together"
    together=$took
    jobs=$(grep -E '^[0-9]+ jobs?:' "$scratch/log" | tail -n 1)
    say "$name: alone"
    one "" || die "the native build of $name failed"
    alone=$took
    same="all $(wc -l <"$scratch/sums")"
    if ! cmp -s "$scratch/sums" "$scratch/together"; then
        same="not: $(diff "$scratch/sums" "$scratch/together" | grep -c '^[<>]') lines differ"
        diff "$scratch/sums" "$scratch/together" | head >&2 || true
        status=1
    fi
    say "$name: its tests"
    in_dir "" "$(check "$name")" </dev/null >"$scratch/native" 2>&1 && native=0 || native=$?
    in_dir "$away -q" "$(check "$name")" </dev/null >"$scratch/remote" 2>&1 && remote=0 || remote=$?
    tests="$remote, natively $native"
    if [ "$remote" != "$native" ]; then
        status=1
        tail -n 15 "$scratch/remote" >&2
    fi
    echo "| $name | $together | $alone | $same | ${jobs:-?} | $tests |"
done
exit $status
