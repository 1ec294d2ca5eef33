/* SPDX-License-Identifier: Apache-2.0 */
/* A record: docs/reference/schema.md, section 2. Knows nothing of Python. */
#ifndef TRACELEFT_RECORD_H
#define TRACELEFT_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record_layout.h"

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
