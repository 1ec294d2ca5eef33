/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_TASK_H
#define TRACELEFT_TASK_H

#include "saved.h"

/*
 * The running task as `current`. Programs whose names end in _task read its
 * task_struct, which costs a fraction of what helpers do; in all others current
 * is NULL, a constant, and helpers are asked.
 *
 * Each of these numbers stands for an offset of the running kernel, which the
 * loader puts in its place (tracer/kernel/task_loads.py).
 */
#define TASK_STATUS 0x7f00
#define TASK_PID 0x7f08
#define TASK_TGID 0x7f10
#define TASK_COMM 0x7f18
#define TASK_COMM_END 0x7f20
#define TASK_CRED 0x7f28
#define TASK_CGROUPS 0x7f30
#define CRED_UID 0x7f38
#define CRED_GID 0x7f40
#define CSS_SET_DFL_CGRP 0x7f48
#define CGROUP_KN 0x7f50
#define KERNFS_NODE_ID 0x7f58

static __always_inline __u64 load32(const void *from, int member)
{
	__u64 value;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(value) : "r"(from), "i"(member));
	return value;
}

static __always_inline __u64 load64(const void *from, int member)
{
	__u64 value;

	asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(value) : "r"(from), "i"(member));
	return value;
}

/* Asked whether it is null before it is read: kernels that clang compiled say of some that they may be. */
static __always_inline const void *follow(const void *from, int member)
{
	return from ? (const void *)load64(from, member) : NULL;
}

/* The process, in the upper half: of most calls that is all that is asked. The rest comes with add_pid(). */
static __always_inline __u64 find_tgid(const void *current)
{
	return current ? load32(current, TASK_TGID) << 32 : bpf_get_current_pid_tgid();
}

static __always_inline __u64 add_pid(__u64 pid_tgid, const void *current)
{
	return current ? pid_tgid | load32(current, TASK_PID) : pid_tgid;
}

static __always_inline __u64 find_pid_tgid(const void *current)
{
	return add_pid(find_tgid(current), current);
}

static __always_inline __u64 find_uid_gid(const void *current)
{
	const void *cred;

	if (!current)
		return bpf_get_current_uid_gid();
	cred = follow(current, TASK_CRED);
	if (!cred)
		return 0;
	return load32(cred, CRED_GID) << 32 | load32(cred, CRED_UID);
}

static __always_inline __u64 find_cgroup_id(const void *current)
{
	const void *cgroup, *node;

	if (current) {
		cgroup = follow(follow(current, TASK_CGROUPS), CSS_SET_DFL_CGRP);
		node = follow(cgroup, CGROUP_KN);
		return node ? load64(node, KERNFS_NODE_ID) : 0;
	}
#if HAS_CGROUP_ID
	return bpf_get_current_cgroup_id();
#else
	return 0;
#endif
}

/* The bits of 8 bytes of text before its NUL; all if there is none in them. */
static __always_inline __u64 text_bits(__u64 bytes)
{
	__u64 ends = (bytes - 0x0101010101010101) & ~bytes & 0x8080808080808080;

	return (ends & -ends) - 1;
}

static __always_inline void find_comm(const void *current, __u64 *comm)
{
	__u64 first, bits;

	if (current) {
		first = load64(current, TASK_COMM);
		bits = text_bits(first);
		comm[0] = first & bits;
		/* Up to 5.16 an earlier name may lie behind a shorter one. */
		comm[1] = bits == ~0ULL ? load64(current, TASK_COMM_END) : 0;
		comm[1] &= text_bits(comm[1]);
	} else {
		bpf_get_current_comm(comm, 2 * sizeof(*comm));
	}
}

#if HAS_RAW_TRACEPOINT
/* Find a call's registers once, for the dispatcher and for the handler that it calls. */
static __always_inline struct cpu_state *keep_regs(const void *found, void *current)
{
	struct cpu_state *state = get_cpu_state();
	const struct pt_regs *regs;

	if (!state)
		return NULL;
	state->has_caller = 0;
	if (!current) {
		bpf_probe_read_kernel(state->regs, sizeof(state->regs), found + offsetof(struct pt_regs, r10));
		return state;
	}
	regs = bpf_task_pt_regs(current);
	state->regs[REG_R10] = regs->r10;
	state->regs[REG_R9] = regs->r9;
	state->regs[REG_R8] = regs->r8;
	state->regs[REG_DX] = regs->dx;
	state->regs[REG_SI] = regs->si;
	state->regs[REG_DI] = regs->di;
	state->regs[REG_ORIG_AX] = regs->orig_ax;
	return state;
}

/* Who makes the call, for the handler; where helpers have to be asked, it does that itself. */
static __always_inline void keep_caller(struct cpu_state *state, const void *current, __u64 pid_tgid)
{
	if (!current)
		return;
	state->caller.pid_tgid = pid_tgid;
	state->caller.uid_gid = find_uid_gid(current);
	state->caller.cgroup_id = find_cgroup_id(current);
	find_comm(current, state->caller.comm);
	state->has_caller = 1;
}
#endif

#endif
