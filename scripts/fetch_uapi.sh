#!/usr/bin/env bash
# Brings the newest UAPI headers (linux-libc-dev of Debian's trixie-backports, whose kernel the tests boot) into a directory, without touching the system.
# usage: scripts/fetch_uapi.sh DIRECTORY    prints the package's version; headers are in DIRECTORY/usr/include
set -euo pipefail

[ $# = 1 ] || { echo "usage: scripts/fetch_uapi.sh DIRECTORY" >&2; exit 2; }
rm -rf "$1/usr"
exec "$(dirname "$0")/apt_download.sh" trixie-backports "$1" linux-libc-dev
