// SPDX-License-Identifier: Apache-2.0
/* Reads a role and objects, each with its size before it (u32); prints a line for each: its offences, apart by tabs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "object.h"

static void print(void *to, const char *offence)
{
	(void)to;
	printf("%s\t", offence);
}

int main(int argc, char **argv)
{
	int role = argc == 2 ? object_role(argv[1]) : -1;
	uint32_t size;
	char *data;

	if (role < 0)
		return 1;
	while (fread(&size, sizeof(size), 1, stdin)) {
		/* As large as the object: who reads behind it is found. */
		data = malloc(size ? size : 1);
		if (!data || fread(data, 1, size, stdin) != size)
			return 1;
		object_check(data, size, (enum object_role)role, print, NULL);
		putchar('\n');
		free(data);
	}
	return 0;
}
