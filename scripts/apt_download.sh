#!/usr/bin/env bash
# Brings the newest packages of a Debian suite, unpacked, into a directory, without touching the system.
# usage: scripts/apt_download.sh SUITE DIRECTORY PACKAGE...    prints each package's name and version
# PACKAGE may be a metapackage with a leading @: what it depends on is brought (@linux-image-amd64). With a leading +
# it is brought with all that it depends on.
# Apt runs with lists, state and cache of its own, from the mirror that the system is configured with.
set -euo pipefail

[ $# -ge 3 ] || { echo "usage: scripts/apt_download.sh SUITE DIRECTORY PACKAGE..." >&2; exit 2; }
suite=$1
mkdir -p "$2"
target=$(cd "$2" && pwd)
shift 2

mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE) $(REPO_URI)' 'Created-By: Packages' 'Component: main' |
	awk '$2 ~ /\/debian\/?$/ {print $2; exit}')}
[ -n "$mirror" ] || { echo "apt_download: no Debian mirror in the sources of apt; set DEBIAN_MIRROR" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/download"
: >"$work/status"
cat >"$work/suite.sources" <<SOURCES
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Architectures: amd64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES

options=(
	-o "Dir::Etc::SourceList=$work/suite.sources" -o "Dir::Etc::SourceParts=/dev/null"
	-o "Dir::State=$work" -o "Dir::State::Lists=$work/lists" -o "Dir::State::Status=$work/status"
	-o "Dir::Cache=$work/cache" -o "APT::Architecture=amd64" -o "APT::Architectures::=amd64"
	-o "APT::Sandbox::User=root" -o "Acquire::Languages=none"
)
apt-get "${options[@]}" -qq update
cd "$work/download"
for package in "$@"; do
	case $package in
	@*) package=$(apt-cache "${options[@]}" depends "${package#@}" | awk '/Depends: linux-image-[0-9]/ {print $2; exit}') ;;
	+*)
		apt-get "${options[@]}" -s --no-install-recommends install "${package#+}" | awk '/^Inst / {print $2}' |
			xargs -r apt-get "${options[@]}" -qq download
		continue
		;;
	esac
	apt-get "${options[@]}" -qq download "$package"
done
for file in *.deb; do
	dpkg -x "$file" "$target"
	dpkg-deb -W --showformat '${Package} ${Version}\n' "$file"
done
