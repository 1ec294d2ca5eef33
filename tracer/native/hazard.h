/* SPDX-License-Identifier: Apache-2.0 */
/* What no program may hold that a verifier gets to see. */
#ifndef TRACELEFT_HAZARD_H
#define TRACELEFT_HAZARD_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>

enum hazard_kind {
	HAZARD_NONE,
	/* A number to which a pointer to a map's value is added. */
	HAZARD_SUM,
	/* A call of another function, whose registers are not followed. */
	HAZARD_CALL,
	/* No memory to look for either. */
	HAZARD_UNKNOWN,
};

struct hazard {
	enum hazard_kind kind;
	size_t at;
};

/*
 * Look for the sum of a number and a pointer to a map's value, in that order:
 * the verifiers of 4.14 to 4.19.0 follow a null pointer there, with a lock held
 * (fixed by 0962590e5533 in 4.20). Every path is followed; where paths meet, a
 * register may hold what it holds on any of them. calls_are_safe: the kernel
 * is known to have the fix, so calls of functions are allowed.
 */
struct hazard find_hazard(const struct bpf_insn *insns, size_t count, bool calls_are_safe);

#endif
