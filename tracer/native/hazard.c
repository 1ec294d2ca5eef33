// SPDX-License-Identifier: Apache-2.0
#include "hazard.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What a register or a stack slot may hold. */
#define NUMBER 1
#define VALUE 2
#define STACK 4

#define REGISTERS 11
#define FRAME 10
#define SLOTS 64
#define SLOT_BYTES 8
#define LOOKUP_ELEM 1
#define GET_LOCAL_STORAGE 81
#define PSEUDO_MAP_VALUE 2
#define PSEUDO_MAP_IDX_VALUE 6
#define PSEUDO_CALL 1

/* What is known before an instruction; a register that no path has set holds nothing. */
struct known {
	uint8_t registers[REGISTERS];
	uint8_t slots[SLOTS];
	uint8_t is_reached;
};

struct walk {
	const struct bpf_insn *insns;
	size_t count;
	struct known *known;
	size_t *waiting;
	size_t waiting_count;
	uint8_t *is_waiting;
};

/* Join what is known on one path with what was known before; whether that was news. */
static bool join(struct known *into, const struct known *from)
{
	uint8_t *to = (uint8_t *)into;
	const uint8_t *with = (const uint8_t *)from;
	uint8_t news = 0;
	size_t i;

	for (i = 0; i < sizeof(*into); i++) {
		news |= with[i] & ~to[i];
		to[i] |= with[i];
	}
	return news;
}

static void go_to(struct walk *walk, int64_t at, const struct known *state)
{
	/* The verifier refuses a jump that leads out of the program. */
	if (at < 0 || (size_t)at >= walk->count)
		return;
	if (join(&walk->known[at], state) && !walk->is_waiting[at]) {
		walk->is_waiting[at] = 1;
		walk->waiting[walk->waiting_count++] = at;
	}
}

static int slot_of(const struct bpf_insn *insn, unsigned base)
{
	int slot = (insn->off + SLOTS * SLOT_BYTES) / SLOT_BYTES;

	return base == FRAME && insn->off < 0 && insn->off >= -SLOTS * SLOT_BYTES ? slot : -1;
}

static uint8_t all_slots(const struct known *state)
{
	uint8_t all = 0;
	int i;

	for (i = 0; i < SLOTS; i++)
		all |= state->slots[i];
	return all;
}

/* A load gives a pointer only if it reads the stack, and a whole slot. */
static uint8_t loaded(const struct known *state, const struct bpf_insn *insn)
{
	int slot = slot_of(insn, insn->src_reg);

	if (slot >= 0)
		return state->slots[slot] ? state->slots[slot] : NUMBER;
	return NUMBER | (state->registers[insn->src_reg] & STACK ? all_slots(state) : 0);
}

static void store(struct known *state, const struct bpf_insn *insn, uint8_t held)
{
	int slot = slot_of(insn, insn->dst_reg), i;

	if (slot >= 0) {
		state->slots[slot] = held;
		return;
	}
	/* Which slot, is not followed. */
	if (state->registers[insn->dst_reg] & STACK)
		for (i = 0; i < SLOTS; i++)
			state->slots[i] |= held;
}

/* What makes an address of a map's value of a number: 4.14 does so before it refuses the last two. */
static bool is_hazard(const struct bpf_insn *insn, uint8_t to, uint8_t with)
{
	unsigned operation = BPF_OP(insn->code);

	return (operation == BPF_ADD || operation == BPF_SUB || operation == BPF_AND) && to & NUMBER && with & VALUE;
}

static bool compute(struct known *state, const struct bpf_insn *insn)
{
	uint8_t *to = &state->registers[insn->dst_reg];
	uint8_t with = BPF_SRC(insn->code) == BPF_X ? state->registers[insn->src_reg] : NUMBER;
	unsigned operation = BPF_OP(insn->code);

	if (BPF_CLASS(insn->code) == BPF_ALU) {
		*to = NUMBER;
		return false;
	}
	if (is_hazard(insn, *to, with))
		return true;
	if (operation == BPF_MOV)
		*to = with;
	else if (operation == BPF_ADD || operation == BPF_SUB)
		/* Bounds that contradict each other turn an address into a number. */
		*to |= with | NUMBER;
	else
		*to = NUMBER;
	return false;
}

static void call(struct known *state, const struct bpf_insn *insn)
{
	memset(state->registers, 0, 6);
	state->registers[0] = NUMBER;
	/* A function may return what it looked up. */
	if (insn->src_reg || insn->imm == LOOKUP_ELEM || insn->imm == GET_LOCAL_STORAGE)
		state->registers[0] |= VALUE;
}

static void load_wide(struct known *state, const struct bpf_insn *insn)
{
	uint8_t held = 0;

	/* Of a map nothing can be made but an argument. */
	if (insn->src_reg == 0)
		held = NUMBER;
	else if (insn->src_reg == PSEUDO_MAP_VALUE || insn->src_reg == PSEUDO_MAP_IDX_VALUE)
		held = VALUE;
	state->registers[insn->dst_reg] = held;
}

/* Follow one instruction. Registers beyond the last are the verifier's to refuse, and hold nothing here. */
static enum hazard_kind step(struct walk *walk, size_t at, struct known *state, bool calls_are_safe)
{
	const struct bpf_insn *insn = &walk->insns[at];
	int64_t next = (int64_t)at + 1;

	if (insn->dst_reg >= REGISTERS || insn->src_reg >= REGISTERS)
		return HAZARD_NONE;
	switch (BPF_CLASS(insn->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		if (compute(state, insn))
			return HAZARD_SUM;
		break;
	case BPF_LD:
		load_wide(state, insn);
		next++;
		break;
	case BPF_LDX:
		state->registers[insn->dst_reg] = loaded(state, insn);
		break;
	case BPF_ST:
		store(state, insn, NUMBER);
		break;
	case BPF_STX:
		store(state, insn, BPF_SIZE(insn->code) == BPF_DW ? state->registers[insn->src_reg] : NUMBER);
		/* An atomic operation may give back what was there. */
		if (BPF_MODE(insn->code) == BPF_XADD && insn->imm)
			state->registers[BPF_OP(insn->imm) == 0xf0 ? 0 : insn->src_reg] |= NUMBER;
		break;
	default:
		if (BPF_OP(insn->code) == BPF_EXIT)
			return HAZARD_NONE;
		if (BPF_OP(insn->code) == BPF_CALL) {
			if (insn->src_reg == PSEUDO_CALL && !calls_are_safe)
				return HAZARD_CALL;
			call(state, insn);
			break;
		}
		go_to(walk, next + insn->off, state);
		if (BPF_OP(insn->code) == BPF_JA)
			return HAZARD_NONE;
	}
	go_to(walk, next, state);
	return HAZARD_NONE;
}

static struct hazard follow(struct walk *walk, bool calls_are_safe)
{
	struct hazard found = {HAZARD_NONE, 0};
	struct known state = {.is_reached = 1};

	state.registers[FRAME] = STACK;
	go_to(walk, 0, &state);
	while (walk->waiting_count) {
		found.at = walk->waiting[--walk->waiting_count];
		walk->is_waiting[found.at] = 0;
		state = walk->known[found.at];
		found.kind = step(walk, found.at, &state, calls_are_safe);
		if (found.kind != HAZARD_NONE)
			return found;
	}
	return found;
}

struct hazard find_hazard(const struct bpf_insn *insns, size_t count, bool calls_are_safe)
{
	struct walk walk = {.insns = insns, .count = count};
	struct hazard found = {HAZARD_UNKNOWN, 0};

	walk.known = calloc(count + 1, sizeof(*walk.known));
	walk.waiting = calloc(count + 1, sizeof(*walk.waiting));
	walk.is_waiting = calloc(count + 1, 1);
	if (walk.known && walk.waiting && walk.is_waiting)
		found = follow(&walk, calls_are_safe);
	free(walk.known);
	free(walk.waiting);
	free(walk.is_waiting);
	return found;
}
