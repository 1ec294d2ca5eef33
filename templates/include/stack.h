/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_STACK_H
#define TRACELEFT_STACK_H

#include "emit.h"

#if !HAS_SCRATCH

/*
 * Records of kernels below 4.11, whose helpers write to the stack alone, at
 * offsets and with sizes that are known here. Each pointer has its own room in
 * the record; how long a text is, and where it begins, is left to the reader
 * (tracer/native/settle.c), by RECORD_UNSETTLED and the bits of a length.
 */

/* A pointer's slot, where its room lies in the record, and the room. */
#define ROOM(member) &stack->record.member, offsetof(typeof(*stack), member), stack->member, sizeof(stack->member)
/* The same of bytes whose size is known. */
#define ROOM_OF(member, size)                                                                                          \
	&stack->record.member, offsetof(typeof(*stack), member), stack->member,                                        \
		((size) < sizeof(stack->member) ? (size) : sizeof(stack->member))

/* A part of a room that holds several: a head that is kept, and data. */
struct chunk {
	__u16 stride;
	__u16 head;
	__u16 shift;
	__u16 length;
};

struct part {
	__u32 length;
	__s32 status;
};

struct iovec {
	__u64 base;
	__u64 len;
};

struct iovec_part {
	__u64 base;
	__u64 len;
	__u32 captured;
	__s32 status;
};

struct msghdr {
	__u64 name;
	__u32 namelen;
	__u32 pad0;
	__u64 iov;
	__u64 iovlen;
	__u64 control;
	__u64 controllen;
	__u32 flags;
	__u32 pad1;
};

static __always_inline void set_slot(struct slot *slot, __u64 offset, __u64 length, __s32 status)
{
	slot->offset = offset;
	slot->length = length;
	slot->status = status;
}

static __always_inline __s32 clamp_length(__u64 length)
{
	return length < STATUS_LONGER ? length : STATUS_LONGER - 1;
}

static __always_inline __u64 minimum(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

/* The integer of four bytes at an address of user space, 0 where it cannot be read. */
static __always_inline __u32 read_length(__u64 address)
{
	__u32 length = 0;

	bpf_probe_read_user(&length, sizeof(length), (void *)address);
	return length;
}

/*
 * Fill a room with what lies at an address, or end it with the last bytes
 * before the page's end where the next page is missing: how far into the room
 * the address lies then, or -EFAULT.
 */
static __always_inline __s64 fill_room(void *room, __u32 bytes, __u64 address)
{
	__u64 before = PAGE_BYTES - (address & (PAGE_BYTES - 1));

	if (!bpf_probe_read_user(room, bytes, (void *)address))
		return 0;
	if (before >= bytes || bpf_probe_read_user(room, bytes, (void *)(address + before - bytes)))
		return -EFAULT;
	return bytes - before;
}

/* A string of at most limit bytes; its status is the limit until the reader has measured it. */
static __always_inline void stack_text(struct slot *slot, __u32 offset, void *room, __u32 bytes, __u64 address,
				       __u64 limit)
{
	__s64 shift;

	set_slot(slot, 0, 0, 0);
	if (!address)
		return;
	shift = fill_room(room, bytes, address);
	if (shift < 0) {
		slot->status = shift;
		return;
	}
	set_slot(slot, offset + shift, LENGTH_IS_TEXT | (bytes - shift), minimum(limit, bytes - 1));
}

static __always_inline void stack_bytes(struct slot *slot, __u32 offset, void *room, __u32 bytes, __u64 address,
					__u64 length, __u64 limit)
{
	__s64 shift;

	set_slot(slot, 0, 0, 0);
	if (!address)
		return;
	slot->status = clamp_length(length);
	length = minimum(length, limit);
	if (!length)
		return;
	shift = fill_room(room, bytes, address);
	if (shift < 0) {
		slot->status = shift;
		return;
	}
	slot->offset = offset + shift;
	slot->length = minimum(length, bytes - shift);
}

/* An array of count elements of a constant size; the slot's status counts elements. */
static __always_inline void stack_array(struct slot *slot, __u32 offset, void *room, __u32 bytes, __u64 address,
					__u64 count, __u32 element_bytes, __u64 limit)
{
	__u64 wanted = minimum(minimum(count, limit), bytes / element_bytes);

	stack_bytes(slot, offset, room, bytes, address, wanted * element_bytes, bytes);
	if (slot->status >= 0)
		slot->status = clamp_length(count);
}

static __always_inline void begin_chunk(struct chunk *chunk, __u32 stride, __u32 head)
{
	chunk->stride = stride;
	chunk->head = head;
}

/* A string of a vector, with its head, in a chunk. */
static __always_inline int put_string(struct chunk *chunk, __u32 stride, __u64 address, __u64 limit)
{
	struct part *part = (void *)(chunk + 1);
	__u32 bytes = stride - sizeof(*chunk) - sizeof(*part);
	__s64 shift = fill_room(part + 1, bytes, address);

	begin_chunk(chunk, stride, sizeof(*part));
	part->length = 0;
	if (shift < 0) {
		part->status = shift;
		return -1;
	}
	part->status = minimum(limit, bytes - 1);
	chunk->shift = shift;
	chunk->length = LENGTH_IS_TEXT | (bytes - shift);
	return 0;
}

/*
 * A vector of strings that ends with a null pointer, as argv and envp. Its
 * status is -EFAULT where the vector or a string was unreadable.
 */
static __always_inline void stack_strings(struct slot *slot, __u32 offset, void *room, __u32 bytes, __u32 count,
					  __u64 address, __u64 limit)
{
	__u32 stride = bytes / count & ~7, i;
	__u64 pointer, used = 0;

	set_slot(slot, 0, 0, 0);
	if (!address)
		return;
	slot->status = STATUS_LONGER;
	UNROLL
	for (i = 0; i <= count; i++) {
		pointer = 0;
		if (bpf_probe_read_user(&pointer, sizeof(pointer), (void *)address + i * sizeof(pointer))) {
			slot->status = -EFAULT;
			break;
		}
		if (!pointer) {
			if (slot->status == STATUS_LONGER)
				slot->status = i;
			break;
		}
		if (i == count)
			break;
		if (put_string(room + i * stride, stride, pointer, limit))
			slot->status = -EFAULT;
		used += stride;
	}
	slot->offset = offset;
	slot->length = LENGTH_IS_CHUNKS | used;
}

/* Bytes with their head in a chunk. */
static __always_inline void put_part(struct chunk *chunk, __u32 stride, __u64 address, __u64 length)
{
	struct part *part = (void *)(chunk + 1);
	__u32 bytes = stride - sizeof(*chunk) - sizeof(*part);
	__s64 shift;

	begin_chunk(chunk, stride, sizeof(*part));
	part->length = 0;
	part->status = address ? clamp_length(length) : 0;
	if (!address || !length)
		return;
	shift = fill_room(part + 1, bytes, address);
	if (shift < 0) {
		part->status = shift;
		return;
	}
	part->length = minimum(length, bytes - shift);
	chunk->shift = shift;
	chunk->length = part->length;
}

/* An element of an iovec with its data in a chunk. */
static __always_inline void put_iovec_part(struct chunk *chunk, __u32 stride, const struct iovec *iovec,
					   __u64 available, __u64 limit)
{
	struct iovec_part *part = (void *)(chunk + 1);
	__u32 bytes = stride - sizeof(*chunk) - sizeof(*part);
	__u64 length = minimum(available, iovec->len);
	__s64 shift;

	begin_chunk(chunk, stride, sizeof(*part));
	part->base = iovec->base;
	part->len = iovec->len;
	part->captured = 0;
	part->status = clamp_length(length);
	length = minimum(length, limit);
	if (!length)
		return;
	shift = fill_room(part + 1, bytes, iovec->base);
	if (shift < 0) {
		part->status = shift;
		return;
	}
	part->captured = minimum(length, bytes - shift);
	chunk->shift = shift;
	chunk->length = part->captured;
}

/* The elements of an iovec, each with its data; how many bytes of the room they take. */
static __always_inline __u64 put_iovec(struct slot *slot, void *room, __u32 bytes, __u32 count, __u64 address,
				       __u64 wanted, __u64 available, __u64 limit)
{
	__u32 stride = bytes / count & ~7, i;
	struct iovec iovec;
	__u64 used = 0;

	UNROLL
	for (i = 0; i < count; i++) {
		if (i >= wanted)
			break;
		iovec.base = 0;
		iovec.len = 0;
		if (bpf_probe_read_user(&iovec, sizeof(iovec), (void *)address + i * sizeof(iovec))) {
			slot->status = -EFAULT;
			break;
		}
		put_iovec_part(room + i * stride, stride, &iovec, available, limit);
		available = available > iovec.len ? available - iovec.len : 0;
		used += stride;
	}
	return used;
}

static __always_inline void stack_iovec(struct slot *slot, __u32 offset, void *room, __u32 bytes, __u32 count,
					__u64 address, __u64 wanted, __u64 available, __u64 limit)
{
	set_slot(slot, 0, 0, 0);
	if (!address)
		return;
	slot->status = clamp_length(wanted);
	slot->offset = offset;
	slot->length = LENGTH_IS_CHUNKS | put_iovec(slot, room, bytes, count, address, wanted, available, limit);
}

#define MESSAGE_BYTES (sizeof(struct chunk) + sizeof(struct msghdr))
#define NAME_BYTES (sizeof(struct chunk) + sizeof(struct part) + 32)
#define CONTROL_BYTES (sizeof(struct chunk) + sizeof(struct part) + 16)
#define MESSAGE_HEAD_BYTES (MESSAGE_BYTES + NAME_BYTES + CONTROL_BYTES)

static __always_inline void stack_msghdr(struct slot *slot, __u32 offset, void *room, __u32 bytes, __u32 count,
					 __u64 address, __u64 available, __u64 limit)
{
	struct msghdr *message = room + sizeof(struct chunk);
	__u64 used;

	set_slot(slot, 0, 0, 0);
	if (!address)
		return;
	if (bpf_probe_read_user(message, sizeof(*message), (void *)address)) {
		slot->status = -EFAULT;
		return;
	}
	begin_chunk(room, MESSAGE_BYTES, sizeof(*message));
	slot->status = sizeof(*message);
	put_part(room + MESSAGE_BYTES, NAME_BYTES, message->name, message->namelen);
	put_part(room + MESSAGE_BYTES + NAME_BYTES, CONTROL_BYTES, message->control, message->controllen);
	used = put_iovec(slot, room + MESSAGE_HEAD_BYTES, bytes - MESSAGE_HEAD_BYTES, count, message->iov,
			 message->iovlen, available, limit);
	slot->offset = offset;
	slot->length = LENGTH_IS_CHUNKS | (MESSAGE_HEAD_BYTES + used);
}

/* Where the record ends if this slot's data are its last. */
static __always_inline __u64 end_of(const struct slot *slot, __u64 length)
{
	__u64 end = (slot->offset + (slot->length & LENGTH_MASK) + 7) & ~7ULL;

	return end > length ? end : length;
}

static __always_inline long put_stack(const struct call *call, void *record, __u32 bytes)
{
	return bpf_perf_event_output(call->ctx, &events, bpf_get_smp_processor_id(), record, bytes);
}

/* Put a record out in the smallest of a few sizes that holds it. */
static __always_inline int emit_stack(struct event_header *header, __u32 event, __u32 fixed_bytes, __u32 bytes,
				      __u64 length, const struct call *call)
{
	__u32 third = (bytes - fixed_bytes) / 3 & ~7;
	struct counter *counter;
	__u32 seq = 0;
	long error;

	counter = count_emitted(event, 0, &seq, call);
	if (!counter)
		return 0;
	fill_header(header, event, length, seq, call);
	header->flags |= RECORD_UNSETTLED;
	if (third && length <= fixed_bytes)
		error = put_stack(call, header, fixed_bytes);
	else if (third && length <= fixed_bytes + third)
		error = put_stack(call, header, fixed_bytes + third);
	else if (third && length <= fixed_bytes + 2 * third)
		error = put_stack(call, header, fixed_bytes + 2 * third);
	else
		error = put_stack(call, header, bytes);
	if (error)
		counter->lost++;
	return 0;
}

#endif

#endif
