#!/usr/bin/env bash
# Runs a command inside another kernel, in QEMU without KVM, on this machine's files (read-only, with an overlay).
# usage: scripts/vm.sh KERNEL OUTDIR COMMAND    KERNEL: a name of scripts/kernels.txt, or the path of an image
#        scripts/vm.sh fetch NAME               only brings the kernel
# The command sees OUTDIR as /mnt, writable; what it writes elsewhere is gone after it. OUTDIR/log is what it printed.
# An image of one's own needs virtio_pci, 9pnet_virtio, 9p and overlay: built in, or as modules of its release, in
# lib/modules below one of the directories that hold the image.
# VM_ROOT is another directory than / to have as its files; VM_TIMEOUT is the limit in seconds, VM_MEMORY in MiB.
# Exits with the command's status; 125 when the guest died before it was done (see OUTDIR/console).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${TRACELEFT_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/traceleft-vm}

die() {
	echo "vm: $*" >&2
	exit 125
}

# A kernel is brought once; a directory without its stamp is what an interrupted run left.
fetch() {
	local name=$1 suite package root modules
	read -r _ suite package < <(grep "^$name " "$here/kernels.txt") || die "no kernel $name in scripts/kernels.txt"
	root=$cache/$name
	[ -e "$root/.complete" ] && return
	mkdir -p "$cache"
	exec 9>"$cache/.lock"
	flock 9
	[ -e "$root/.complete" ] && return
	rm -rf "$root"
	"$here/apt_download.sh" "$suite" "$root" "$package" >&2
	modules=$(modules_of "$(image_in "$root")")
	[ -n "$modules" ] || die "the packages of $name hold no modules"
	depmod -b "${modules%/lib/modules/*}" "${modules##*/}" || die "depmod failed for $name"
	touch "$root/.complete"
}

# The image of a fetched kernel: boot/vmlinuz-RELEASE, from 7.x on usr/lib/modules/RELEASE/vmlinuz.
image_in() {
	local found
	found=$(find "$1" -maxdepth 5 -type f -name 'vmlinuz*' | head -n 1)
	[ -n "$found" ] || die "$1 holds no kernel"
	echo "$found"
}

# What an image calls itself: the field at 0x20e of its header says where that text is, from 0x200 on.
release_of() {
	local offset
	offset=$(od -An -tu2 -j $((0x20e)) -N 2 "$1")
	tail -c +$((offset + 0x200 + 1)) "$1" | head -c 128 | tr '\0' ' ' | cut -d ' ' -f 1 | head -n 1
}

# The modules of an image, if there are any: those of its release, below one of the directories that hold it.
modules_of() {
	local directory release candidate
	release=$(release_of "$1")
	directory=$(dirname "$(realpath "$1")")
	while [ "$directory" != / ]; do
		for candidate in "$directory/lib/modules/$release" "$directory/usr/lib/modules/$release"; do
			[ ! -d "$candidate" ] || { echo "$candidate"; return; }
		done
		directory=$(dirname "$directory")
	done
}

# Modules are loaded in the order in which they stand in m/order: what each needs before itself. Without a list of what
# is built in, a module that is missing is taken for built in; the guest tells if it is not.
add_module() {
	local name=$1 modules=$2 into=$3 line file base
	line=$(grep -E "/$name\.ko(\.xz|\.zst|\.gz)?:" "$modules/modules.dep") || {
		[ ! -e "$modules/modules.builtin" ] || grep -q "/$name\.ko" "$modules/modules.builtin" ||
			die "the kernel has no module $name"
		return 0
	}
	for file in $(echo "$line" | tr -d : | tr ' ' '\n' | tac); do
		base=$(basename "$file")
		base=${base%%.ko*}.ko
		grep -qx "$base" "$into/order" 2>/dev/null && continue
		case $file in
		*.xz) xz -dc "$modules/$file" ;;
		*.zst) zstd -qdc "$modules/$file" ;;
		*.gz) gzip -dc "$modules/$file" ;;
		*) cat "$modules/$file" ;;
		esac >"$into/$base"
		echo "$base" >>"$into/order"
	done
}

write_init() {
	cat <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
end() { $B echo "vm: $1"; $B reboot -f; }
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev || end "the kernel has no devtmpfs"
[ ! -e /m/order ] || for m in $($B cat /m/order); do $B insmod /m/$m || $B echo "vm: insmod $m failed"; done
$B mkdir -p /low /up
M="-t 9p -o trans=virtio,version=9p2000.L,msize=262144"
$B mount $M,ro,cache=loose root /low || end "the kernel cannot mount this machine's files: it needs virtio_pci, 9pnet_virtio, 9p"
$B mount -t tmpfs up /up; $B mkdir /up/u /up/w
$B mount -t overlay -o lowerdir=/low,upperdir=/up/u,workdir=/up/w ov /root || end "the kernel has no overlay"
for d in proc sys dev; do $B mount --move /$d /root/$d; done
$B mkdir -p /root/mnt /root/dev/pts /root/dev/shm
# As udev does it. An exec by file descriptor has the name /dev/fd/N, which TOMOYO in Debian's 5.10 looks up.
$B ln -s /proc/self/fd /root/dev/fd
$B mount -t devpts p /root/dev/pts; $B mount -t tmpfs s /root/dev/shm
$B mount -t tracefs t /root/sys/kernel/tracing || $B mount -t debugfs d /root/sys/kernel/debug
for m in bpf:/root/sys/fs/bpf cgroup2:/root/sys/fs/cgroup; do $B mount -t ${m%%:*} none ${m#*:} || $B echo "vm: no ${m%%:*}"; done
$B mount $M out /root/mnt || end "the results have no place"
exec $B chroot /root /bin/sh -c 'export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root; busybox ip link set lo up; dmesg -n 5
echo >/mnt/begun; sh /mnt/cmd.sh >/mnt/log 2>&1; echo $? >/mnt/rc; sync; busybox reboot -f'
INIT
}

run() {
	local kernel=$1 out=$2 command=$3 modules status cpu
	emulator=
	modules=$(modules_of "$kernel")
	image=$(mktemp -d)
	trap 'rm -rf "$image" "$image.img"; [ -z "$emulator" ] || kill "$emulator"' EXIT
	trap 'exit 143' TERM INT HUP
	mkdir -p "$image"/{bin,dev,proc,sys,root,m} "$out"
	out=$(cd "$out" && pwd)
	rm -f "$out/rc" "$out/log"
	cp "$(command -v busybox)" "$image/bin/busybox"
	[ -z "$modules" ] || for module in virtio_pci 9pnet_virtio 9p overlay; do add_module "$module" "$modules" "$image/m"; done
	printf '%s\n' "$command" >"$out/cmd.sh"
	write_init >"$image/init"
	chmod +x "$image/init"
	(cd "$image" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$image.img"
	# No CPU model is right for every kernel: the next one is tried where a guest does not come to its command.
	for cpu in ${VM_CPU:-max max,-cx16}; do
		boot "$kernel" "$image.img" "$out" "$cpu" && break
	done
	[ -e "$out/begun" ] || die "the guest died before the command: $(last_words "$out/console")"
	[ -e "$out/rc" ] || die "the guest died before the command was done: $(last_words "$out/console")"
	read -r status <"$out/rc"
	return "$status"
}

# Boots a guest and waits for its end; fails where it does not come to its command.
# KVM may hang where it is nested. One thread serves both CPUs: with two, 6.x kernels crash or hang on cmpxchg16b, and a
# CPU of 5.10 stays for ever on code that the other patches (static calls).
boot() {
	local kernel=$1 initrd=$2 out=$3 cpu=$4 waited
	rm -f "$out/begun"
	timeout "${VM_TIMEOUT:-600}" qemu-system-x86_64 -accel tcg,thread=single -cpu "$cpu" -smp 2 -m "${VM_MEMORY:-2048}" \
		-display none -no-reboot -kernel "$kernel" -initrd "$initrd" \
		-append "console=ttyS0 panic=-1 oops=panic quiet random.trust_cpu=on" -device virtio-rng-pci \
		-virtfs "local,path=${VM_ROOT:-/},mount_tag=root,security_model=none,readonly=on,multidevs=remap" \
		-virtfs "local,path=$out,mount_tag=out,security_model=none" \
		-serial "file:$out/console" </dev/null >"$out/qemu" 2>&1 &
	emulator=$!
	for ((waited = 0; waited < ${VM_BOOT_S:-180}; waited++)); do
		[ ! -e "$out/begun" ] && kill -0 "$emulator" 2>/dev/null || break
		sleep 1
	done
	[ -e "$out/begun" ] || kill "$emulator" 2>/dev/null || true
	wait "$emulator" || true
	emulator=
	[ -e "$out/begun" ]
}

last_words() {
	local said
	# The first is what went wrong; a panic follows from it.
	said=$(tr -d '\r' <"$1" | grep -a -m 1 -E '^vm: |BUG: |Oops|Kernel panic' || tail -n 1 "$1")
	echo "${said:-it said nothing} (see $1, $(dirname "$1")/qemu)"
}

case ${1:-} in
fetch)
	[ $# = 2 ] || die "usage: scripts/vm.sh fetch NAME"
	fetch "$2"
	;;
*/*)
	[ $# = 3 ] || die "usage: scripts/vm.sh IMAGE OUTDIR COMMAND"
	[ -f "$1" ] || die "no kernel $1"
	run "$@"
	;;
*)
	[ $# = 3 ] || die "usage: scripts/vm.sh NAME OUTDIR COMMAND"
	fetch "$1"
	run "$(image_in "$cache/$1")" "$2" "$3"
	;;
esac
