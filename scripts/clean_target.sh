#!/usr/bin/env bash
# Makes a minimal Debian 12 user land that traces and does no more: Python, libbpf, a shell, busybox, and traceleft's wheel with
# its base dependencies: no compiler, no headers, nothing of the extra [build].
# usage: scripts/clean_target.sh DIRECTORY [WHEEL]    DIRECTORY is made, or must be empty; without WHEEL one is built
# Prints what it takes on disk. Needs no root, but .venv on Debian 12.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$here/../.venv/bin/python

die() {
	echo "clean_target: $*" >&2
	exit 1
}

[ $# = 1 ] || [ $# = 2 ] || { echo "usage: scripts/clean_target.sh DIRECTORY [WHEEL]" >&2; exit 2; }
[ -x "$python" ] || die "no .venv: run make install first"
mkdir -p "$1"
[ -z "$(ls -A "$1")" ] || die "$1 is not empty"
target=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# numpy asks for libstdc++6. Licences stay; what else is for people to read, and in other languages, is left out, as in
# Debian's slim images.
add_packages() {
	local name
	"$here/apt_download.sh" bookworm "$target" base-files +python3 +libbpf1 +libstdc++6 +dash busybox-static >"$work/packages"
	find "$target/usr/share/doc" ! -name copyright ! -type d -delete
	rm -rf "$target"/usr/share/{info,lintian,locale,man}
	for name in $("$target/bin/busybox" --list); do
		[ -e "$target/bin/$name" ] || [ -e "$target/usr/bin/$name" ] || ln -s busybox "$target/bin/$name"
	done
	mkdir "$target/mnt"
	echo target >"$target/etc/hostname"
}

# From a copy of what git tracks: what an earlier build left in build/ would also be packed.
build_wheel() {
	mkdir "$work/source"
	(cd "$here/.." && git ls-files -z | tar -c --null -T - -f -) | tar -x -C "$work/source" -f -
	"$python" -m pip wheel -q --disable-pip-version-check --no-deps -w "$work" "$work/source"
}

# By the system's Python, of the version that the target has: where it lies is the first line of the command.
add_wheel() {
	"$python" -m pip --python /usr/bin/python3 install -q --disable-pip-version-check --break-system-packages \
		--root-user-action ignore --no-warn-script-location --ignore-installed --no-compile \
		--root "$target" "$1"
}

# By the target's own Python, and without times of files: it then never writes any bytecode itself.
compile() {
	PYTHONHOME=$target/usr "$target/lib64/ld-linux-x86-64.so.2" --library-path "$target/lib/x86_64-linux-gnu:$target/usr/lib/x86_64-linux-gnu" \
		"$target/usr/bin/python3" -m compileall -q -j 0 -s "$target" -p / --invalidation-mode unchecked-hash \
		"$@"
}

# On disk, of these files and directories.
megabytes() {
	du -csB1 "$@" | awk 'END {printf "%.0f MB", $1 / 1e6}'
}

add_packages
compile "$target"/usr/lib/{python3,python3.11}
[ $# = 2 ] || build_wheel
add_wheel "${2:-$(ls "$work"/*.whl)}"
installed=$target/usr/local/lib/python3.11/dist-packages
# Twenty times as large as without what only debuggers read.
strip --strip-debug "$installed"/zstandard/*.so
compile "$installed"
echo "user land: $(megabytes "$target")"
echo "of that traceleft: $(megabytes "$installed"/traceleft*)"
echo "of that what it depends on: $(find "$installed" -mindepth 1 -maxdepth 1 ! -name 'traceleft*' -print0 | megabytes --files0-from=-)"
echo "of that numpy: $(megabytes "$installed"/numpy*)"
