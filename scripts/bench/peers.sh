# Sourced by redis.sh: distcc and icecream on the hosts of a split. Their packages are unpacked into the hosts' own roots, so
# nothing is installed on the machine and all of it goes with the hosts.
# shellcheck shell=bash

peers_cache=${XDG_CACHE_HOME:-$HOME/.cache}/onehost/peers

peers_fetch() {
    [ ! -d "$peers_cache/root" ] || return 0
    mkdir -p "$peers_cache/deb"
    (cd "$peers_cache/deb" && apt-get -qq -o APT::Sandbox::User=root download distcc icecc libpopt0 liblzo2-2 libarchive13 </dev/null)
    local deb
    for deb in "$peers_cache"/deb/*.deb; do dpkg -x "$deb" "$peers_cache/root.new"; done
    mv "$peers_cache/root.new" "$peers_cache/root"
}

# peers_install HOST ...: puts the programs there. icecream wants a user of its own, and reads /proc/stat, which is the whole
# machine's: a busy host would make every other look busy, and it would send nothing anywhere. An idle one stands in for it.
peers_install() {
    local host
    for host in "$@"; do
        # shellcheck disable=SC2016
        on "$host" sh -ec '
            tar -C "$1" -cf - . | tar -C / --keep-directory-symlink -xf - # /lib is a link
            ldconfig
            id icecc >/dev/null 2>&1 || useradd --system --home-dir /var/lib/icecc icecc
            mkdir -p /var/lib/icecc && chown icecc /var/lib/icecc
            printf "cpu  0 0 0 1000000 0 0 0 0 0 0\ncpu0 0 0 0 1000000 0 0 0 0 0 0\n" >/var/lib/icecc/stat
            mount --bind /var/lib/icecc/stat /proc/stat
        ' sh "$peers_cache/root" </dev/null
    done
}

# address HOST: without the port.
address() { on h1 onehost hosts </dev/null | awk -v h="$1" '$1 == h { sub(/:[0-9]+$/, "", $5); print $5 }'; }

distcc_start() { # HOST ...: helpers first to last after h1
    local host
    on h1 mkdir -p /tmp/distcc </dev/null
    distcc_hosts="--localslots=1 --localslots_cpp=4 localhost/1"
    for host in "$@"; do
        on "$host" distccd --daemon --enable-tcp-insecure --allow 10.0.0.0/8 --user nobody --jobs 3 \
            --listen "$(address "$host")" --log-file /tmp/distccd.log </dev/null
        distcc_hosts+=" $(address "$host")/3"
    done
}

icecc_start() { # HOST ...: the helpers
    local host scheduler
    scheduler=$(address h1)
    on h1 icecc-scheduler -d -n bench -u icecc -l /tmp/scheduler.log </dev/null
    for host in h1 "$@"; do
        on "$host" iceccd -d -n bench -s "$scheduler" -N "$host" -m 2 -u icecc -b /var/lib/icecc -l /tmp/iceccd.log </dev/null
    done
    # A daemon logs in by itself, and the first compilation waits for the compiler to be packed: wait until some of eight have
    # gone elsewhere, so that no round pays for the first contact.
    local try
    for try in $(seq 30); do
        # shellcheck disable=SC2016
        on h1 sh -c 'cd /tmp && rm -f ice*.log && for i in 1 2 3 4 5 6 7 8; do
                (echo "int x;" >"ice$i.c" && ICECC_DEBUG=debug ICECC_LOGFILE="/tmp/ice$i.log" icecc gcc -O2 -c "ice$i.c") &
            done; wait; cat ice*.log | grep -q "[0-9]:10245"' </dev/null && return 0
        sleep 1
    done
    on h1 cat /tmp/scheduler.log /tmp/ice1.log </dev/null >&2
    die "icecream sends nothing to another host ($try tries)"
}
