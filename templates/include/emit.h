/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_EMIT_H
#define TRACELEFT_EMIT_H

#include "filter.h"

#define PAGE_BYTES 4096
#define PATH_LIMIT 4095
#define SOCKADDR_MAX 128

/* Count a record before it is put out, and give its sequence number. */
static __always_inline struct counter *count_emitted(__u32 event, __u32 class, __u32 *seq, const struct call *call)
{
	struct counter *counter = lookup_own(&counters, event);
	struct cpu_state *state = call->state ? call->state : get_cpu_state();

	if (!counter || !state)
		return NULL;
	*seq = state->seq[class & 1]++;
	counter->emitted++;
	return counter;
}

static __always_inline void count_missed(__u32 event)
{
	struct counter *counter = lookup_own(&counters, event);

	if (counter)
		counter->missed++;
}

/*
 * Count a call that was entered and whose return was not seen, although a
 * function always returns: too many were under way for its return probe.
 */
static __always_inline void count_missed_return(const struct config *config, const struct task *task)
{
	if (!(config->flags & CONFIG_RETURNS) || !(task->flags & TASK_IN_CALL))
		return;
	if (task->event != NR_EXIT && task->event != NR_EXIT_GROUP)
		count_missed(task->event);
}

/* Whom the dispatcher found, else the running task. */
static __always_inline void fill_caller(struct event_header *header, const struct call *call)
{
	__u64 pid_tgid, uid_gid;
#if HAS_TASK_LOADS
	const struct caller *found = NULL;

	if (call->state && call->state->has_caller)
		found = &call->state->caller;
	if (found) {
		pid_tgid = found->pid_tgid;
		uid_gid = found->uid_gid;
		header->cgroup_id = found->cgroup_id;
		((__u64 *)header->comm)[0] = found->comm[0];
		((__u64 *)header->comm)[1] = found->comm[1];
	} else
#endif
	{
		pid_tgid = find_pid_tgid(NULL);
		uid_gid = find_uid_gid(NULL);
		header->cgroup_id = find_cgroup_id(NULL);
		find_comm(NULL, (__u64 *)header->comm);
	}
	header->tgid = pid_tgid >> 32;
	header->tid = pid_tgid;
	header->uid = uid_gid;
	header->gid = uid_gid >> 32;
}

static __always_inline void fill_header(struct event_header *header, __u32 event, __u32 length, __u32 seq,
					const struct call *call)
{
	header->length = length;
	header->event = event;
	header->flags = call->flags;
	header->timestamp = bpf_ktime_get_ns();
	header->seq = seq;
	header->cpu = bpf_get_smp_processor_id();
	header->ret = call->ret;
	header->duration = 0;
	if (call->flags & RECORD_DURATION)
		header->duration = call->duration_ns ? call->duration_ns : header->timestamp - call->entry_ns;
	fill_caller(header, call);
}

#if HAS_SCRATCH
/* Read fewer bytes than most, a power of two, by a helper of those that read: what it returns. Not 0 bytes below 4.15. */
static __always_inline long read_sized(void *to, __u64 size, const __u32 most, __u64 address, const __u32 helper)
{
	long got;

	asm volatile("r1 = %[to]\n\t"
		     "r2 = %[size]\n\t" BOUND_SIZE("r2") "r3 = %[address]\n\t"
		     "call %[helper]\n\t"
		     "%[got] = r0"
		     : [got] "=r"(got)
		     : [to] "r"(to), [size] "r"(size), [address] "r"(address), [below] "i"(most - 1),
		       [helper] "i"(helper)
		     : "r0", "r1", "r2", "r3", "r4", "r5", "memory");
	return got;
}

/* Room for a record of a constant size: in the ring buffer itself, else in scratch. */
static __always_inline void *reserve_record(__u32 bytes)
{
#if HAS_RINGBUF
	return bpf_ringbuf_reserve(&events, bytes, 0);
#else
	return get_scratch(0);
#endif
}

/* Put out what was reserved; not 0 when it is lost. */
static __always_inline long put_reserved(const struct call *call, void *record, __u32 bytes)
{
#if HAS_RINGBUF
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
#else
	return bpf_perf_event_output(call->ctx, &events, BPF_F_CURRENT_CPU, record, bytes);
#endif
}

/* Put out fewer bytes of scratch than it has; not 0 when they are lost. */
static __always_inline long put_bytes(const struct call *call, struct scratch *scratch, __u64 size)
{
	long error;

#if HAS_RINGBUF
	asm volatile("r1 = %[events]\n\tr2 = %[scratch]\n\t"
		     "r3 = %[size]\n\t" BOUND_SIZE("r3") "r4 = %[flags]\n\t"
		     "call %[helper]\n\t"
		     "%[error] = r0"
		     : [error] "=r"(error)
		     : [events] "r"(&events), [scratch] "r"(scratch), [size] "r"(size), [below] "i"(SCRATCH_BYTES - 1),
		       [flags] "i"(BPF_RB_NO_WAKEUP), [helper] "i"(RINGBUF_OUTPUT)
		     : "r0", "r1", "r2", "r3", "r4", "r5", "memory");
#else
	asm volatile("r1 = %[ctx]\n\tr2 = %[events]\n\t"
		     "r3 = %[flags] ll\n\tr4 = %[scratch]\n\t"
		     "r5 = %[size]\n\t" BOUND_SIZE("r5") "call %[helper]\n\t"
		     "%[error] = r0"
		     : [error] "=r"(error)
		     : [ctx] "r"(call->ctx), [events] "r"(&events), [scratch] "r"(scratch), [size] "r"(size),
		       [below] "i"(SCRATCH_BYTES - 1), [flags] "i"(BPF_F_CURRENT_CPU), [helper] "i"(PERF_EVENT_OUTPUT)
		     : "r0", "r1", "r2", "r3", "r4", "r5", "memory");
#endif
	return error;
}

/* Where the tail of a record of these fixed bytes begins: behind the ids of its stacks, if it has some. */
static __always_inline __u64 begin_tail(const struct config *config, __u64 fixed_bytes)
{
	/* Without a branch, which would be another path for all that follows. */
	return fixed_bytes + (config->flags & CONFIG_STACKS) / (CONFIG_STACKS / sizeof(struct stack_ids));
}

static __always_inline void take_stacks(const struct config *config, struct scratch *scratch, __u32 fixed_bytes,
					const struct call *call)
{
	struct stack_ids *ids = (void *)scratch + fixed_bytes;

	if (likely(!(config->flags & CONFIG_STACKS)))
		return;
	ids->kernel = bpf_get_stackid(call->ctx, &stacks, 0);
	ids->user = bpf_get_stackid(call->ctx, &stacks, BPF_F_USER_STACK);
	scratch->header.flags |= RECORD_STACKS;
}

/* Put out the record that was built in scratch. */
static __always_inline int put_scratch(const struct config *config, struct scratch *scratch, __u32 event, __u32 class,
				       __u32 fixed_bytes, __u32 length, const struct call *call)
{
	struct counter *counter;
	__u32 seq = 0;

	counter = count_emitted(event, class, &seq, call);
	if (!counter)
		return 0;
	fill_header(&scratch->header, event, length, seq, call);
	take_stacks(config, scratch, fixed_bytes, call);
	if (put_bytes(call, scratch, length))
		counter->lost++;
	return 0;
}

/* Put out a record that has arguments only, with its stacks. */
static __always_inline int emit_with_stacks(const struct config *config, __u32 event, __u32 fixed_bytes,
					    const struct call *call)
{
	struct scratch *scratch = get_scratch(0);
	__u64 *args;
	int i;

	if (!scratch)
		return 0;
	args = (__u64 *)scratch->bytes;
	for (i = 0; i < 6; i++)
		args[i] = call->args[i];
	return put_scratch(config, scratch, event, 0, fixed_bytes, fixed_bytes + sizeof(struct stack_ids), call);
}

/*
 * Go on with the record that was begun at entry; its tail's end, or 0 when
 * there is none for this call.
 */
static __always_inline __u64 resume_record(struct scratch *scratch, const struct event_header *begun, __u32 event,
					   __u32 limit)
{
	__u64 length;

	if (!begun || begun->event != event)
		return 0;
	length = begun->length;
	if (length > limit)
		return 0;
	if (read_sized(scratch, length, SCRATCH_BYTES, (__u64)begun, READ_KERNEL))
		return 0;
	return length;
}
#endif

#endif
