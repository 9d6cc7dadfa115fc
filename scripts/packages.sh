#!/usr/bin/env bash
# Installs Debian packages that provide programs, those only that are missing.
#   packages.sh PROGRAM[=PACKAGE] ...      the package's name is the program's unless given
set -euo pipefail

missing=()
for want in "$@"; do
    command -v "${want%%=*}" >/dev/null || missing+=("${want#*=}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "missing: ${missing[*]}; as root: apt-get install ${missing[*]}" >&2
    exit 1
fi
command -v apt-get >/dev/null || { echo "missing: ${missing[*]}; install them with this system's package manager" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
# Lists may be old or not there at all: fetch them once when the first try fails.
install() { apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null; }
install 2>/dev/null || { apt-get update -qq </dev/null && install; }
