#!/usr/bin/env bash
# Fetches the upstream source of a Debian package and prints the path of its tarball. A second call takes it from the
# cache. The system's own apt lists are left as they are: deb-src entries derived from them live in the cache too.
#   source.sh PACKAGE
set -euo pipefail

package=$1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/onehost
tarball() { find "$cache/sources" -maxdepth 1 -name "${package}_*.orig.tar.*" ! -name '*.asc' | sort -V | tail -n 1; }

mkdir -p "$cache/sources"
found=$(tarball)
if [ -z "$found" ]; then
    command -v apt-get >/dev/null || { echo "source.sh: needs apt-get to fetch the source of $package" >&2; exit 1; }
    apt=$cache/apt
    mkdir -p "$apt/parts" "$apt/lists/partial"
    shopt -s nullglob
    for list in /etc/apt/sources.list.d/*.sources; do
        sed 's/^Types:.*/Types: deb-src/' "$list" >"$apt/parts/${list##*/}"
    done
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -e "$list" ] || sed -n 's/^deb\(-src\)\? /deb-src /p' "$list" >"$apt/parts/${list##*/}.list"
    done
    options=(-qq -o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$apt/parts" -o "Dir::State::Lists=$apt/lists"
        -o "APT::Sandbox::User=root")
    {
        # One repository of several may be out of reach or have no sources: what matters is whether the package is found.
        apt-get "${options[@]}" update </dev/null || true
        # The newest version may be listed and not be there: mirrors are not always whole.
        got=
        for version in $(apt-cache "${options[@]}" showsrc --only-source "$package" | sed -n 's/^Version: //p' | sort -Vru); do
            (cd "$cache/sources" && apt-get "${options[@]}" source --download-only "$package=$version" </dev/null) && got=$version && break
            find "$cache/sources" -maxdepth 1 -name "${package}_*" -newer "$apt/parts" -delete # parts of what could not be had
        done
        [ -n "$got" ]
    } >"$apt/log" 2>&1 || { cat "$apt/log" >&2; exit 1; }
    found=$(tarball)
fi
[ -n "$found" ] || { echo "source.sh: the source package $package has no upstream tarball" >&2; exit 1; }
echo "$found"
