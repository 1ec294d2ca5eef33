/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_SYSCALL_H
#define TRACELEFT_SYSCALL_H

#include "capture.h"
#include "stack.h"

#if HAS_RAW_TRACEPOINT
/* Fill a call from the registers at sys_exit, which still hold its arguments. */
static __always_inline void take_raw_exit(const struct raw_tracepoint_args *ctx, const struct config *config,
					  __u32 event, struct call *call)
{
	struct task *task;
	__u32 tid;

	kept_args(call);
	call->ret = ctx->args[1];
	if (!(config->flags & CONFIG_TIMES))
		return;
	tid = bpf_get_current_pid_tgid();
	task = bpf_map_lookup_elem(&tasks, &tid);
	if (!task || !task->entry_ns || task->event != event)
		return;
	call->entry_ns = task->entry_ns;
	call->flags = RECORD_DURATION;
	/* The same number goes into the record. */
	if (config->rollup && call->state)
		call->duration_ns = call->state->duration_ns;
}
#endif

/* What was kept at entry, for hooks that see no arguments at exit. Whether there was a call. */
static __always_inline int take_kept(const struct config *config, __u32 event, __s64 ret, struct call *call)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct task *task, *traced;
	__u32 tid = pid_tgid;
	int i;

	call->ret = ret;
	task = bpf_map_lookup_elem(&tasks, &tid);
	if (!task || !(task->flags & TASK_IN_CALL) || task->event != event)
		return 0;
	if (!is_traced(config, pid_tgid, &traced))
		return 0;
	task->flags &= ~TASK_IN_CALL;
	for (i = 0; i < 6; i++)
		call->args[i] = task->args[i];
	if (config->flags & CONFIG_TIMES) {
		call->entry_ns = task->entry_ns;
		call->flags = RECORD_DURATION;
	}
	return passes_exit(config, event, ret, task);
}

#if HAS_PLAIN_SYSCALLS
#define KERNEL_STACK_BYTES 16384
#define USER_CS 0x33
#define USER32_CS 0x23
#define INT80 0x80cd

/* The end of struct pt_regs that the kernel keeps of a call at the top of its thread's stack. */
struct entry_frame {
	__u64 orig_ax;
	__u64 ip;
	__u64 cs;
};

/* Whether a call was made by 32-bit code, or by the 32-bit gate. */
static __always_inline int enters_compat(const struct entry_frame *frame)
{
	__u16 instruction = 0;

	if (frame->cs == USER32_CS)
		return 1;
	bpf_probe_read_user(&instruction, sizeof(instruction), (void *)(frame->ip - sizeof(instruction)));
	return instruction == INT80;
}

/*
 * Where no program sees every call, the calls of 32-bit code that reach a
 * traced function are counted there.
 */
static __always_inline void count_compat_entry(const struct config *config, const struct entry_frame *frame)
{
#if !HAS_SCRATCH
	struct cpu_state *state = get_cpu_state();
	struct task *task;

	if (state && enters_compat(frame) && is_traced(config, bpf_get_current_pid_tgid(), &task))
		state->compat++;
#endif
}

/*
 * Whether user space made this very call. Below 4.17 syscalls are plain
 * functions, and some call others: access() calls faccessat()'s, accept()
 * accept4()'s, dup2() dup3()'s. 32-bit calls reach the same functions under
 * other numbers. The number that the thread entered with tells.
 */
static __always_inline int is_own_call(const struct pt_regs *ctx, const struct config *config, __u32 nr)
{
	__u64 top = (ctx->sp | (KERNEL_STACK_BYTES - 1)) + 1;
	struct entry_frame frame = {};

	bpf_probe_read_kernel(&frame, sizeof(frame),
			      (void *)(top - sizeof(struct pt_regs) + offsetof(struct pt_regs, orig_ax)));
	/* A stack of another size, or a kernel thread: nothing is known. */
	if (frame.cs != USER_CS && frame.cs != USER32_CS)
		return 1;
	if (frame.orig_ax == nr && frame.cs == USER_CS)
		return 1;
	count_compat_entry(config, &frame);
	return 0;
}
#endif

/* Keep a call's arguments at its entry, for hooks that do not see them at exit. Whether it is traced. */
static __always_inline int keep_entry(const struct config *config, __u32 event, struct call *call)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct task *task = NULL, *traced;
	__u32 tid = pid_tgid;

	if (!is_traced(config, pid_tgid, &traced))
		return 0;
	/*
	 * What is_traced() found may be null on one path and not on another. Clang
	 * spills the null, and verifiers below 5.10 forget that it is one: there the
	 * entry is looked up again.
	 */
	if (HAS_RINGBUF)
		task = traced;
	if (!task)
		task = bpf_map_lookup_elem(&tasks, &tid);
	if (is_waiting(task, event))
		return 0;
	if (task)
		count_missed_return(config, task);
	/* A function may also serve 32-bit calls: all of them are counted alike. */
	if (is_compat(config, NULL))
		return 0;
	if (!enter_call(find_again(task), tid, event, call->args)) {
		count_missed(event);
		return 0;
	}
	return 1;
}

#endif
