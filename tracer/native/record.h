/* SPDX-License-Identifier: Apache-2.0 */
/* A record: docs/schema.md, section 2. Knows nothing of Python. */
#ifndef TRACELEFT_RECORD_H
#define TRACELEFT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct header {
	uint32_t length;
	uint16_t event;
	uint16_t flags;
	uint64_t timestamp_ns;
	uint32_t sequence;
	uint32_t cpu;
	uint32_t ids[4];
	uint64_t cgroup;
	int64_t ret;
	uint64_t duration_ns;
	char comm[16];
};

struct slot {
	uint16_t offset;
	uint16_t length;
	int32_t status;
};

_Static_assert(sizeof(struct header) == 80, "header");
_Static_assert(sizeof(struct slot) == 8, "slot");

#define FLAG_NO_RETURN 1
#define FLAG_NEW_STACK 2
#define FLAG_CLASS_1 4
#define FLAG_DURATION 8
#define FLAG_UNFINISHED 16
#define FLAG_STACKS 64
#define FLAG_COUNTED 128
#define STATUS_LONGER INT32_MAX
#define STATUS_NOT_READ (-1000)
/* The ids of a record's stacks are the first of its tail. */
#define STACK_IDS_BYTES 16
#define ALIGN8(n) (((size_t)(n) + 7) & ~(size_t)7)

static inline bool stacks_are_sound(const struct header *header, uint32_t fixed)
{
	return !(header->flags & FLAG_STACKS) || header->length - fixed >= STACK_IDS_BYTES;
}

/* Whether the captures of a record, whose own length is sound, lie between its fixed part and its end. */
static inline bool slots_are_sound(const struct header *header, uint32_t fixed, uint32_t slots_at, uint32_t n_slots)
{
	const struct slot *slot = (const struct slot *)((const char *)header + slots_at);
	const struct slot *end = slot + n_slots;

	for (; slot < end; slot++)
		if (slot->length && (slot->offset < fixed || (uint32_t)slot->offset + slot->length > header->length))
			return false;
	return true;
}

#endif
