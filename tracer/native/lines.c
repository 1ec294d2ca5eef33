// SPDX-License-Identifier: Apache-2.0
/*
 * Lines of JSON, byte for byte what tracer/output/jsonl.py makes of the same records.
 * The program is checked when it is opened, a record as it is rendered: what
 * does not fit, or is rare, is left to Python.
 */
#include "lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NUMBER 20
#define AT_FDCWD_NUMBER (-100)
#define NOT_CUT (-1)
#define CUT_SOMEWHERE (-2)
#define UNREADABLE_BYTES (-1)

struct lines {
	struct program program;
	char *out;
	size_t used, room;
	bool is_short;	/* of memory */
	bool is_odd;	/* the record has a text that is not UTF-8 */
	bool is_absent;	/* the call does not have the argument at hand */

	/* of the record at hand */
	const struct header *header;
	const uint64_t *registers;
	uint32_t n_registers;
	int64_t cut[PROGRAM_ARGS_MAX];	/* true length, NOT_CUT, CUT_SOMEWHERE */
	bool failed[PROGRAM_ARGS_MAX];
};

struct bytes {
	const char *data;
	size_t size;
};

/* Output. */

static char *reserve(struct lines *self, size_t size)
{
	size_t room = self->room ? self->room : 4096;
	char *out;

	if (self->room - self->used < size) {
		while (room - self->used < size)
			room *= 2;
		out = realloc(self->out, room);
		if (!out) {
			self->is_short = true;
			return NULL;
		}
		self->out = out;
		self->room = room;
	}
	return self->out + self->used;
}

static void put_bytes(struct lines *self, const char *data, size_t size)
{
	char *at = reserve(self, size);

	if (at) {
		memcpy(at, data, size);
		self->used += size;
	}
}

#define PUT(self, literal) put_bytes(self, literal, sizeof(literal) - 1)

static void put_text(struct lines *self, struct text text)
{
	put_bytes(self, self->program.text + text.at, text.length);
}

static void put_unsigned(struct lines *self, uint64_t number)
{
	static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
				    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
				    "8081828384858687888990919293949596979899";
	char digits[MAX_NUMBER], *at = digits + sizeof(digits);

	for (; number >= 100; number /= 100)
		at = memcpy(at - 2, pairs + 2 * (number % 100), 2);
	if (number >= 10)
		at = memcpy(at - 2, pairs + 2 * number, 2);
	else
		*--at = (char)('0' + number);
	put_bytes(self, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_signed(struct lines *self, int64_t number)
{
	if (number < 0)
		PUT(self, "-");
	put_unsigned(self, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

static void put_based(struct lines *self, uint64_t number, unsigned int bits)
{
	char digits[24], *at = digits + sizeof(digits);

	do
		*--at = "0123456789abcdef"[number & ((1U << bits) - 1)];
	while (number >>= bits);
	put_bytes(self, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_hex(struct lines *self, uint64_t number)
{
	PUT(self, "0x");
	put_based(self, number, 4);
}

static void put_quoted_hex(struct lines *self, uint64_t number)
{
	PUT(self, "\"");
	put_hex(self, number);
	PUT(self, "\"");
}

/* The length of the UTF-8 sequence at data, as Python takes it; 0 if there is none. */
static size_t sequence_at(const unsigned char *data, size_t size)
{
	unsigned char lead = data[0], least = 0x80, most = 0xbf;
	size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
	size_t i;

	if (!length || length > size)
		return 0;
	if (lead == 0xe0)
		least = 0xa0;
	else if (lead == 0xed)
		most = 0x9f;
	else if (lead == 0xf0)
		least = 0x90;
	else if (lead == 0xf4)
		most = 0x8f;
	if (data[1] < least || data[1] > most)
		return 0;
	for (i = 2; i < length; i++)
		if ((data[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

static bool is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* A byte below 0x80 that JSON escapes; room for six was reserved. */
static size_t escape(char *at, unsigned char byte)
{
	static const char hex[] = "0123456789abcdef", shorts[] = "btn\0fr";
	const char head = byte >= '\b' && byte <= '\r' ? shorts[byte - '\b'] : byte >= 0x20 ? (char)byte : 0;

	at[0] = '\\';
	at[1] = head;
	if (head)
		return 2;
	memcpy(at + 1, "u00", 3);
	at[4] = hex[byte >> 4];
	at[5] = hex[byte & 15];
	return 6;
}

/* texts.to_text, as a JSON string; bytes that are not UTF-8 leave the record to Python. */
static void put_string(struct lines *self, struct bytes bytes)
{
	const unsigned char *data = (const unsigned char *)bytes.data, *end = data + bytes.size;
	char *at = reserve(self, 6 * bytes.size + 2), *start = at;
	size_t length;

	if (!at)
		return;
	*at++ = '"';
	while (data < end) {
		if (is_plain(*data)) {
			*at++ = (char)*data++;
			continue;
		}
		length = *data < 0x80 ? 0 : sequence_at(data, (size_t)(end - data));
		if (length)
			memcpy(at, data, length);
		else if (*data >= 0x80)
			self->is_odd = true;
		at += length ? length : escape(at, *data);
		data += length ? length : 1;
	}
	*at++ = '"';
	self->used += (size_t)(at - start);
}

static struct bytes up_to_nul(const char *data, size_t size)
{
	return (struct bytes){data, strnlen(data, size)};
}

/* Numbers. */

static const struct entry_row *find_entry(const struct lines *self, uint32_t first, uint32_t count, uint64_t number)
{
	const struct entry_row *entries = self->program.entries + first;
	uint32_t low = 0, high = count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (entries[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && entries[low].number == number ? &entries[low] : NULL;
}

static void put_name(struct lines *self, const struct entry_row *entry)
{
	put_text(self, (struct text){entry->at, entry->length});
}

/* values.compile_set */
static void put_set(struct lines *self, const struct set_row *set, uint64_t value)
{
	uint64_t part = value & set->mask, rest = value & set->ones & ~set->mask;
	const struct entry_row *name = set->mask ? find_entry(self, set->first_value, set->n_values, part) : NULL;
	const struct entry_row *bit = self->program.entries + set->first_bit, *end = bit + set->n_bits;
	size_t start;

	PUT(self, "\"");
	start = self->used;
	if (name)
		put_name(self, name);
	else if (part)
		put_hex(self, part);
	for (; rest && bit < end; bit++) {
		if ((rest & bit->number) != bit->number)
			continue;
		if (self->used > start)
			PUT(self, "|");
		put_name(self, bit);
		rest &= ~bit->number;
	}
	if (rest & set->octal) {
		put_bytes(self, "|0" + (self->used == start), 2 - (self->used == start));
		put_based(self, rest & set->octal, 3);
	}
	if (rest & ~set->octal) {
		if (self->used > start)
			PUT(self, "|");
		put_hex(self, rest & ~set->octal);
	}
	if (self->used == start)
		put_text(self, set->zero);
	PUT(self, "\"");
}

static void put_named(struct lines *self, const struct node *node, uint64_t number, int64_t value)
{
	const struct set_row *set = &self->program.sets[node->first];
	const struct entry_row *name = find_entry(self, set->first_value, set->n_values, number & set->ones);

	if (name) {
		PUT(self, "\"");
		put_name(self, name);
		PUT(self, "\"");
	} else if (node->is_signed) {
		put_signed(self, value);
	} else {
		put_unsigned(self, number);
	}
}

/* What a register is by another one, NULL where no case holds. */
static const struct entry_row *find_case(const struct lines *self, const struct node *node)
{
	return find_entry(self, node->first, node->count, self->registers[node->size] & UINT32_MAX & ~node->ignore);
}

/* A number whose low bytes are those of the node; false: left to Python. */
static bool put_number(struct lines *self, const struct node *node, uint64_t number)
{
	unsigned int unused = 64 - 8 * node->keep;
	uint64_t value = number << unused >> unused;
	int64_t with_sign = (int64_t)(number << unused) >> unused;
	const struct entry_row *found;
	const char byte = (char)value;

	switch (node->kind) {
	case NODE_NUMBER:
		if (node->is_signed)
			put_signed(self, with_sign);
		else
			put_unsigned(self, value);
		return true;
	case NODE_HEX:
		put_quoted_hex(self, value);
		return true;
	case NODE_POINTER:
		if (value)
			put_quoted_hex(self, value);
		else
			PUT(self, "null");
		return true;
	case NODE_DIRFD:
		if (with_sign == AT_FDCWD_NUMBER)
			PUT(self, "\"AT_FDCWD\"");
		else
			put_signed(self, with_sign);
		return true;
	case NODE_UID:
		if (with_sign == -1)
			PUT(self, "-1");
		else
			put_unsigned(self, value);
		return true;
	case NODE_NAMED:
		put_named(self, node, value, with_sign);
		return true;
	case NODE_SET:
		put_set(self, &self->program.sets[node->first], value);
		return true;
	case NODE_CHAR:
		put_string(self, (struct bytes){&byte, 1});
		return true;
	case NODE_CASES:
		if (node->size >= self->n_registers)
			return false;
		found = find_case(self, node);
		return put_number(self, &self->program.nodes[found ? found->at : node->other], number);
	case NODE_NONE:
		self->is_absent = true;
		return true;
	}
	return false;
}

static uint64_t load_number(const char *data, uint32_t width)
{
	uint64_t number = 0;

	/* Little-endian, as tracer/output/lines.py sees to. */
	memcpy(&number, data, width);
	return number;
}

/* Bytes. `taken` becomes how many of what a slot's status counts were there, or a status below zero. */

static bool put_value(struct lines *self, const struct node *node, struct bytes bytes, uint32_t arg, int64_t *taken);

/* Members beyond the bytes that were captured are left out. */
static bool put_struct(struct lines *self, const struct node *node, struct bytes bytes, uint32_t arg)
{
	const struct member_row *member = self->program.members + node->first, *end = member + node->count;
	bool is_first = true;
	int64_t taken;

	PUT(self, "{");
	for (; member < end; member++) {
		if ((size_t)member->offset + member->size > bytes.size)
			continue;
		if (!is_first)
			PUT(self, ",");
		is_first = false;
		put_text(self, member->key);
		if (!put_value(self, &self->program.nodes[member->node],
			       (struct bytes){bytes.data + member->offset, member->size}, arg, &taken))
			return false;
	}
	PUT(self, "}");
	return true;
}

static bool put_array(struct lines *self, const struct node *node, struct bytes bytes, uint32_t arg)
{
	const struct node *element = &self->program.nodes[node->other];
	int64_t taken;
	size_t at;

	PUT(self, "[");
	for (at = 0; bytes.size - at >= node->size; at += node->size) {
		if (at)
			PUT(self, ",");
		if (!put_value(self, element, (struct bytes){bytes.data + at, node->first}, arg, &taken))
			return false;
	}
	PUT(self, "]");
	return true;
}

static void put_bit_names(struct lines *self, const struct node *node, struct bytes bytes)
{
	const struct entry_row *entry = self->program.entries + node->first, *end = entry + node->count;
	bool is_first = true;
	uint64_t mask = 0;

	memcpy(&mask, bytes.data, bytes.size < sizeof(mask) ? bytes.size : sizeof(mask));
	PUT(self, "[");
	for (; mask && entry < end; entry++) {
		if (!(mask >> (entry->number & 63) & 1))
			continue;
		if (!is_first)
			PUT(self, ",");
		is_first = false;
		PUT(self, "\"");
		put_name(self, entry);
		PUT(self, "\"");
	}
	PUT(self, "]");
}

/* lists.show_strings */
static bool put_strings(struct lines *self, struct bytes bytes, uint32_t arg, int64_t *taken)
{
	uint64_t address;
	size_t at, captured;
	int32_t status;

	PUT(self, "[");
	*taken = 0;
	for (at = 0; at < bytes.size; at += ALIGN8(captured)) {
		if (bytes.size - at < 8)
			return false;
		captured = load_number(bytes.data + at, 4);
		status = (int32_t)load_number(bytes.data + at + 4, 4);
		at += 8;
		if (captured > bytes.size - at)
			return false;
		if (status == STATUS_LONGER || status > (int64_t)captured)
			self->cut[arg] = CUT_SOMEWHERE;
		self->failed[arg] |= status < 0;
		if ((*taken)++)
			PUT(self, ",");
		/* Of one that could not be read the address, where the record tells it. */
		address = captured == sizeof(address) ? load_number(bytes.data + at, sizeof(address)) : 0;
		if (status >= 0)
			put_string(self, (struct bytes){bytes.data + at, captured});
		else if (address)
			put_quoted_hex(self, address);
		else
			PUT(self, "null");
	}
	PUT(self, "]");
	return true;
}

/* False: left to Python. */
static bool put_value(struct lines *self, const struct node *node, struct bytes bytes, uint32_t arg, int64_t *taken)
{
	*taken = (int64_t)bytes.size;
	switch (node->kind) {
	case NODE_PYTHON:
		return false;
	case NODE_TEXT:
		put_string(self, bytes);
		return true;
	case NODE_TEXT_TO_NUL:
		put_string(self, up_to_nul(bytes.data, bytes.size));
		return true;
	case NODE_STRUCT:
		return put_struct(self, node, bytes, arg);
	case NODE_ARRAY:
		*taken = (int64_t)(bytes.size / node->size);
		return put_array(self, node, bytes, arg);
	case NODE_BYTES:
		return put_array(self, node, bytes, arg);
	case NODE_VALUE:
		*taken = bytes.size < node->size ? UNREADABLE_BYTES : STATUS_LONGER;
		return *taken < 0 || put_number(self, &self->program.nodes[node->other], load_number(bytes.data, node->size));
	case NODE_BIT_NAMES:
		put_bit_names(self, node, bytes);
		return true;
	case NODE_STRINGS:
		return put_strings(self, bytes, arg, taken);
	}
	return bytes.size >= node->width && put_number(self, node, load_number(bytes.data, node->width));
}

/* Arguments. */

/* Whether a call left what was captured as it was. */
static bool was_written(const struct lines *self, const struct arg_row *row)
{
	int64_t ret = self->header->ret;

	if (!ret)
		return !(row->flags & ARG_NOT_ON_ZERO);
	if (!row->n_errors || ret > 0 || ret < -MAX_ERROR)
		return true;
	return find_entry(self, row->first_error, row->n_errors, (uint64_t)-ret);
}

/* arguments._compile_pointer */
static bool put_captured(struct lines *self, const struct arg_row *row, uint32_t slot_at, uint32_t arg)
{
	const struct slot *slot = (const struct slot *)((const char *)self->header + slot_at);
	const struct node *node = &self->program.nodes[row->node];
	uint64_t address = self->registers[row->index];
	int32_t status = slot->status;
	int64_t taken = STATUS_NOT_READ;

	if (slot->offset && (status >= 0 || (node->in_parts && slot->length))) {
		if (was_written(self, row) &&
		    !put_value(self, node, (struct bytes){(const char *)self->header + slot->offset, slot->length}, arg,
			       &taken))
			return false;
		if (status < 0) {
			self->failed[arg] = true;
			return true;
		}
		if (taken >= 0) {
			if (status > taken)
				self->cut[arg] = status == STATUS_LONGER ? CUT_SOMEWHERE : status;
			return true;
		}
		status = (int32_t)taken;
	}
	self->failed[arg] |= status && status != STATUS_NOT_READ;
	return put_number(self, &(struct node){.kind = NODE_POINTER, .keep = 8}, address);
}

static bool put_arg(struct lines *self, const struct arg_row *row, uint32_t arg)
{
	const struct node *cases = row->by_case ? &self->program.nodes[row->by_case - 1] : NULL;
	const struct entry_row *found;

	self->cut[arg] = NOT_CUT;
	self->failed[arg] = false;
	if (!row->slot)
		return put_number(self, &self->program.nodes[row->node], self->registers[row->index]);
	if (cases && cases->size >= self->n_registers)
		return false;
	found = cases ? find_case(self, cases) : NULL;
	if (found)
		return put_number(self, &self->program.nodes[found->at], self->registers[row->index]);
	if (!row->slot_out)
		return put_captured(self, row, row->slot, arg);
	if (!self->registers[row->index]) {
		PUT(self, "null");
		return true;
	}
	PUT(self, "{\"in\":");
	if (!put_captured(self, row, row->slot, arg))
		return false;
	PUT(self, ",\"out\":");
	if (!put_captured(self, row, row->slot_out, arg))
		return false;
	PUT(self, "}");
	return true;
}

static void put_notes(struct lines *self, const struct arg_row *args, uint32_t n)
{
	const char *before = ",\"truncated\":{";
	uint32_t i;

	for (i = 0; i < n; i++) {
		if (self->cut[i] == NOT_CUT)
			continue;
		put_bytes(self, before, strlen(before));
		before = ",";
		put_text(self, args[i].key);
		if (self->cut[i] == CUT_SOMEWHERE)
			PUT(self, "null");
		else
			put_signed(self, self->cut[i]);
	}
	if (!before[1])
		PUT(self, "}");
	before = ",\"unreadable\":[";
	for (i = 0; i < n; i++) {
		if (!self->failed[i])
			continue;
		put_bytes(self, before, strlen(before));
		before = ",";
		put_text(self, args[i].name);
	}
	if (!before[1])
		PUT(self, "]");
}

/* Lines. */

#define PUT_FIELD(self, key, number) (PUT(self, key), put_unsigned(self, number))

static void put_head(struct lines *self, const struct event_row *event, int64_t offset_ns)
{
	const struct header *header = self->header;

	PUT(self, "{\"ts\":");
	/* Neither has its top bit set unless the offset is below zero: the sum fits. */
	if (offset_ns < 0)
		put_signed(self, (int64_t)header->timestamp + offset_ns);
	else
		put_unsigned(self, header->timestamp + (uint64_t)offset_ns);
	PUT(self, ",\"event\":");
	put_text(self, event->name);
	PUT_FIELD(self, ",\"pid\":", header->tgid);
	PUT_FIELD(self, ",\"tid\":", header->tid);
	PUT(self, ",\"comm\":");
	put_string(self, up_to_nul(header->comm, sizeof(header->comm)));
	PUT_FIELD(self, ",\"uid\":", header->uid);
	PUT_FIELD(self, ",\"gid\":", header->gid);
	PUT_FIELD(self, ",\"cpu\":", header->cpu);
	PUT_FIELD(self, ",\"seq\":", header->seq);
	PUT_FIELD(self, ",\"cgroup_id\":", header->cgroup_id);
	PUT(self, ",\"args\":{");
}

static void put_error(struct lines *self, int64_t ret)
{
	const struct entry_row *name;

	if (ret >= 0 || ret < -MAX_ERROR) {
		PUT(self, "null");
		return;
	}
	name = find_entry(self, self->program.head.first_error, self->program.head.n_errors, (uint64_t)-ret);
	PUT(self, "\"");
	if (name)
		put_name(self, name);
	else
		PUT(self, "errno "), put_signed(self, -ret);
	PUT(self, "\"");
}

static void put_result(struct lines *self)
{
	const struct header *header = self->header;

	PUT(self, "},\"ret\":");
	if (header->flags & (FLAG_NO_RETURN | FLAG_UNFINISHED)) {
		PUT(self, "null,\"error\":null");
	} else {
		put_signed(self, header->ret);
		PUT(self, ",\"error\":");
		put_error(self, header->ret);
	}
	PUT(self, ",\"duration_ns\":");
	if (header->flags & FLAG_DURATION)
		put_unsigned(self, header->duration);
	else
		PUT(self, "null");
}

static void put_raw(struct lines *self, uint32_t n)
{
	uint32_t i;

	PUT(self, ",\"raw\":[");
	for (i = 0; i < n; i++) {
		if (i)
			PUT(self, ",");
		put_unsigned(self, self->registers[i]);
	}
	PUT(self, "]");
}

/* What the decoder refuses is left to it, and what has stacks, or execs whose strings are not the caller's, or counted. */
static const struct event_row *find_event(const struct lines *self, const struct header *header, size_t room)
{
	uint32_t row;
	const struct event_row *event;

	if (room < sizeof(*header) || !(row = self->program.event_of[header->event]))
		return NULL;
	event = &self->program.events[row - 1];
	if (header->length < event->fixed_size || header->length > room || header->timestamp >> 63 ||
	    header->flags & (FLAG_STACKS | FLAG_NEW_STACK | FLAG_COUNTED) ||
	    !slots_are_sound(header, event->fixed_size, (uint32_t)sizeof(*header) + 8 * event->n_registers,
			     event->n_slots))
		return NULL;
	return event;
}

/* The arguments that the call has. */
static bool put_args(struct lines *self, const struct arg_row *args, uint32_t n)
{
	bool is_first = true;
	size_t before;
	uint32_t i;

	for (i = 0; i < n; i++) {
		before = self->used;
		if (!is_first)
			PUT(self, ",");
		put_text(self, args[i].key);
		self->is_absent = false;
		if (!put_arg(self, &args[i], i))
			return false;
		if (self->is_absent)
			self->used = before;
		else
			is_first = false;
	}
	return true;
}

static bool put_line(struct lines *self, const struct header *header, size_t room, int64_t offset_ns)
{
	const struct event_row *event = find_event(self, header, room);
	const struct arg_row *args;

	if (!event)
		return false;
	args = self->program.args + event->first_arg;
	self->header = header;
	self->registers = (const uint64_t *)(header + 1);
	self->n_registers = event->n_registers;
	self->is_odd = false;
	put_head(self, event, offset_ns);
	if (!put_args(self, args, event->n_args))
		return false;
	put_result(self);
	put_notes(self, args, event->n_args);
	if (self->program.head.flags & PROGRAM_RAW)
		put_raw(self, event->n_registers);
	PUT(self, "}\n");
	return !self->is_short && !self->is_odd;
}

size_t lines_render(struct lines *self, const char *data, size_t size, const uint32_t *offsets, size_t start,
		    size_t stop, int64_t offset_ns, size_t enough)
{
	size_t row, before;

	for (row = start; row < stop && self->used < enough; row++) {
		before = self->used;
		if (offsets[row] > size ||
		    !put_line(self, (const struct header *)(data + offsets[row]), size - offsets[row], offset_ns)) {
			self->used = before;
			break;
		}
	}
	return row;
}

const char *lines_text(const struct lines *self, size_t *size)
{
	*size = self->used;
	return self->out;
}

void lines_clear(struct lines *self)
{
	self->used = 0;
	self->is_short = false;
}

struct lines *lines_open(const void *program, size_t size)
{
	struct lines *self = calloc(1, sizeof(*self));
	int err = self ? program_open(&self->program, program, size) : -ENOMEM;

	if (!err)
		return self;
	free(self);
	errno = -err;
	return NULL;
}

void lines_close(struct lines *self)
{
	if (!self)
		return;
	program_close(&self->program);
	free(self->out);
	free(self);
}
