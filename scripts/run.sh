#!/usr/bin/env bash
# Traces a command with a battery for the kernel that it runs on.
# usage: scripts/run.sh COMMAND [ARG...]
# That is the running kernel; where BPF is not permitted at all, the newest of scripts/kernels.txt, in QEMU.
set -euo pipefail
cd "$(dirname "$0")/.."
vm=build/vm

if [ "$(id -u)" = 0 ]; then
	root=()
elif command -v sudo >/dev/null; then
	root=(sudo)
else
	root=()
fi

# Why programs cannot be loaded here, even as root; nothing if they can.
why_not() {
	"${root[@]}" .venv/bin/python -c '
from traceleft.tracer.kernel.features import probe_kernel
found = probe_kernel(only={"privileges", "perf_buffer"})
print(next((f"{name.replace(chr(95), chr(32))}: {each.value}" for name, each in found.features.items() if not each.is_present), ""))'
}

run_here() {
	make --no-print-directory battery
	exec "${root[@]}" .venv/bin/traceleft trace --battery build/battery -- "$@"
}

# Runs traceleft in the guest; its output becomes ours.
in_guest() {
	local status=0
	rm -f "$vm/out" "$vm/err"
	scripts/vm.sh "$kernel" "$vm" "cd ${PWD@Q} && .venv/bin/traceleft ${*@Q} >/mnt/out 2>/mnt/err" || status=$?
	[ ! -e "$vm/err" ] || cat "$vm/err" >&2
	[ ! -e "$vm/out" ] || cat "$vm/out"
	[ "$status" = 125 ] && cat "$vm/log" >&2
	return "$status"
}

run_in_guest() {
	local kernel
	kernel=$(grep -v '^#' scripts/kernels.txt | cut -d ' ' -f 1 | sort -V | tail -n 1)
	echo "run: BPF is not permitted here ($1): tracing in a virtual machine with Debian's kernel $kernel" >&2
	shift
	scripts/install.sh test
	mkdir -p "$vm"
	# Formats, once for each kernel: all else but the trace is made here, where it is quicker.
	[ -s "$vm/$kernel.snapshot" ] || {
		in_guest snapshot -o /mnt/passing
		mv "$vm/passing" "$vm/$kernel.snapshot"
	}
	.venv/bin/traceleft generate --formats "$vm/$kernel.snapshot" -o "$vm/generated"
	# Every listed kernel offers this level.
	.venv/bin/traceleft build "$vm/generated" -o "$vm/battery" --level 5.8
	in_guest trace --battery "$PWD/$vm/battery" -- "$@"
}

[ $# -gt 0 ] || { echo "usage: scripts/run.sh COMMAND [ARG...]" >&2; exit 2; }
reason=$(why_not)
if [ -z "$reason" ]; then
	run_here "$@"
else
	run_in_guest "$reason" "$@"
fi
