/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_TRACEPOINT_H
#define TRACELEFT_TRACEPOINT_H

#include "capture.h"

/* Whether an event of the current thread is wanted; counts it where the kernel counts. */
static __always_inline int tracepoint_is_traced(const struct config *config, __u32 event)
{
	struct task *task;

	if (!is_traced(config, bpf_get_current_pid_tgid(), &task))
		return 0;
	task = find_again(task);
	if (task && (task->flags & TASK_WAIT_EXEC))
		return 0;
	if (config->flags & CONFIG_COUNT)
		count_call(event, 0, 0);
	return !(config->flags & CONFIG_COUNT_ONLY);
}

/* A field that is not aligned to its size, or of an odd one. */
static __always_inline __u64 read_field(void *field, __u64 size)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, size, field);
	return value;
}

static __always_inline __u64 capture_field(struct scratch *scratch, __u64 offset, struct slot *slot, void *field,
					   __u64 size)
{
	__u64 length = size;

	set_slot(slot, 0, 0, size);
	if (length > CAPTURE_MAX - 1)
		length = CAPTURE_MAX - 1;
	if (offset > TAIL_LIMIT)
		return offset;
	if (bpf_probe_read_kernel(tail_at(scratch, offset), length, field)) {
		slot->status = -EFAULT;
		return offset;
	}
	set_slot(slot, offset, length, size);
	return offset + align8(length);
}

/* A __data_loc field: the low half says where in the record the data lies, the high half how long it is. */
static __always_inline __u64 capture_location(struct scratch *scratch, __u64 offset, struct slot *slot, void *ctx,
					      __u32 location, __u64 limit)
{
	__u64 size;
	long got;

	set_slot(slot, 0, 0, 0);
	if (limit > CAPTURE_MAX - 3)
		limit = CAPTURE_MAX - 3;
	size = limit + 2;
	if (offset > TAIL_LIMIT)
		return offset;
	got = read_sized(tail_at(scratch, offset), size, CAPTURE_MAX, (__u64)ctx + (location & 0xffff), READ_KERNEL_STR);
	if (got <= 0) {
		slot->status = got;
		return offset;
	}
	if (got > limit + 1)
		set_slot(slot, offset, limit, STATUS_LONGER);
	else
		set_slot(slot, offset, got - 1, got - 1);
	return offset + align8(slot->length);
}

static __always_inline __u64 capture_location_bytes(struct scratch *scratch, __u64 offset, struct slot *slot,
						    void *ctx, __u32 location, __u64 limit)
{
	__u64 size = minimum(minimum(location >> 16, limit), CAPTURE_MAX - 1);

	set_slot(slot, 0, 0, location >> 16);
	if (offset > TAIL_LIMIT)
		return offset;
	if (size && read_sized(tail_at(scratch, offset), size, CAPTURE_MAX, (__u64)ctx + (location & 0xffff), READ_KERNEL)) {
		slot->status = -EFAULT;
		return offset;
	}
	set_slot(slot, offset, size, location >> 16);
	return offset + align8(size);
}

#endif
