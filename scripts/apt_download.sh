#!/usr/bin/env bash
# Brings the newest packages of a Debian suite, unpacked, into a directory, without touching the system.
# usage: scripts/apt_download.sh SUITE DIRECTORY PACKAGE...    prints each package's name and version
# PACKAGE may be a kernel's metapackage with a leading @ (@linux-image-amd64): the newest kernel that it depends on is
# brought, with all packages of that kernel. With a leading + the package is brought with all that it depends on.
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

# Prints the packages of the kernel that a metapackage depends on. Since 7.x linux-image-R holds nothing itself: the
# image is in linux-binary-R, the modules are in linux-modules-R, the list of what is built in is in linux-base-R.
kernel_packages() {
	local image release
	image=$(apt-cache "${options[@]}" depends "$1" | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
	[ -n "$image" ] || { echo "apt_download: $suite: $1 depends on no kernel" >&2; return 1; }
	release=${image#linux-image-}
	echo "$image"
	apt-cache "${options[@]}" depends "$image" | awk -v release="$release" \
		'/ Depends: / && ($2 == "linux-base-" release || $2 == "linux-binary-" release || $2 == "linux-modules-" release) {print $2}'
}

apt-get "${options[@]}" -qq update
cd "$work/download"
for package in "$@"; do
	case $package in
	@*)
		packages=$(kernel_packages "${package#@}")
		# shellcheck disable=SC2086 # package names have no spaces
		apt-get "${options[@]}" -qq download $packages
		continue
		;;
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
