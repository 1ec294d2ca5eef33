#!/usr/bin/env bash
# Brings the newest UAPI headers (linux-libc-dev of Debian sid) into a directory, without touching the system.
# usage: scripts/fetch_uapi.sh DIRECTORY    prints the package's version; headers are in DIRECTORY/usr/include
# Apt runs with lists, state and cache of its own; proxies and the like stay as /etc/apt configures them.
set -euo pipefail

[ $# = 1 ] || { echo "usage: scripts/fetch_uapi.sh DIRECTORY" >&2; exit 2; }
mkdir -p "$1"
target=$(cd "$1" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/download"
: >"$work/status"
cat >"$work/sid.sources" <<SOURCES
Types: deb
URIs: ${DEBIAN_MIRROR:-http://deb.debian.org/debian}
Suites: sid
Components: main
Architectures: amd64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES

options=(
	-o "Dir::Etc::SourceList=$work/sid.sources" -o "Dir::Etc::SourceParts=/dev/null"
	-o "Dir::State=$work" -o "Dir::State::Lists=$work/lists" -o "Dir::State::Status=$work/status"
	-o "Dir::Cache=$work/cache" -o "APT::Architecture=amd64" -o "APT::Architectures::=amd64"
	-o "APT::Sandbox::User=root" -o "Acquire::Languages=none"
)

apt-get "${options[@]}" -qq update
cd "$work/download"
apt-get "${options[@]}" -qq download linux-libc-dev
rm -rf "$target/usr"
dpkg -x linux-libc-dev_*.deb "$target"
dpkg-deb -f linux-libc-dev_*.deb Version
