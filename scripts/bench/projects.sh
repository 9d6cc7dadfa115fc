#!/usr/bin/env bash
# Real projects, each built in h1 by `onehost run --no-local make -j8` with the help of the other hosts, and then tested by its
# own suite, through onehost run too; then both natively in the same path. What was built has to be the same byte for byte, and the
# same tests have to pass. ./configure of those that have one runs through onehost run as well. A test that fails natively too, for
# want of a terminal or of a network, is no difference.
#   PROJECTS="lua redis"   some of them
#   LOGS=DIR               keeps what the builds and the suites printed
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"
logs=${LOGS:-$scratch}
mkdir -p "$logs"

# package NAME: the Debian source package. prepare, build and check NAME: shell text that is run in its directory, where $run is
# nothing or onehost run with its flags. verdicts NAME: a line "ok TEST" or "not ok TEST" for each test, from the suite's output.
package() { case $1 in lua) echo lua5.4 ;; zstd) echo libzstd ;; make) echo make-dfsg ;; *) echo "$1" ;; esac; }

# Debian's GNU make comes without its configure, so that it has to be made first.
prepare() {
    case $1 in
    make) echo "zcat ${source%.orig.*}-*.diff.gz | patch -sp1 && autoreconf -fi >/dev/null 2>&1 && \$run ./configure -q" ;;
    bash) echo '$run ./configure -q --without-bash-malloc' ;;
    *) echo true ;;
    esac
}

build() {
    case $1 in
    lua) echo '$run make -s -j8 linux && $run make -s -j8 -C lpeg linux LUADIR=../src' ;;
    redis) echo '$run make -s -j8 MALLOC=libc OPTIMIZATION=-O2' ;;
    zstd) echo '$run make -s -j8 -C programs zstd && $run make -s -j8 -C tests datagen fuzzer zstreamtest' ;;
    *) echo '$run make -s -j8' ;;
    esac
}

# Lua's source comes without its tests: some of ours take their place, each a job of its own, and those of LPeg, a library for it. Redis gets the parts of its suite that
# need neither minutes nor a terminal; zstd its shell suite, without the long round trips, and its command line's.
check() {
    case $1 in
    lua) echo 'cd suite && $run make -k -s -j8; cd ../lpeg && $run ../src/lua test.lua' ;;
    redis) echo '$run ./runtest --clients 2 '"$(printf -- '--single %s ' unit/type/{string,incr,hash,set,list,zset} unit/{expire,scan,dump,multi,keyspace,sort,pubsub,auth,protocol,quit,bitops,aofrw,info} integration/{rdb,aof,logging,redis-cli})" ;;
    zstd) echo '$run make -s -j8 -C tests test-zstd ZSTDRTTEST=; $run make -s -k -j8 -C tests test-cli-tests; $run tests/fuzzer -s1 -i100 && echo FUZZER-OK; $run tests/zstreamtest -s1 -i100 -t1 && echo STREAM-OK' ;;
    make) echo '$run make -k check' ;;
    bash) echo '$run make -k tests' ;;
    esac
}

verdicts() {
    case $1 in
    lua) sed -nE 's/^((not )?ok [a-z]+)$/\1/p; s/^OK$/ok lpeg/p; s/^lua: .*/not ok lpeg/p' ;;
    # Times differ, and so do numbers in some names.
    redis) sed -nE 's/\x1b\[[0-9;]*m//g; s/ \([0-9]+ ms\)$//; s/^\[ok\]: /ok /p; s/^\[(err|exception|timeout)\]: /not ok /p' ;;
    zstd) awk '/^===> / { sub(/^===> */, ""); if (t) print "ok play " t; t = $0 }
        /^(PASS|FAIL): / { print ($1 == "PASS:" ? "ok" : "not ok"), "cli", $2 }
        /(PASSED all|FAILED) [0-9]/ { print ($1 == "PASSED" ? "ok" : "not ok"), "cli", "as a whole" }
        /^make.*Error.*/ { print "not ok", "make" }
        /^(FUZZER|STREAM)-OK/ { print "ok", $1 }' ;;
    make) sed -nE 's/^([a-z]+\/[A-Za-z0-9_.-]+) \.+ +ok +\(([0-9]+) passed\)/ok \1 \2/p; s/^([a-z]+\/[A-Za-z0-9_.-]+) \.+.*(FAILED.*)/not ok \1 \2/p; s/^(No failures|.*Regression PASSED).*/ok \1/p' ;;
    # A test prints nothing, or what differs from what it should; remarks of the tests themselves begin otherwise.
    bash) awk '/^run-/ { if (t) print (bad ? "not ok" : "ok"), t; t = $1; bad = 0 } /^[<>] |^[0-9,]+[acd][0-9,]+$/ { bad = 1 } END { print (bad ? "not ok" : "ok"), t }' ;;
    esac
}

scripts/packages.sh make gcc=build-essential patch perl file tclsh=tcl autoreconf=autoconf automake autopoint python3
away='onehost run --no-local'
up 4 --cpu-quota "$quota" >&2

# one HOW RUN: a fresh build and its suite; leaves $logs/NAME.HOW.{build,check,sums,verdicts}.
one() {
    local out=$logs/$name.$1 begin
    fresh "$source" "$dir"
    if [ "$name" = lua ]; then
        fresh "$(scripts/source.sh lua-lpeg)" "$dir/lpeg"
        tar -c -C scripts/bench lua | on h1 tar -x -C "$dir" --transform 's/^lua/suite/'
    fi
    # shellcheck disable=SC2016
    in_dir() { h1 "$dir" timeout 900 bash -c "run=\$1; $2" bash "$1" </dev/null; }
    in_dir "$2" "$(prepare "$name")" >"$out.build" 2>&1 || { tail "$out.build" >&2; return 1; }
    begin=$(now)
    in_dir "$2" "$(build "$name")" >>"$out.build" 2>&1 || { tail -n 20 "$out.build" >&2; return 1; }
    took=$(since "$begin")
    digest "$dir" >"$out.sums"
    in_dir "$2" "$(check "$name")" >"$out.check" 2>&1 || true # what failed is in its verdicts
    verdicts "$name" <"$out.check" | sort >"$out.verdicts"
}

# passed HOW: passed/failed.
passed() { awk '/^ok/ { ok++ } /^not/ { bad++ } END { printf "%d/%d", ok, bad }' "$logs/$name.$1.verdicts"; }

# placed: how many jobs of the project ran elsewhere and at home.
placed() { sed -nE 's/^[0-9]+ jobs?: ([0-9]+) remote, ([0-9]+) local.*/\1 \2/p' "$logs/$name.together".{build,check} | awk '{ r += $1; l += $2 } END { printf "%d/%d", r, l }'; }

echo "| project | by onehost, s | alone, s | files the same | suite alone, passed/failed | through onehost | jobs remote/local |"
echo "|---|---|---|---|---|---|---|"
status=0
for name in ${PROJECTS:-lua redis zstd make bash}; do
    source=$(scripts/source.sh "$(package "$name")")
    dir=/home/$name
    say "$name: by onehost"
    if ! one together "$away"; then
        for host in h1 h2 h3 h4; do
            echo "$host:" >&2
            on "$host" tail -n 20 /var/log/onehostd.log </dev/null >&2 || true
        done
        echo "| $name | failed | | | | | |"
        status=1
        continue
    fi
    together=$took
    say "$name: alone"
    one alone "" || die "the native build of $name failed"
    same="all $(wc -l <"$logs/$name.alone.sums")"
    if ! cmp -s "$logs/$name.alone.sums" "$logs/$name.together.sums"; then
        same="not: $(diff "$logs/$name.alone.sums" "$logs/$name.together.sums" | grep -c '^[<>]') lines differ"
        diff "$logs/$name.alone.sums" "$logs/$name.together.sums" | head >&2 || true
        status=1
    fi
    if ! cmp -s "$logs/$name.alone.verdicts" "$logs/$name.together.verdicts"; then
        status=1
        diff "$logs/$name.alone.verdicts" "$logs/$name.together.verdicts" >&2 || true
    fi
    echo "| $name | $together | $took | $same | $(passed alone) | $(passed together) | $(placed) |"
done
exit $status
