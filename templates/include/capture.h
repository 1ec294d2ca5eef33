/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_CAPTURE_H
#define TRACELEFT_CAPTURE_H

#include "emit.h"

#if HAS_SCRATCH

#define CAPTURE_MAX 8192
#define SHORT_BYTES 64

/*
 * Every capture puts what it reads at an offset of scratch and returns where
 * the next may begin. Beyond this offset, a mask, nothing more is read.
 */
#define TAIL_LIMIT 0x3fff
_Static_assert(TAIL_LIMIT + CAPTURE_MAX + 64 <= SCRATCH_BYTES, "a read from the last offset fits");

#if HAS_LIVENESS
/*
 * Passes a value through map memory, whose contents the verifier does not
 * follow: else every outcome of every read goes on as a path of its own.
 */
static __always_inline __u64 forget(struct scratch *scratch, __u64 value)
{
	volatile __u32 *memory = &scratch->header.length;

	*memory = value;
	return *memory;
}
#else
/*
 * The same where the verifier also compares what nobody reads any more: every
 * register is set, so clang keeps what it needs on the stack. A pointer is
 * known again from there, a number is not.
 */
static __always_inline __u64 forget(struct scratch *scratch, __u64 value)
{
	asm volatile("r0 = 0\n\tr1 = 0\n\tr2 = 0\n\tr3 = 0\n\tr4 = 0\n\t"
		     "r5 = 0\n\tr6 = 0\n\tr7 = 0\n\tr8 = 0\n\tr9 = 0" ::
			     : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "memory");
	return value;
}
#endif

/* What is gone on with after a branch, or a turn of a written-out loop: without loops the paths merge before the next. */
static __always_inline __u64 merge_paths(struct scratch *scratch, __u64 value)
{
	return HAS_LOOPS ? value : forget(scratch, value);
}

/*
 * Where offset lies in scratch. The offset is bounded where it is added: a
 * pointer keeps its bounds when it is spilled. The number is added to the
 * pointer, never the pointer to the number: 4.11 loses the pointer then, and the
 * verifier of 4.14 to 4.19.0 follows a null pointer (fixed by 0962590e5533).
 */
static __always_inline void *tail_at(struct scratch *scratch, __u64 offset)
{
	void *place = scratch;

	asm volatile("%[offset] &= %[limit]\n\t%[place] += %[offset]"
		     : [place] "+r"(place), [offset] "+r"(offset)
		     : [limit] "i"(TAIL_LIMIT));
	return place;
}

static __always_inline __u64 align8(__u64 bytes)
{
	return (bytes + 7) & ~7ULL;
}

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

/* The length at an address, no more than the one that was captured from there at entry. */
static __always_inline __u32 written_length(struct scratch *scratch, const struct slot *room, __u64 address)
{
	__u64 offset = room->offset, length = read_length(address);

	if (offset > TAIL_LIMIT || room->length != sizeof(__u32))
		return length;
	return minimum(length, *(const __u32 *)tail_at(scratch, offset));
}

/*
 * Read a string of at most limit bytes to scratch + offset: its length there,
 * and in status its true length, STATUS_LONGER or -errno. Two bytes more than
 * the limit are asked for, so that a string that just fits differs from a longer one.
 */
static __always_inline __u64 read_text(struct scratch *scratch, __u64 offset, __u64 address, __u64 limit,
				       __s32 *status)
{
	__u64 size;
	long got;

	if (limit > CAPTURE_MAX - 3)
		limit = CAPTURE_MAX - 3;
	size = limit + 2;
	if (offset > TAIL_LIMIT) {
		*status = STATUS_LONGER;
		return 0;
	}
	got = read_sized(tail_at(scratch, offset), size, CAPTURE_MAX, address, READ_USER_STR);
	if (got <= 0) {
		*status = got;
		return 0;
	}
	if (got > limit + 1) {
		*status = STATUS_LONGER;
		return limit;
	}
	*status = got - 1;
	return got - 1;
}

/*
 * Read length bytes, at most limit, to scratch + offset. Where a page in the
 * middle is missing, what lies before it is kept.
 */
static __always_inline __u64 read_bytes(struct scratch *scratch, __u64 offset, __u64 address, __u64 length,
					__u64 limit, __s32 *status)
{
	__u64 size = minimum(minimum(length, limit), CAPTURE_MAX - 1);
	long error;

	*status = clamp_length(length);
	if (offset > TAIL_LIMIT || !size)
		return 0;
	error = read_sized(tail_at(scratch, offset), size, CAPTURE_MAX, address, READ_USER);
	if (!error)
		return size;
	if (size > PAGE_BYTES - (address & (PAGE_BYTES - 1))) {
		size = PAGE_BYTES - (address & (PAGE_BYTES - 1));
		if (!read_sized(tail_at(scratch, offset), size, CAPTURE_MAX, address, READ_USER))
			return size;
	}
	*status = error;
	return 0;
}

/* Read bytes, fewer than SHORT_BYTES, to a record's own tail: where the tail ends then. */
static __always_inline __u64 capture_short(void *tail, __u64 offset, struct slot *slot, __u64 address, __u64 length,
					   __u64 limit)
{
	__u64 size = minimum(length, limit), before = PAGE_BYTES - (address & (PAGE_BYTES - 1));
	long error;

	set_slot(slot, 0, 0, 0);
	if (!address)
		return offset;
	error = read_sized(tail, size, SHORT_BYTES, address, READ_USER);
	if (error && before < size) {
		size = before;
		if (!read_sized(tail, size, SHORT_BYTES, address, READ_USER))
			error = 0;
	}
	set_slot(slot, offset, error ? 0 : size, error ? error : clamp_length(length));
	return error ? offset : offset + align8(size);
}

static __always_inline __u64 capture_text(struct scratch *scratch, __u64 offset, struct slot *slot, __u64 address,
					  __u64 limit)
{
	__s32 status = 0;
	__u64 length;

	set_slot(slot, 0, 0, 0);
	if (!address)
		return merge_paths(scratch, offset);
	length = read_text(scratch, offset, address, limit, &status);
	set_slot(slot, offset, length, status);
	return forget(scratch, offset + align8(length));
}

static __always_inline __u64 capture_bytes(struct scratch *scratch, __u64 offset, struct slot *slot, __u64 address,
					   __u64 length, __u64 limit)
{
	__s32 status = 0;
	__u64 size;

	set_slot(slot, 0, 0, 0);
	if (!address)
		return merge_paths(scratch, offset);
	size = read_bytes(scratch, offset, address, length, limit, &status);
	set_slot(slot, offset, size, status);
	return forget(scratch, offset + align8(size));
}

/* An array of count elements of a constant size; the slot's status counts elements. */
static __always_inline __u64 capture_array(struct scratch *scratch, __u64 offset, struct slot *slot, __u64 address,
					   __u64 count, __u32 element_bytes, __u64 limit)
{
	__u64 wanted = minimum(minimum(count, limit), CAPTURE_MAX / element_bytes);

	offset = capture_bytes(scratch, offset, slot, address, wanted * element_bytes, CAPTURE_MAX);
	if (slot->status >= 0)
		slot->status = clamp_length(count);
	return offset;
}

#endif

#endif
