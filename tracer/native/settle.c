// SPDX-License-Identifier: Apache-2.0
/* Records of level 4.4 (templates/include/stack.h), made like those of every other level. Knows nothing of Python. */
#include "settle.h"

#include <string.h>

/* A part of a vector's room: a head that is kept, then data that begin at shift. */
struct chunk {
	uint16_t stride;
	uint16_t head;
	uint16_t shift;
	uint16_t length;
};

struct part {
	uint32_t length;
	int32_t status;
};

/* How many bytes of a text there are, at most limit; its status says whether it ends there. */
static uint16_t measure(const char *text, uint16_t room, int32_t limit, int32_t *status)
{
	size_t length = strnlen(text, room);
	bool ends = length < room && (int64_t)length <= limit;

	if (limit >= 0 && (int64_t)length > limit)
		length = (size_t)limit;
	*status = ends ? (int32_t)length : STATUS_LONGER;
	return (uint16_t)length;
}

/* Put a chunk's head and data where they belong, which is never behind where they are. How many bytes they take there. */
static size_t pack_chunk(char *to, const char *from)
{
	struct chunk chunk;
	struct part part;
	uint16_t length;

	memcpy(&chunk, from, sizeof(chunk));
	length = chunk.length & LENGTH_MASK;
	from += sizeof(chunk);
	if (chunk.length & LENGTH_IS_TEXT) {
		memcpy(&part, from, sizeof(part));
		length = measure(from + chunk.head + chunk.shift, length, part.status, &part.status);
		part.length = length;
		memmove(to, &part, sizeof(part));
	} else {
		memmove(to, from, chunk.head);
	}
	memmove(to + chunk.head, from + chunk.head + chunk.shift, length);
	memset(to + chunk.head + length, 0, ALIGN8(length) - length);
	return chunk.head + ALIGN8(length);
}

static bool chunk_is_sound(const char *from, size_t left)
{
	struct chunk chunk;
	size_t length;

	if (left < sizeof(chunk))
		return false;
	memcpy(&chunk, from, sizeof(chunk));
	length = chunk.length & LENGTH_MASK;
	/* Stride and head keep to eights, so that packing never overtakes what is still to be read. */
	return chunk.stride <= left && chunk.stride % 8 == 0 && chunk.head % 8 == 0 &&
	       sizeof(chunk) + chunk.head + chunk.shift + length <= chunk.stride &&
	       (!(chunk.length & LENGTH_IS_TEXT) || chunk.head == sizeof(struct part));
}

static bool pack_chunks(char *room, size_t size, uint16_t *packed)
{
	const char *from = room, *end = room + size;
	uint16_t stride;
	char *to = room;

	while (from < end) {
		if (!chunk_is_sound(from, (size_t)(end - from)))
			return false;
		memcpy(&stride, from, sizeof(stride));
		to += pack_chunk(to, from);
		from += stride;
	}
	*packed = (uint16_t)(to - room);
	return true;
}

static bool settle_slot(struct header *header, struct slot *slot, size_t fixed)
{
	uint16_t length = slot->length & LENGTH_MASK;
	char *place = (char *)header + slot->offset;

	if (slot->offset < fixed || (uint32_t)slot->offset + length > header->length)
		return false;
	if (slot->length & LENGTH_IS_CHUNKS)
		return pack_chunks(place, length, &slot->length);
	if (slot->length & LENGTH_IS_TEXT)
		slot->length = measure(place, length, slot->status, &slot->status);
	return true;
}

bool settle_record(struct header *header, uint32_t slots_at, uint32_t n_slots)
{
	struct slot *slot = (struct slot *)((char *)header + slots_at), *end = slot + n_slots;
	size_t fixed = slots_at + n_slots * sizeof(*slot);

	header->flags &= (uint16_t)~FLAG_UNSETTLED;
	for (; slot < end; slot++)
		if (slot->length & (LENGTH_IS_TEXT | LENGTH_IS_CHUNKS) && !settle_slot(header, slot, fixed))
			return false;
	return true;
}
