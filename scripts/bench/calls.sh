#!/usr/bin/env bash
# What calls about processes cost: twenty of them on processes at home, with and without a session; and a process elsewhere: exec,
# kill, and the end that it brings, against the round trip of a byte over TCP between the two hosts and against the same on the host itself.
set -euo pipefail
# shellcheck source=scripts/bench/lib.sh
. "$(dirname "$0")/lib.sh"

n=${N:-300}
up 2 >&2 # no quota: throttling would hide what is looked for
tool
# shellcheck disable=SC2016
on h2 sh -ec 'mkdir -p "$1"; cat >"$1/spawn"; chmod +x "$1/spawn"' sh "$bench_dir" < <(on h1 cat "$bench_dir/spawn" </dev/null)
trip() { # microseconds, median and 99th percentile
    on h2 python3 -c '
import socket
s = socket.create_server(("", 1997))
c, _ = s.accept()
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while b := c.recv(1): c.send(b)' </dev/null >&2 &
    local server=$!
    on h1 python3 -c '
import socket, sys, time
for _ in range(100):
    try: c = socket.create_connection((sys.argv[1], 1997)); break
    except ConnectionRefusedError: time.sleep(0.05)
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
t = []
for _ in range(int(sys.argv[2])):
    a = time.perf_counter(); c.send(b"x"); c.recv(1); t.append(1e6 * (time.perf_counter() - a))
t.sort()
print("trip\t%.0f\t%.0f" % (t[len(t) // 2], t[-1 - len(t) // 100]))' "$(on h1 onehost hosts --json </dev/null | awk -F'"' '/"address": *"/ { split($4, a, ":"); if (++i == 2) print a[1] }')" "$n" </dev/null
    wait "$server"
}
for round in $(seq "$rounds"); do
    say "round $round"
    {
        h1 "$bench_dir" ./spawn table </dev/null | sed 's/^/native\t/'
        h1 "$bench_dir" onehost run -q --local ./spawn table </dev/null | sed 's/^/session\t/'
        trip | sed 's/^/far\t/'
        on h1 onehost on h2 sleep 1000 </dev/null >/dev/null &
        sleeper=$!
        pid=
        until [ -n "$pid" ]; do pid=$(on h1 onehost ps --host h2 -C sleep --json </dev/null | awk -F'[:,]' '/"pid"/ { p = $2 + 0 } END { print p }' || true); done
        h1 "$bench_dir" onehost run -q --no-local ./samu far 50 "$pid" </dev/null >/dev/null # warm
        h1 "$bench_dir" onehost run -q --no-local ./samu far "$n" "$pid" </dev/null | sed 's/^/far\t/'
        on h1 onehost kill "$pid" </dev/null
        wait "$sleeper" || true # killed
        on h2 "$bench_dir/spawn" far "$n" 0 </dev/null | sed 's/^/there\t/'
    } | tee -a "$scratch/rows" >&2
done

pick() { # pick KIND NAME COLUMN: the median over the rounds
    awk -F'\t' -v k="$1" -v w="$2" -v c="$3" '$1 == k && $2 == w { print $c }' "$scratch/rows" | median
}
echo "| ns per call (median of $rounds) | native | in a session | more |"
echo "|---|---|---|---|"
awk -F'\t' '$1 == "native" && !seen[$2]++ { print $2 }' "$scratch/rows" | while read -r name; do
    a=$(pick native "$name" 3) b=$(pick session "$name" 3)
    echo "| $name | $a | $b | $(awk -v a="$a" -v b="$b" 'BEGIN { printf "%+.0f", b - a }') |"
done
echo
echo "| us (medians of $rounds) | median | 99th percentile |"
echo "|---|---|---|"
line() { echo "| $3 | $(pick "$1" "$2" 3) | $(pick "$1" "$2" 4) |"; }
line far trip "a byte to the other host and back, TCP"
line far kill "kill(host:pid, 0) of a process of the other host"
line far exec "spawn and wait of /bin/true there"
line there exec "the same natively on that host"
line far wait "kill of a process there, and the wait for it at home"
line there wait "the same natively on that host"
