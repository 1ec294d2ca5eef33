// SPDX-License-Identifier: Apache-2.0
/* Reads whether calls are safe (one byte) and instructions; prints what find_hazard() finds. */
#include <stdio.h>
#include <stdlib.h>

#include "hazard.h"

int main(void)
{
	struct bpf_insn *insns = malloc(1 << 20);
	size_t count;
	int safe = getchar();
	struct hazard found;

	if (!insns || safe == EOF)
		return 1;
	count = fread(insns, sizeof(*insns), (1 << 20) / sizeof(*insns), stdin);
	found = find_hazard(insns, count, safe);
	printf("%d %zu\n", found.kind, found.at);
	free(insns);
	return 0;
}
