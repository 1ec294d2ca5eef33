/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_FILTER_H
#define TRACELEFT_FILTER_H

#include "task.h"

#define NO_EVENT (-1)

/* Numbers of x86_64 that the kernel changes under a call; see pairs(). */
#define NR_RT_SIGRETURN 15
#define NR_CLONE 56
#define NR_FORK 57
#define NR_VFORK 58
#define NR_EXECVE 59
#define NR_EXIT 60
#define NR_EXIT_GROUP 231
#define NR_EXECVEAT 322
#define NR_CLONE3 435
#define NR_GETPID 39
#define NR_IA32_EXECVE 11
#define NR_IA32_GETPID 20
#define NR_IA32_EXECVEAT 358

/* Bit of thread_info.status that is set while a 32-bit call runs. */
#define TS_COMPAT 2

/* One call of one thread, as a hook sees it. */
struct call {
	void *ctx;
	__u64 args[6];
	__s64 ret;
	__u64 entry_ns;
	/* 0: it ends when its record is made. */
	__u64 duration_ns;
	struct cpu_state *state;
	__u32 flags;
};

/* The arguments in the registers from r10 on. */
static __always_inline void take_args(__u64 *args, const __u64 *regs)
{
	args[0] = regs[REG_DI];
	args[1] = regs[REG_SI];
	args[2] = regs[REG_DX];
	args[3] = regs[REG_R10];
	args[4] = regs[REG_R8];
	args[5] = regs[REG_R9];
}

static __always_inline void read_args(__u64 *args, const void *regs)
{
	__u64 block[8] = {};

	bpf_probe_read_kernel(block, sizeof(block), regs + offsetof(struct pt_regs, r10));
	take_args(args, block);
}

#if HAS_RAW_TRACEPOINT
/* A tail call to a constant place of the map's: the kernel makes it a jump (5.5 and later). */
static __always_inline void tail_call_near(void *ctx, const void *map, const __u32 place)
{
	asm volatile("r1 = %[ctx]\n\tr2 = %[map]\n\tr3 = %[place]\n\tcall 12" ::[ctx] "r"(ctx), [map] "r"(map),
		     [place] "i"(place)
		     : "r0", "r1", "r2", "r3", "r4", "r5");
}

static __always_inline void kept_args(struct call *call)
{
	call->state = get_cpu_state();
	if (call->state)
		take_args(call->args, call->state->regs);
}
#endif

/* The same of a function that is called with them, as syscalls are below 4.17: the fourth lies elsewhere. */
static __always_inline void read_plain_args(__u64 *args, const struct pt_regs *regs)
{
	args[0] = regs->di;
	args[1] = regs->si;
	args[2] = regs->dx;
	args[3] = regs->cx;
	args[4] = regs->r8;
	args[5] = regs->r9;
}

static __always_inline int is_compat(const struct config *config, const void *current)
{
#if HAS_SCRATCH
	__u32 status = 0;

	if (current)
		return load32(current, TASK_STATUS) & TS_COMPAT;
	if (!(config->flags & CONFIG_COMPAT))
		return 0;
	bpf_probe_read_kernel(&status, sizeof(status), (void *)(bpf_get_current_task() + config->compat_offset));
	return status & TS_COMPAT;
#else
	return 0;
#endif
}

static __always_inline int passes_identity(const struct config *config)
{
	__u64 comm[2] = {};

	if ((config->flags & CONFIG_UID) && (__u32)bpf_get_current_uid_gid() != config->uid)
		return 0;
	if (config->flags & CONFIG_COMM) {
		bpf_get_current_comm(comm, sizeof(comm));
		if (comm[0] != config->comm[0] || comm[1] != config->comm[1])
			return 0;
	}
#if HAS_SCRATCH
	if ((config->flags & CONFIG_CGROUP) && bpf_current_task_under_cgroup(&cgroups, 0) != 1)
		return 0;
#endif
	return 1;
}

/*
 * Whether the current thread is traced; finds its entry in tasks where the
 * configuration keeps one. A thread of a process that is not followed leaves
 * the map with its first call: at fork its process is not known yet.
 */
static __always_inline int is_traced(const struct config *config, __u64 pid_tgid, struct task **found)
{
	__u32 tgid = pid_tgid >> 32;
	__u32 tid = pid_tgid;
	struct task *task;

	*found = NULL;
	if (!(config->flags & CONFIG_ENABLED) || tgid == config->self_tgid)
		return 0;
	if (config->flags & (CONFIG_TASKS_ONLY | CONFIG_TIMES | CONFIG_UNFINISHED)) {
		task = bpf_map_lookup_elem(&tasks, &tid);
		if (!task && (config->flags & CONFIG_TASKS_ONLY))
			return 0;
		if (task && task->tgid && task->tgid != tgid) {
			bpf_map_delete_elem(&tasks, &tid);
			return 0;
		}
		*found = task;
	}
	if (config->flags & (CONFIG_UID | CONFIG_COMM | CONFIG_CGROUP))
		return passes_identity(config);
	return 1;
}

/* Whether a call that shows this number at its exit may have been entered by another. */
static __always_inline int may_have_moved(__u32 nr)
{
	return nr == NR_EXECVE || nr == NR_IA32_EXECVE || nr == NR_IA32_EXECVEAT || nr == (__u32)-1;
}

/*
 * The same where one process alone is traced: its number tells, and the entry
 * in tasks is looked up only for calls that were kept there when they began.
 */
static __always_inline int is_of_process(const struct config *config, __u64 pid_tgid)
{
	if (!(config->flags & CONFIG_ENABLED) || pid_tgid >> 32 != config->only_tgid || config->is_waiting)
		return 0;
	if (config->flags & (CONFIG_UID | CONFIG_COMM | CONFIG_CGROUP))
		return passes_identity(config);
	return 1;
}

/*
 * A thread's entry that was compared with null before, to be compared again.
 * Verifiers below 4.14 forget that it is null, so there it is looked up again.
 */
static __always_inline struct task *find_again(struct task *task)
{
	__u32 tid;

	if (HAS_KNOWN_NULL)
		return task;
	tid = bpf_get_current_pid_tgid();
	return bpf_map_lookup_elem(&tasks, &tid);
}

/* Whether a thread that waits for its first exec goes on waiting. */
static __always_inline int is_waiting(struct task *task, __u32 event)
{
	if (likely(!task || !(task->flags & TASK_WAIT_EXEC)))
		return 0;
	if (event != NR_EXECVE)
		return 1;
	task->flags &= ~TASK_WAIT_EXEC;
	return 0;
}

/* Keep a call's entry in the thread's entry of tasks; NULL when that map is full. */
static __always_inline struct task *enter_call(struct task *task, __u32 tid, __u32 event, const __u64 *args)
{
	struct task fresh = {};
	int i;

	if (unlikely(!task)) {
		bpf_map_update_elem(&tasks, &tid, &fresh, BPF_NOEXIST);
		task = bpf_map_lookup_elem(&tasks, &tid);
		if (!task)
			return NULL;
	}
	task->event = event;
	for (i = 0; i < 6; i++)
		task->args[i] = args[i];
	task->entry_ns = bpf_ktime_get_ns();
	task->flags |= TASK_IN_CALL;
	return task;
}

/* Whether an exit that shows this number belongs to the call that was entered. */
static __always_inline int pairs(__u32 event, __u32 nr)
{
	if (event == nr)
		return 1;
	if (event == NR_EXECVE || event == NR_EXECVEAT)
		return nr == NR_EXECVE || nr == NR_IA32_EXECVE || nr == NR_IA32_EXECVEAT;
	return (event == NR_RT_SIGRETURN && nr == (__u32)-1) || event == NR_OTHER;
}

/* Take the call in progress out of the thread's entry: its event, or NO_EVENT. */
static __always_inline __s32 leave_call(struct task *task, __u32 nr)
{
	if (!task)
		return NO_EVENT;
	if (!(task->flags & TASK_IN_CALL)) {
		task->entry_ns = 0;
		return NO_EVENT;
	}
	task->flags &= ~TASK_IN_CALL;
	if (pairs(task->event, nr))
		return task->event;
	task->entry_ns = 0;
	return NO_EVENT;
}

/* The child of a fork returns from its parent's call with 0: that makes no event. */
static __always_inline int is_child_return(__u32 event, __s64 ret)
{
	return ret == 0 && (event == NR_CLONE || event == NR_FORK || event == NR_VFORK || event == NR_CLONE3);
}

static __always_inline int passes_result(const struct config *config, __s64 ret)
{
	int failed = ret < 0 && ret >= -MAX_ERROR;

	if ((config->flags & CONFIG_SUCCESS_ONLY) && failed)
		return 0;
	if ((config->flags & CONFIG_FAILED_ONLY) && !failed)
		return 0;
	return !(config->flags & CONFIG_ERRNO) || ret == -(__s64)config->error;
}

static __always_inline void count_call(__u32 event, __s64 ret, __u64 duration_ns)
{
	struct count *count = lookup_own(&counts, event);

	if (!count)
		return;
	if (!count->calls || duration_ns < count->min_ns)
		count->min_ns = duration_ns;
	if (duration_ns > count->max_ns)
		count->max_ns = duration_ns;
	count->calls++;
	count->total_ns += duration_ns;
	if (ret < 0 && ret >= -MAX_ERROR)
		count->errors++;
}

/* What was kept at the entry of a call that makes no event: the next may come without an entry. */
static __always_inline void drop_begun(__u32 event)
{
	__u32 tid = bpf_get_current_pid_tgid();

	if (event == NR_EXECVE || event == NR_EXECVEAT)
		drop_saved_exec(tid);
	else
		drop_saved(tid);
}

/*
 * The last questions before a record is made: the child's return, the
 * result's filters, counting. Whether the call goes on to its handler.
 */
static __always_inline int passes_exit(const struct config *config, __u32 event, __s64 ret, const struct task *task)
{
	__u64 duration_ns = 0;

	if (is_child_return(event, ret))
		return 0;
	if (!passes_result(config, ret)) {
		drop_begun(event);
		return 0;
	}
	if (config->flags & CONFIG_COUNT) {
		if (task && task->entry_ns)
			duration_ns = bpf_ktime_get_ns() - task->entry_ns;
		count_call(event, ret, duration_ns);
	}
	return !(config->flags & CONFIG_COUNT_ONLY);
}

#endif
