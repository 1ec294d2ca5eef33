/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What scripts/make_tables.py reads constants and structs from: the UAPI headers, and below them the part of the
 * kernel's ABI that they leave out.
 */
#include <linux/types.h>
#include <asm/unistd_64.h>
#include <asm/errno.h>
#include <asm/signal.h>
#include <linux/signal.h>
#include <asm/siginfo.h>
#include <asm/stat.h>
#include <asm/statfs.h>
#include <asm/termbits.h>
#include <asm/termios.h>
#include <asm/ioctls.h>
#include <asm/mman.h>
#include <asm/prctl.h>
#include <asm/ptrace-abi.h>
#include <asm/ptrace.h>
#include <asm/ldt.h>
#include <asm/poll.h>
#include <asm/socket.h>
#include <asm/resource.h>
#include <asm/ipcbuf.h>
#include <asm/sembuf.h>
#include <asm/shmbuf.h>
#include <asm/msgbuf.h>
#include <asm/fcntl.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <linux/magic.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/fadvise.h>
#include <linux/xattr.h>
#include <linux/mount.h>
#include <linux/close_range.h>
#include <linux/pidfd.h>
#include <linux/wait.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <linux/time.h>
#include <linux/time_types.h>
#include <linux/timex.h>
#include <linux/times.h>
#include <linux/utime.h>
#include <linux/utsname.h>
#include <linux/sysinfo.h>
#include <linux/resource.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <linux/audit.h>
#include <linux/elf.h>
#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/membarrier.h>
#include <linux/rseq.h>
#include <linux/random.h>
#include <linux/memfd.h>
#include <linux/userfaultfd.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <linux/futex.h>
#include <linux/eventpoll.h>
#include <linux/eventfd.h>
#include <linux/timerfd.h>
#include <linux/signalfd.h>
#include <linux/inotify.h>
#include <linux/fanotify.h>
#include <linux/ipc.h>
#include <linux/shm.h>
#include <linux/sem.h>
#include <linux/msg.h>
#include <linux/mqueue.h>
#include <linux/personality.h>
#include <linux/module.h>
#include <linux/kexec.h>
#include <linux/landlock.h>
#include <linux/lsm.h>
#include <linux/io_uring.h>
#include <linux/aio_abi.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <linux/ioprio.h>
#include <linux/quota.h>
#include <linux/dqblk_xfs.h>
#include <linux/reboot.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <linux/socket.h>
#include <linux/net.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <linux/uio.h>
#include <linux/fiemap.h>
#include <linux/loop.h>
#include <linux/fsverity.h>
#include <linux/fscrypt.h>
#include <linux/blkzoned.h>
#include <linux/vt.h>
#include <linux/kd.h>
#include <linux/dma-buf.h>
#include <linux/tls.h>
#include <linux/if_tun.h>
#include <linux/rtc.h>

/* Sockets: the kernel keeps these in its internal linux/socket.h and linux/net.h; every libc repeats them. */
#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_AX25 3
#define AF_IPX 4
#define AF_APPLETALK 5
#define AF_NETROM 6
#define AF_BRIDGE 7
#define AF_ATMPVC 8
#define AF_X25 9
#define AF_INET6 10
#define AF_ROSE 11
#define AF_DECnet 12
#define AF_NETBEUI 13
#define AF_SECURITY 14
#define AF_KEY 15
#define AF_NETLINK 16
#define AF_PACKET 17
#define AF_ASH 18
#define AF_ECONET 19
#define AF_ATMSVC 20
#define AF_RDS 21
#define AF_SNA 22
#define AF_IRDA 23
#define AF_PPPOX 24
#define AF_WANPIPE 25
#define AF_LLC 26
#define AF_IB 27
#define AF_MPLS 28
#define AF_CAN 29
#define AF_TIPC 30
#define AF_BLUETOOTH 31
#define AF_IUCV 32
#define AF_RXRPC 33
#define AF_ISDN 34
#define AF_PHONET 35
#define AF_IEEE802154 36
#define AF_CAIF 37
#define AF_ALG 38
#define AF_NFC 39
#define AF_VSOCK 40
#define AF_KCM 41
#define AF_QIPCRTR 42
#define AF_SMC 43
#define AF_XDP 44
#define AF_MCTP 45

#define SOCK_TYPE_MASK 0xf
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOCK_RDM 4
#define SOCK_SEQPACKET 5
#define SOCK_DCCP 6
#define SOCK_PACKET 10
#define SOCK_CLOEXEC O_CLOEXEC
#define SOCK_NONBLOCK O_NONBLOCK

#define SHUT_RD 0
#define SHUT_WR 1
#define SHUT_RDWR 2

#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_DONTROUTE 0x4
#define MSG_CTRUNC 0x8
#define MSG_PROBE 0x10
#define MSG_TRUNC 0x20
#define MSG_DONTWAIT 0x40
#define MSG_EOR 0x80
#define MSG_WAITALL 0x100
#define MSG_FIN 0x200
#define MSG_SYN 0x400
#define MSG_CONFIRM 0x800
#define MSG_RST 0x1000
#define MSG_ERRQUEUE 0x2000
#define MSG_NOSIGNAL 0x4000
#define MSG_MORE 0x8000
#define MSG_WAITFORONE 0x10000
#define MSG_BATCH 0x40000
#define MSG_SOCK_DEVMEM 0x2000000
#define MSG_ZEROCOPY 0x4000000
#define MSG_FASTOPEN 0x20000000
#define MSG_CMSG_CLOEXEC 0x40000000

/* SOL_SOCKET comes from UAPI; the rest is the protocol's number, or one that the kernel gave out. */
#define SOL_IP 0
#define SOL_ICMP 1
#define SOL_TCP 6
#define SOL_UDP 17
#define SOL_IPV6 41
#define SOL_ICMPV6 58
#define SOL_SCTP 132
#define SOL_UDPLITE 136
#define SOL_RAW 255
#define SOL_IPX 256
#define SOL_AX25 257
#define SOL_ATALK 258
#define SOL_NETROM 259
#define SOL_ROSE 260
#define SOL_DECNET 261
#define SOL_X25 262
#define SOL_PACKET 263
#define SOL_ATM 264
#define SOL_AAL 265
#define SOL_IRDA 266
#define SOL_NETBEUI 267
#define SOL_LLC 268
#define SOL_DCCP 269
#define SOL_NETLINK 270
#define SOL_TIPC 271
#define SOL_RXRPC 272
#define SOL_PPPOL2TP 273
#define SOL_BLUETOOTH 274
#define SOL_PNPIPE 275
#define SOL_RDS 276
#define SOL_IUCV 277
#define SOL_CAIF 278
#define SOL_ALG 279
#define SOL_NFC 280
#define SOL_KCM 281
#define SOL_TLS 282
#define SOL_XDP 283
#define SOL_MPTCP 284
#define SOL_MCTP 285
#define SOL_SMC 286
#define SOL_VSOCK 287

/* access(2): named by POSIX, read as S_IxOTH bits by the kernel. */
#define F_OK 0
#define X_OK 1
#define W_OK 2
#define R_OK 4

/* umount2(2), from the kernel's internal linux/fs.h. */
#define MNT_FORCE 1
#define MNT_DETACH 2
#define MNT_EXPIRE 4
#define UMOUNT_NOFOLLOW 8

/* splice(2), from the kernel's internal linux/splice.h. */
#define SPLICE_F_MOVE 1
#define SPLICE_F_NONBLOCK 2
#define SPLICE_F_MORE 4
#define SPLICE_F_GIFT 8

/* swapon(2), from the kernel's internal linux/swap.h. */
#define SWAP_FLAG_PRIO_MASK 0x7fff
#define SWAP_FLAG_PREFER 0x8000
#define SWAP_FLAG_DISCARD 0x10000
#define SWAP_FLAG_DISCARD_ONCE 0x20000
#define SWAP_FLAG_DISCARD_PAGES 0x40000

/* syslog(2), from the kernel's internal linux/syslog.h. */
#define SYSLOG_ACTION_CLOSE 0
#define SYSLOG_ACTION_OPEN 1
#define SYSLOG_ACTION_READ 2
#define SYSLOG_ACTION_READ_ALL 3
#define SYSLOG_ACTION_READ_CLEAR 4
#define SYSLOG_ACTION_CLEAR 5
#define SYSLOG_ACTION_CONSOLE_OFF 6
#define SYSLOG_ACTION_CONSOLE_ON 7
#define SYSLOG_ACTION_CONSOLE_LEVEL 8
#define SYSLOG_ACTION_SIZE_UNREAD 9
#define SYSLOG_ACTION_SIZE_BUFFER 10

/* POSIX's name for UAPI's SCHED_NORMAL. */
#define SCHED_OTHER 0

/* statfs(2)'s f_flags, from the kernel's internal linux/statfs.h. */
#define ST_RDONLY 0x1
#define ST_NOSUID 0x2
#define ST_NODEV 0x4
#define ST_NOEXEC 0x8
#define ST_SYNCHRONOUS 0x10
#define ST_VALID 0x20
#define ST_MANDLOCK 0x40
#define ST_NOATIME 0x400
#define ST_NODIRATIME 0x800
#define ST_RELATIME 0x1000
#define ST_NOSYMFOLLOW 0x2000

/* Restart codes of a call that a signal interrupted, from the kernel's internal linux/errno.h. */
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ENOIOCTLCMD 515
#define ERESTART_RESTARTBLOCK 516

/* Realtime signals beyond the first have no names in UAPI. */
enum {
	SIGRT_0 = SIGRTMIN,
	SIGRT_1 = SIGRTMIN + 1,
	SIGRT_2 = SIGRTMIN + 2,
	SIGRT_3 = SIGRTMIN + 3,
	SIGRT_4 = SIGRTMIN + 4,
	SIGRT_5 = SIGRTMIN + 5,
	SIGRT_6 = SIGRTMIN + 6,
	SIGRT_7 = SIGRTMIN + 7,
	SIGRT_8 = SIGRTMIN + 8,
	SIGRT_9 = SIGRTMIN + 9,
	SIGRT_10 = SIGRTMIN + 10,
	SIGRT_11 = SIGRTMIN + 11,
	SIGRT_12 = SIGRTMIN + 12,
	SIGRT_13 = SIGRTMIN + 13,
	SIGRT_14 = SIGRTMIN + 14,
	SIGRT_15 = SIGRTMIN + 15,
	SIGRT_16 = SIGRTMIN + 16,
	SIGRT_17 = SIGRTMIN + 17,
	SIGRT_18 = SIGRTMIN + 18,
	SIGRT_19 = SIGRTMIN + 19,
	SIGRT_20 = SIGRTMIN + 20,
	SIGRT_21 = SIGRTMIN + 21,
	SIGRT_22 = SIGRTMIN + 22,
	SIGRT_23 = SIGRTMIN + 23,
	SIGRT_24 = SIGRTMIN + 24,
	SIGRT_25 = SIGRTMIN + 25,
	SIGRT_26 = SIGRTMIN + 26,
	SIGRT_27 = SIGRTMIN + 27,
	SIGRT_28 = SIGRTMIN + 28,
	SIGRT_29 = SIGRTMIN + 29,
	SIGRT_30 = SIGRTMIN + 30,
	SIGRT_31 = SIGRTMIN + 31,
	SIGRT_32 = SIGRTMIN + 32,
};

/* What newer headers lack, and older kernels have: up to 7.2. */
#ifndef PER_HPUX
#define PER_HPUX 0x0010
#endif

/* Structs whose definition UAPI leaves to libc. */
struct abi_rlimit64 { __u64 rlim_cur, rlim_max; };
struct abi_linger { int l_onoff, l_linger; };
struct abi_ucred { __kernel_pid_t pid; __kernel_uid32_t uid; __kernel_gid32_t gid; };
struct abi_msghdr {
	void *msg_name;
	int msg_namelen;
	struct iovec *msg_iov;
	__kernel_size_t msg_iovlen;
	void *msg_control;
	__kernel_size_t msg_controllen;
	unsigned int msg_flags;
};
struct abi_mmsghdr { struct abi_msghdr msg_hdr; unsigned int msg_len; };
struct abi_sigset_argpack { sigset_t *p; __kernel_size_t size; };
struct abi_ustat { int f_tfree; unsigned long f_tinode; char f_fname[6], f_fpack[6]; };
struct abi_in_addr { __u8 s_addr[4]; };
struct abi_utimbuf { __kernel_old_time_t actime, modtime; };
struct abi_file_handle { __u32 handle_bytes; __s32 handle_type; };
struct abi_getcpu_cache { unsigned long blob[16]; };
struct abi_sched_param { int sched_priority; };
