// SPDX-License-Identifier: GPL-2.0
/*
 * The floor: the least that a tracer of a process's syscalls can do. A raw
 * tracepoint on sys_exit keeps one process and puts a record into a ring
 * buffer: no map is looked up, nothing is chosen, nobody is woken.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "floor.h"

#define NR_READ 0
#define NR_WRITE 1
#define NR_OPENAT 257
#define BUFFER_BYTES 32

/* The kernel's struct pt_regs of x86_64. */
struct registers {
	__u64 r15, r14, r13, r12, bp, bx, r11;
	__u64 r10, r9, r8, ax, cx, dx, si, di;
	__u64 orig_ax, ip, cs, flags, sp, ss;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} records SEC(".maps");

const volatile __u32 target_tgid;
__u32 seq[FLOOR_CPUS];
__u64 lost[FLOOR_CPUS];

static __always_inline int is_target(__u64 pid_tgid)
{
	return pid_tgid >> 32 == target_tgid;
}

static __always_inline void count_lost(void)
{
	lost[bpf_get_smp_processor_id() % FLOOR_CPUS]++;
}

static __always_inline void put_args(__u64 *args, const struct registers *regs)
{
	__u64 block[8];

	bpf_probe_read_kernel(block, sizeof(block), &regs->r10);
	args[0] = block[7];
	args[1] = block[6];
	args[2] = block[5];
	args[3] = block[0];
	args[4] = block[2];
	args[5] = block[1];
}

static __always_inline void fill(struct floor_record *record, struct bpf_raw_tracepoint_args *ctx, __u64 pid_tgid)
{
	const struct registers *regs = (const void *)ctx->args[0];
	__u64 uid_gid = bpf_get_current_uid_gid();
	__u64 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &regs->orig_ax);
	record->length = sizeof(*record);
	record->event = number;
	record->flags = 0;
	record->timestamp = bpf_ktime_get_ns();
	record->cpu = bpf_get_smp_processor_id();
	record->seq = seq[record->cpu % FLOOR_CPUS]++;
	record->tgid = pid_tgid >> 32;
	record->tid = pid_tgid;
	record->uid = uid_gid;
	record->gid = uid_gid >> 32;
	record->cgroup_id = bpf_get_current_cgroup_id();
	record->ret = ctx->args[1];
	record->duration = 0;
	bpf_get_current_comm(record->comm, sizeof(record->comm));
	put_args(record->args, regs);
}

SEC("raw_tp/sys_exit")
int full(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct floor_record *record;

	if (!is_target(pid_tgid))
		return 0;
	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		count_lost();
		return 0;
	}
	fill(record, ctx, pid_tgid);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

/* The floor of calls that are shown with what they read and write: a path, the first bytes of a buffer. */
SEC("raw_tp/sys_exit")
int path(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct floor_path_record *record;

	if (!is_target(pid_tgid))
		return 0;
	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		count_lost();
		return 0;
	}
	fill(&record->fixed, ctx, pid_tgid);
	record->slot = 0;
	if (record->fixed.event == NR_OPENAT)
		record->slot = bpf_probe_read_user_str(record->path, FLOOR_PATH_BYTES, (void *)record->fixed.args[1]);
	else if (record->fixed.event == NR_READ || record->fixed.event == NR_WRITE)
		record->slot = bpf_probe_read_user(record->path, BUFFER_BYTES, (void *)record->fixed.args[1]);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("raw_tp/sys_exit")
int bare(struct bpf_raw_tracepoint_args *ctx)
{
	const struct registers *regs = (const void *)ctx->args[0];
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct floor_bare_record *record;

	if (!is_target(pid_tgid))
		return 0;
	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		count_lost();
		return 0;
	}
	record->timestamp = bpf_ktime_get_ns();
	record->pid_tgid = pid_tgid;
	record->ret = ctx->args[1];
	bpf_probe_read_kernel(&record->number, sizeof(record->number), &regs->orig_ax);
	put_args(record->args, regs);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

/* What the kernel's structs of these names have, wherever they have it: libbpf puts the offsets in. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct cred {
	struct {
		__u32 val;
	} uid, gid;
};

struct task_struct {
	__u32 pid, tgid;
	const struct cred *cred;
	char comm[16];
	struct css_set *cgroups;
};

struct pt_regs {
	__u64 r10, r9, r8, dx, si, di, orig_ax;
};
#pragma clang attribute pop

static void *(*const current_task)(void) = (void *)BPF_FUNC_get_current_task_btf;
static void *(*const registers_of)(void *task) = (void *)BPF_FUNC_task_pt_regs;

static __always_inline void load_args(__u64 *args, const struct pt_regs *regs)
{
	args[0] = regs->di;
	args[1] = regs->si;
	args[2] = regs->dx;
	args[3] = regs->r10;
	args[4] = regs->r8;
	args[5] = regs->r9;
}

/* The same record, with task_struct and registers read where they lie: from 5.15 on, with BTF, helpers are not asked. */
SEC("raw_tp/sys_exit")
int loads(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = current_task();
	struct floor_record *record;
	const struct pt_regs *regs;

	if (task->tgid != target_tgid)
		return 0;
	record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
	if (!record) {
		count_lost();
		return 0;
	}
	regs = registers_of(task);
	record->length = sizeof(*record);
	record->event = regs->orig_ax;
	record->flags = 0;
	record->timestamp = bpf_ktime_get_ns();
	record->cpu = bpf_get_smp_processor_id();
	record->seq = seq[record->cpu % FLOOR_CPUS]++;
	record->tgid = task->tgid;
	record->tid = task->pid;
	record->uid = task->cred->uid.val;
	record->gid = task->cred->gid.val;
	record->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	record->ret = ctx->args[1];
	record->duration = 0;
	((__u64 *)record->comm)[0] = ((const __u64 *)task->comm)[0];
	((__u64 *)record->comm)[1] = ((const __u64 *)task->comm)[1];
	load_args(record->args, regs);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
