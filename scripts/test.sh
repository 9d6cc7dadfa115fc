#!/usr/bin/env bash
# Runs every test: those of the rooms under the race detector, then those that need a program without it, then those from
# outside over real hosts. A test that skipped although this machine could have run it is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

# A process with a number over 32767 has no name in a cluster, so its machine has kernel.pid_max at 32768; most do not. From Linux 6.14 on each pid
# name space has its own, so the machine keeps the one it has.
if [ "$(id -u)" = 0 ] && [ "$(cat /proc/sys/kernel/pid_max)" -gt 32768 ] && [ -z "${ONEHOST_TEST_PIDS-}" ] &&
    [ "$(printf '%s\n' 6.14 "$(uname -r)" | sort -V | head -n 1)" = 6.14 ] && unshare --pid --fork --mount-proc true 2>/dev/null; then
    export ONEHOST_TEST_PIDS=own
    # shellcheck disable=SC2016
    exec unshare --pid --fork --mount-proc --kill-child bash -c 'echo 32768 >/proc/sys/kernel/pid_max && "$@"; exit $?' bash "$PWD/scripts/test.sh"
fi

unset MAKEFLAGS MFLAGS MAKELEVEL # the makes that tests run are nobody's sub-makes

scripts/packages.sh mandoc make gcc=build-essential python3 tmux strace gdb parallel perl setpriv=util-linux script=bsdutils vim less top=procps
scripts/packages.sh mkfs.btrfs=btrfs-progs || true # for one test, which skips without

log=$(mktemp)
trap 'rm -f "$log"' EXIT

status=0
run() { go test -v -count=1 "$@" 2>&1 | tee -a "$log" | scripts/brief.awk || status=1; }

outside=$(go list ./... | grep -E '/(e2e|split)(/|$)' || true)
# shellcheck disable=SC2046,SC2086 # words are wanted
run -race -timeout 30m $(go list ./... | grep -vE '/(e2e|split)(/|$)')
# What a nest needs of a program that has nothing around it, and more hosts than the race detector has time for.
CGO_ENABLED=0 run -timeout 20m ./member ./proc/nest
if [ -n "$outside" ]; then
    # shellcheck disable=SC2086
    run -p 1 -timeout 40m $outside
fi
scripts/skips.awk "$log" || status=1
exit $status
