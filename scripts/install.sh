#!/usr/bin/env bash
# Installs what traceleft needs: Debian packages and a virtual environment in .venv.
# usage: scripts/install.sh run|docs|test|bench
# run: to generate, build and trace; docs, test, bench: also what the documentation, the tests, the benchmarks use
# Does nothing, quickly, when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

RUN_PACKAGES=(clang llvm libbpf-dev python3-venv python3-dev gcc libc6-dev)
TEST_PACKAGES=(gcc-multilib strace git openssl openssh-client busybox-static bc cpio curl iproute2 jq kmod make nodejs perl socat sqlite3 unzip xz-utils zip zstd qemu-system-x86 python3-bpfcc bpftool rsync tmux openjdk-17-jre-headless chromium)
BENCH_PACKAGES=(git strace linux-perf bpftrace bpfcc-tools libbpf-tools openjdk-17-jre-headless)

case "${1:-}" in
run) packages=("${RUN_PACKAGES[@]}") extras=build ;;
docs) packages=("${RUN_PACKAGES[@]}") extras=build,docs ;;
test) packages=("${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}") extras=build,docs,test ;;
bench) packages=("${RUN_PACKAGES[@]}" "${BENCH_PACKAGES[@]}") extras=build,docs,test,bench ;;
*) echo "usage: scripts/install.sh run|docs|test|bench" >&2; exit 2 ;;
esac

die() {
	echo "install: $*" >&2
	exit 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "needs root: run it as root, or install sudo"
	fi
}

install_packages() {
	local missing=() package
	for package in "${packages[@]}"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
	done
	[ ${#missing[@]} = 0 ] && return
	echo "install: Debian packages: ${missing[*]}" >&2
	as_root apt-get update -q
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null
}

install_environment() {
	local stamp=.venv/.installed wanted
	# An editable install finds later edits by itself; these are what it does not.
	wanted=$(pwd; /usr/bin/python3 --version; sha256sum pyproject.toml battery/native/*.[ch] tracer/native/*.[ch] traceleft/__init__.py)
	if [ -x .venv/bin/traceleft ] && [ "$(sed 1d "$stamp" 2>/dev/null)" = "$wanted" ]; then
		# Each list begins with those of less.
		[[ "$(head -n 1 "$stamp")" == "$extras"* ]] && return
	fi
	echo "install: virtual environment .venv" >&2
	# One that was moved here or whose Python is gone is made anew.
	.venv/bin/python -c 'import sys; sys.exit(sys.prefix != sys.argv[1])' "$PWD/.venv" 2>/dev/null ||
		/usr/bin/python3 -m venv --clear --system-site-packages .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check -e ".[$extras]" </dev/null
	printf '%s\n' "$extras" "$wanted" >"$stamp"
}

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
	install_packages
else
	echo "install: no apt here; these must be there already: ${packages[*]}" >&2
fi
[ -x /usr/bin/python3 ] || die "/usr/bin/python3 is missing: install python3 (3.11 or later)"
install_environment
# An editable install compiles nothing, and not everybody lets Python keep what it compiles.
.venv/bin/python -m compileall -q traceleft aggregator battery generator templates tracer
