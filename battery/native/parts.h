/* SPDX-License-Identifier: Apache-2.0 */
/* What the checks of an object share: object.c reads ELF, code.c instructions, types.c BTF. */
#ifndef TRACELEFT_PARTS_H
#define TRACELEFT_PARTS_H

#include "allowed.h"
#include "object.h"

#include <stdint.h>
#include <string.h>

#define INSN_BYTES 8
/* As battery/objects/elf.py and battery/objects/program.py bound what they read. */
#define OBJECT_BYTES_MAX (4u << 20)
#define SECTIONS_MAX 1024
#define SYMBOLS_MAX 16384
#define FUNCTIONS_MAX 64
#define NAME_MAX_BYTES 255

/* What is noted of an instruction's place: its relocation with the symbol, or the second half of a 64-bit load. */
#define NOTE_SYMBOL 0xffff
#define NOTE_MAP (1u << 16)
#define NOTE_CALL (1u << 17)
#define NOTE_HALF (1u << 18)

struct section {
	const char *name;
	const uint8_t *data;
	uint64_t size;
	uint32_t link;
	uint32_t info;
	enum section_kind kind;
	/* Of code, one for each instruction. */
	uint32_t *notes;
};

struct function {
	const char *name;
	uint32_t section;
	/* In instructions. */
	uint32_t start;
	uint32_t count;
	/* Functions that it calls, by index. */
	uint64_t callees;
};

struct object {
	const uint8_t *data;
	size_t size;
	enum object_role role;
	object_tell tell;
	void *to;
	unsigned offences;
	struct section *sections;
	uint32_t n_sections;
	const struct section *symbols;
	const struct section *names;
	struct function functions[FUNCTIONS_MAX];
	uint32_t n_functions;
	uint32_t *notes;
};

static inline uint16_t get16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline bool is_code(const struct section *section)
{
	return section->kind == SECTION_PROGRAMS || section->kind == SECTION_FUNCTIONS;
}

/* Tell an offence; false, so that a check can end with it. */
bool offend(struct object *object, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A name that ends within its table and can be printed; NULL for any other. */
const char *name_at(const uint8_t *names, uint64_t size, uint64_t at);

/* The symbol of a number that was checked. */
Elf64_Sym symbol_of(const struct object *object, uint32_t number);

bool check_code(struct object *object);
/* Of .BTF, and of .BTF.ext where there is one. */
bool check_btf(struct object *object, const struct section *section, const struct section *ext);

#endif
