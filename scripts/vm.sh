#!/usr/bin/env bash
# Runs a command inside another kernel, in QEMU without KVM, on this machine's files (read-only, with an overlay).
# usage: scripts/vm.sh NAME OUTDIR COMMAND    NAME as in scripts/kernels.txt
#        scripts/vm.sh fetch NAME             only brings the kernel
# The command sees OUTDIR as /mnt, writable; what it writes elsewhere is gone after it. OUTDIR/log is what it printed.
# VM_ROOT is another directory than / to have as its files.
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
	modules=$(modules_of "$root")
	depmod -b "${modules%/lib/modules/*}" "${modules##*/}" || die "depmod failed for $name"
	touch "$root/.complete"
}

modules_of() {
	find "$1" -maxdepth 4 -type d -path '*lib/modules/*' -name '[0-9]*' | head -n 1
}

# Modules are loaded in the order in which they stand in m/order: what each needs before itself.
add_module() {
	local name=$1 modules=$2 into=$3 line file base
	line=$(grep -E "/$name\.ko(\.xz|\.zst|\.gz)?:" "$modules/modules.dep") || {
		grep -q "/$name\.ko" "$modules/modules.builtin" && return
		die "the kernel has no module $name"
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
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for m in $($B cat /m/order); do $B insmod /m/$m || $B echo "vm: insmod $m failed"; done
$B mkdir -p /low /up
$B mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 root /low || $B echo "vm: no root"
$B mount -t tmpfs up /up; $B mkdir /up/u /up/w
$B mount -t overlay -o lowerdir=/low,upperdir=/up/u,workdir=/up/w ov /root || $B echo "vm: no overlay"
for d in proc sys dev; do $B mount --move /$d /root/$d; done
$B mkdir -p /root/mnt /root/dev/pts /root/dev/shm
$B mount -t devpts p /root/dev/pts; $B mount -t tmpfs s /root/dev/shm
$B mount -t tracefs t /root/sys/kernel/tracing; $B mount -t bpf b /root/sys/fs/bpf
$B mount -t cgroup2 c /root/sys/fs/cgroup
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /root/mnt
exec $B chroot /root /bin/sh -c 'export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root; busybox ip link set lo up; dmesg -n 5
sh /mnt/cmd.sh >/mnt/log 2>&1; echo $? >/mnt/rc; sync; echo o >/proc/sysrq-trigger; sleep 9'
INIT
}

run() {
	local name=$1 out=$2 command=$3 root modules status
	root=$cache/$name
	modules=$(modules_of "$root")
	image=$(mktemp -d)
	trap 'rm -rf "$image" "$image.img"' EXIT
	mkdir -p "$image"/{bin,dev,proc,sys,root,m} "$out"
	out=$(cd "$out" && pwd)
	rm -f "$out/rc" "$out/log"
	cp "$(command -v busybox)" "$image/bin/busybox"
	for module in virtio_pci 9pnet_virtio 9p overlay; do add_module "$module" "$modules" "$image/m"; done
	printf '%s\n' "$command" >"$out/cmd.sh"
	write_init >"$image/init"
	chmod +x "$image/init"
	(cd "$image" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$image.img"
	# cx16 is left out: under emulation kernels from 6.x on crash or hang with it. KVM may hang where it is nested.
	# One thread for both CPUs: with two, a CPU of 5.10 stays for ever on code that the other patches (static calls).
	timeout --foreground "${VM_TIMEOUT:-600}" qemu-system-x86_64 -accel tcg,thread=single -cpu max,-cx16 -smp 2 -m "${VM_MEMORY:-2048}" \
		-display none -no-reboot -kernel "$root"/boot/vmlinuz-* -initrd "$image.img" \
		-append "console=ttyS0 panic=-1 quiet" \
		-virtfs "local,path=${VM_ROOT:-/},mount_tag=root,security_model=none,readonly=on,multidevs=remap" \
		-virtfs "local,path=$out,mount_tag=out,security_model=none" \
		-serial "file:$out/console" </dev/null || die "QEMU ended with $?; see $out/console"
	[ -e "$out/rc" ] || die "the guest died before the command was done; see $out/console"
	read -r status <"$out/rc"
	return "$status"
}

case ${1:-} in
fetch)
	[ $# = 2 ] || die "usage: scripts/vm.sh fetch NAME"
	fetch "$2"
	;;
*)
	[ $# = 3 ] || die "usage: scripts/vm.sh NAME OUTDIR COMMAND"
	fetch "$1"
	run "$@"
	;;
esac
