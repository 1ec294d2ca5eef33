/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_TYPES_H
#define TRACELEFT_TYPES_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
#define NULL ((void *)0)
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#define UNROLL _Pragma("clang loop unroll(full)")
#define offsetof(type, member) __builtin_offsetof(type, member)

/* What the level that this is compiled for may use; docs/project/levels.md says since when each is there. */
#ifndef TRACELEFT_LEVEL
#define TRACELEFT_LEVEL 508
#endif
#define HAS_SCRATCH (TRACELEFT_LEVEL >= 411)
#define HAS_TRACEPOINT (TRACELEFT_LEVEL >= 411)
#define HAS_RINGBUF (TRACELEFT_LEVEL >= 508)
/* For programs that are loaded where the kernel has it, 5.15 and later with BTF. */
#define HAS_TASK_LOADS (TRACELEFT_LEVEL >= 508)
#define HAS_LOOPS (TRACELEFT_LEVEL >= 508)
#define HAS_RAW_TRACEPOINT (TRACELEFT_LEVEL >= 418)
/* Helpers take a size that may be 0 (4.15). */
#define HAS_ZERO_SIZE (TRACELEFT_LEVEL >= 418)
/* A map's value may be what another map is updated with (4.18). */
#define HAS_VALUE_SOURCES (TRACELEFT_LEVEL >= 418)
/* A pointer that was found to be null is known to be null from there on (4.14). */
#define HAS_KNOWN_NULL (TRACELEFT_LEVEL >= 418)
/* Verifiers compare only what is read later (4.15). */
#define HAS_LIVENESS (TRACELEFT_LEVEL >= 418)
/* Syscalls are plain functions (below 4.17) on some kernels of the level. */
#define HAS_PLAIN_SYSCALLS (TRACELEFT_LEVEL < 418)
#define HAS_CGROUP_ID (TRACELEFT_LEVEL >= 418)

/*
 * Lines of assembly that bound a register to a number below a power of two;
 * where a helper takes no size of 0, to a number from 1 to that power of two.
 *
 * Clang may spill a number between the comparison that bounds it and the call
 * that uses it. Verifiers below 5.10 forget the bounds of a spilled number
 * (5689d49b71ad), so the bound and the use stand in one piece of assembly.
 */
#if HAS_ZERO_SIZE
#define BOUND_SIZE(reg) reg " &= %[below]\n\t"
#else
#define BOUND_SIZE(reg) reg " += -1\n\t" reg " &= %[below]\n\t" reg " += 1\n\t"
#endif

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_CGROUP_ARRAY = 8,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_F_USER_STACK = 256,
	EFAULT = 14,
};

/* Numbers as in enum bpf_func_id of include/uapi/linux/bpf.h. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static __u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_tail_call)(void *ctx, void *prog_array, __u32 index) = (void *)12;
static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static __u64 (*const bpf_get_current_uid_gid)(void) = (void *)15;
static long (*const bpf_get_current_comm)(void *buffer, __u32 size) = (void *)16;
#if HAS_SCRATCH
static long (*const bpf_get_stackid)(void *ctx, void *map, __u64 flags) = (void *)27;
static __u64 (*const bpf_get_current_task)(void) = (void *)35;
static long (*const bpf_current_task_under_cgroup)(void *map, __u32 index) = (void *)37;
#endif
#if HAS_CGROUP_ID
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;
#endif

/* Below 5.5 one helper reads both, user space and the kernel. */
#if TRACELEFT_LEVEL >= 508
#define READ_USER 112
#define READ_KERNEL 113
#define READ_USER_STR 114
#define READ_KERNEL_STR 115
#else
#define READ_USER 4
#define READ_KERNEL 4
#define READ_USER_STR 45
#define READ_KERNEL_STR 45
#endif

static long (*const bpf_probe_read_user)(void *to, __u32 size, const void *from) = (void *)READ_USER;
static long (*const bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)READ_KERNEL;

#if HAS_RAW_TRACEPOINT
/* Called by programs of HAS_TASK_LOADS only. */
static void *(*const bpf_get_current_task_btf)(void) = (void *)158;
static const struct pt_regs *(*const bpf_task_pt_regs)(void *task) = (void *)175;
#endif

#if HAS_RINGBUF
#define RINGBUF_OUTPUT 130
static void *(*const bpf_ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)132;
#else
#define BPF_F_CURRENT_CPU 0xffffffffULL
#define PERF_EVENT_OUTPUT 25
static long (*const bpf_perf_event_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size) = (void *)PERF_EVENT_OUTPUT;
#endif

/* struct pt_regs of arch/x86/include/asm/ptrace.h, as far as a syscall is concerned. */
struct pt_regs {
	__u64 r15, r14, r13, r12, bp, bx, r11;
	__u64 r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	__u64 ip, cs, flags, sp, ss;
};

struct raw_tracepoint_args {
	__u64 args[5];
};

#endif
