/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of JSON made from records, by a program that tracer/output/lines.py compiles
 * from a schema. Knows nothing of Python.
 */
#ifndef TRACELEFT_LINES_H
#define TRACELEFT_LINES_H

#include "record.h"

#pragma GCC visibility push(hidden)

/*
 * A program is these tables end to end, in this order. Texts are JSON already:
 * names with their quotes, keys with quotes and colon. Indices lead to nodes
 * that stand before what leads to them.
 */
struct text {
	uint32_t at, length;
};

struct program_head {
	uint32_t n_events, n_args, n_nodes, n_members, n_sets, n_entries, text_bytes;
	uint32_t first_error, n_errors;	/* entries: names of error numbers */
	uint32_t flags, reserved[2];
};

#define PROGRAM_RAW 1	/* the arguments as numbers as well */

struct event_row {
	uint32_t id, fixed_size, n_registers, n_slots;
	uint32_t first_arg, n_args;
	struct text name;
};

struct arg_row {
	struct text key, name;
	uint32_t node;
	uint16_t index;			/* of the register */
	uint16_t slot, slot_out;	/* offsets in the record, 0: none */
	uint16_t flags;
	uint32_t by_case;		/* one more than the cases in which a captured pointer is a number, 0: none */
	uint32_t first_error, n_errors;	/* entries: of a call that failed with another error nothing was written */
	uint32_t reserved[2];
};

#define ARG_NOT_ON_ZERO 1	/* what was captured means nothing when the call returned 0 */

enum node_kind {
	NODE_PYTHON,		/* left to Python */
	/* a number, of a register or of memory */
	NODE_NUMBER,
	NODE_HEX,
	NODE_POINTER,
	NODE_DIRFD,
	NODE_UID,
	NODE_NAMED,		/* first: of sets; a number without a name stays one */
	NODE_SET,		/* first: of sets */
	NODE_CHAR,
	NODE_CASES,		/* of a register: entries lead to nodes by register `size`, else `other` */
	NODE_NONE,		/* no argument */
	/* bytes */
	NODE_TEXT,
	NODE_TEXT_TO_NUL,
	NODE_STRUCT,		/* members */
	NODE_ARRAY,		/* of `other`, `first` bytes, each in `size` */
	NODE_BYTES,		/* the same, its status counting bytes */
	NODE_VALUE,		/* `other`, `size` bytes */
	NODE_BIT_NAMES,		/* entries by number of the bit, within 8 bytes */
	NODE_STRINGS,
	N_NODE_KINDS
};

struct node {
	uint8_t kind, width, keep, is_signed;	/* bytes in memory, and how many low ones of them count */
	uint32_t first, count, size, other;
	uint8_t in_parts, depth, reserved[6];
	uint32_t ignore;	/* bits of a register that cases do not look at */
};

struct member_row {
	struct text key;
	uint32_t node, offset, size, reserved;
};

struct set_row {
	uint64_t ones, mask, octal;
	uint32_t first_value, n_values, first_bit, n_bits;
	struct text zero;		/* without quotes, as the names of a set's entries */
};

/* A number and what it stands for: a text, or (cases) the node `at`. In order of numbers, except bits. */
struct entry_row {
	uint64_t number;
	uint32_t at, length;
};

#define PROGRAM_ARGS_MAX 128
#define PROGRAM_DEPTH_MAX 16

struct program {
	struct program_head head;
	const struct event_row *events;
	const struct arg_row *args;
	const struct node *nodes;
	const struct member_row *members;
	const struct set_row *sets;
	const struct entry_row *entries;
	const char *text;
	char *copy;
	uint32_t *event_of;	/* by id: one more than the row, 0: none */
};

/* Check a program and keep a copy; -EINVAL if it does not hold together, -ENOMEM. */
int program_open(struct program *self, const void *data, size_t size);
void program_close(struct program *self);

_Static_assert(sizeof(struct program_head) == 48 && sizeof(struct event_row) == 32, "program");
_Static_assert(sizeof(struct arg_row) == 48 && sizeof(struct node) == 32 && sizeof(struct member_row) == 24, "program");
_Static_assert(sizeof(struct set_row) == 48 && sizeof(struct entry_row) == 16, "program");

struct lines;

/* NULL and errno as program_open() says. */
struct lines *lines_open(const void *program, size_t size);
void lines_close(struct lines *self);

/*
 * Append the lines of records start to stop, `offset_ns` being what leads from
 * their clock to the epoch's, and return the row after the last one: fewer when
 * `enough` bytes are there, when memory is short, or at a record that is left to
 * Python. The text is lines_text()'s until lines_clear().
 */
size_t lines_render(struct lines *self, const char *data, size_t size, const uint32_t *offsets, size_t start,
		    size_t stop, int64_t offset_ns, size_t enough);
const char *lines_text(const struct lines *self, size_t *size);
void lines_clear(struct lines *self);

#pragma GCC visibility pop

#endif
