// SPDX-License-Identifier: Apache-2.0
/* Instructions of programs: what they call, what they load, where they lead. */
#include "parts.h"

#define JUMP_ALWAYS 0x05
/* gotol of -mcpu=v4 has its distance in the immediate. */
#define JUMP_LONG 0x06
#define CALL 0x85
#define EXIT 0x95
#define LOAD_IMM64 0x18
#define PSEUDO_CALL 1
#define HELPERS_MAX 1024

static const char *helper_name(uint32_t helper)
{
#define NAME(name) "bpf_" #name
	static const char *const names[] = {__BPF_FUNC_MAPPER(NAME)};
#undef NAME

	return helper < sizeof(names) / sizeof(names[0]) ? names[helper] : "a helper that is not known";
}

static bool may_call(enum object_role role, uint32_t helper)
{
	size_t i;

	for (i = 0; i < sizeof(allowed_helpers) / sizeof(allowed_helpers[0]); i++)
		if (allowed_helpers[i].helper == helper)
			return allowed_helpers[i].roles >> role & 1;
	return false;
}

static struct bpf_insn insn_at(const struct section *section, uint32_t at)
{
	struct bpf_insn insn;

	memcpy(&insn, section->data + (size_t)at * INSN_BYTES, sizeof(insn));
	return insn;
}

/* The index of the function that begins at a place; -1 where none does. */
static int function_at(const struct object *object, uint32_t section, int64_t start)
{
	uint32_t i;

	for (i = 0; i < object->n_functions; i++)
		if (object->functions[i].section == section && object->functions[i].start == start)
			return (int)i;
	return -1;
}

/* A call of another function: by its symbol, or by its distance in the same section. */
static bool check_local_call(struct object *object, struct function *function, uint32_t at, const struct bpf_insn *insn)
{
	const struct section *section = &object->sections[function->section];
	uint32_t place = function->section;
	int64_t start = (int64_t)at + 1 + insn->imm;
	Elf64_Sym symbol;
	int callee;

	if (section->notes[at] & NOTE_CALL) {
		symbol = symbol_of(object, section->notes[at] & NOTE_SYMBOL);
		place = symbol.st_shndx;
		start = (int64_t)(symbol.st_value / INSN_BYTES) + 1 + insn->imm;
	}
	callee = function_at(object, place, start);
	if (callee < 0 || object->sections[object->functions[callee].section].kind != SECTION_FUNCTIONS)
		return offend(object, "damaged: %s calls a place where no function begins", function->name);
	function->callees |= (uint64_t)1 << callee;
	return true;
}

static bool check_call(struct object *object, struct function *function, uint32_t at, const struct bpf_insn *insn,
		       uint8_t *named)
{
	const struct section *section = &object->sections[function->section];
	uint32_t helper = (uint32_t)insn->imm;

	if (insn->code != CALL || insn->src_reg > PSEUDO_CALL || (insn->src_reg != PSEUDO_CALL && section->notes[at]))
		return offend(object, "program %s calls a function of the kernel, which no program may", function->name);
	if (insn->src_reg == PSEUDO_CALL)
		return check_local_call(object, function, at, insn);
	if (may_call(object->role, helper) || (helper < HELPERS_MAX && named[helper / 8] >> helper % 8 & 1))
		return true;
	if (helper < HELPERS_MAX)
		named[helper / 8] |= (uint8_t)(1 << helper % 8);
	offend(object, "program %s calls %s (helper %u), which %s may not", function->name, helper_name(helper), helper,
	       object->role == ROLE_CORE ? "the core" : "handlers");
	return true;
}

/* A 64-bit load takes a number, or a map by its symbol. */
static bool check_wide_load(struct object *object, const struct function *function, uint32_t at,
			    const struct bpf_insn *insn)
{
	const struct section *section = &object->sections[function->section];
	struct bpf_insn second;
	Elf64_Sym symbol;

	if (at + 1 >= function->start + function->count)
		return offend(object, "damaged: %s ends in half a load", function->name);
	second = insn_at(section, at + 1);
	if (second.code || second.dst_reg || second.src_reg || second.off || section->notes[at + 1])
		return offend(object, "damaged: %s has half a load", function->name);
	section->notes[at + 1] = NOTE_HALF;
	if (insn->src_reg)
		return offend(object, "program %s loads an address of kind %u, which no program may", function->name,
			      insn->src_reg);
	if (!section->notes[at])
		return true;
	symbol = symbol_of(object, section->notes[at] & NOTE_SYMBOL);
	if (section->notes[at] & NOTE_MAP && object->sections[symbol.st_shndx].kind == SECTION_MAPS)
		return true;
	return offend(object, "program %s loads an address that is not a map, which no program may", function->name);
}

static bool is_jump(const struct bpf_insn *insn)
{
	return (BPF_CLASS(insn->code) == BPF_JMP || BPF_CLASS(insn->code) == BPF_JMP32) && insn->code != EXIT &&
	       BPF_OP(insn->code) != BPF_CALL;
}

static bool check_insn(struct object *object, struct function *function, uint32_t at, uint8_t *named)
{
	const struct section *section = &object->sections[function->section];
	struct bpf_insn insn = insn_at(section, at);
	unsigned class = BPF_CLASS(insn.code);

	if (insn.code == LOAD_IMM64)
		return check_wide_load(object, function, at, &insn);
	if (class == BPF_LD)
		return offend(object, "program %s loads from a packet, which no program may", function->name);
	if ((class == BPF_JMP || class == BPF_JMP32) && BPF_OP(insn.code) == BPF_CALL)
		return check_call(object, function, at, &insn, named);
	if (section->notes[at])
		return offend(object, "damaged: a relocation of %s leads nowhere", function->name);
	return true;
}

/* Every jump leads to an instruction of its function, and the last one leads nowhere else. */
static bool check_jumps(struct object *object, const struct function *function)
{
	const struct section *section = &object->sections[function->section];
	uint32_t at = function->start, end = function->start + function->count;
	bool goes_on = true;
	struct bpf_insn insn;
	int64_t to;

	for (; at < end; at++) {
		if (section->notes[at] & NOTE_HALF)
			continue;
		insn = insn_at(section, at);
		goes_on = insn.code != EXIT && insn.code != JUMP_ALWAYS && insn.code != JUMP_LONG;
		if (!is_jump(&insn))
			continue;
		to = (int64_t)at + 1 + (insn.code == JUMP_LONG ? insn.imm : insn.off);
		if (to < function->start || to >= end || section->notes[to] & NOTE_HALF)
			return offend(object, "damaged: %s leads out of itself", function->name);
	}
	return !goes_on ? true : offend(object, "damaged: %s has no end", function->name);
}

static bool check_function(struct object *object, struct function *function)
{
	const struct section *section = &object->sections[function->section];
	uint8_t named[HELPERS_MAX / 8] = {0};
	uint32_t i;

	for (i = 0; i < function->count; i++) {
		if (!check_insn(object, function, function->start + i, named))
			return false;
		if (i + 1 < function->count && section->notes[function->start + i + 1] & NOTE_HALF)
			i++;
	}
	return check_jumps(object, function);
}

/* No function comes back to itself: each round adds what callees call. */
static bool check_recursion(struct object *object)
{
	uint32_t i, j, round;

	for (round = 0; round < object->n_functions; round++)
		for (i = 0; i < object->n_functions; i++)
			for (j = 0; object->functions[i].callees && j < object->n_functions; j++)
				if (object->functions[i].callees >> j & 1)
					object->functions[i].callees |= object->functions[j].callees;
	for (i = 0; i < object->n_functions; i++)
		if (object->functions[i].callees >> i & 1)
			return offend(object, "damaged: %s calls itself", object->functions[i].name);
	return true;
}

bool check_code(struct object *object)
{
	uint32_t i, programs = 0;

	for (i = 0; i < object->n_functions; i++) {
		if (!check_function(object, &object->functions[i]))
			return false;
		programs += object->sections[object->functions[i].section].kind == SECTION_PROGRAMS;
	}
	if (!programs)
		return offend(object, "damaged: it has no program");
	return check_recursion(object);
}
