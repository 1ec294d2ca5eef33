/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_EXEC_H
#define TRACELEFT_EXEC_H

#include "syscall.h"

#if HAS_SCRATCH
#define ENVIRONMENT_MAX 512
#define AUXV_MAX 40
#define AT_EXECFN 31

/*
 * The start of a new image's stack, as fs/binfmt_elf.c lays it out: argc, argv,
 * a null, envp, a null, the auxiliary vector. Its pages are present.
 */
struct new_stack {
	__u64 argv;
	__u64 envp;
};

static __always_inline struct new_stack find_new_stack(const void *regs)
{
	struct new_stack stack = {};
	__u64 sp = 0, argc = 0;

	bpf_probe_read_kernel(&sp, sizeof(sp), regs + offsetof(struct pt_regs, sp));
	bpf_probe_read_user(&argc, sizeof(argc), (void *)sp);
	stack.argv = sp + 8;
	stack.envp = stack.argv + 8 * (argc + 1);
	return stack;
}

/* The address of the name that the image was executed by, 0 where it is not found. */
static __always_inline __u64 find_executed_name(const struct new_stack *stack)
{
#if HAS_LOOPS
	__u64 address = stack->envp, pair[2];
	int i;

	for (i = 0; i < ENVIRONMENT_MAX; i++) {
		pair[0] = 0;
		if (bpf_probe_read_user(pair, sizeof(pair[0]), (void *)address))
			return 0;
		address += sizeof(pair[0]);
		if (!pair[0])
			break;
	}
	for (i = 0; i < AUXV_MAX; i++) {
		pair[0] = 0;
		if (bpf_probe_read_user(pair, sizeof(pair), (void *)address) || !pair[0])
			return 0;
		if (pair[0] == AT_EXECFN)
			return pair[1];
		address += sizeof(pair);
	}
#endif
	return 0;
}

#endif

#endif
