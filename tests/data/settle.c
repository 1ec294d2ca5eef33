// SPDX-License-Identifier: Apache-2.0
// Settles a made-up record as the tracer does. Input: u32 size, slots_at, n_slots, then the record's bytes; output:
// 1 or 0, whether it is sound, and what became of the bytes in hex.
#include <stdio.h>
#include <stdlib.h>

#include "settle.h"

int main(void)
{
	unsigned int numbers[3], i;
	unsigned char *data;

	if (fread(numbers, sizeof(numbers), 1, stdin) != 1)
		return 2;
	data = malloc(numbers[0]);
	if (!data || fread(data, 1, numbers[0], stdin) != numbers[0])
		return 2;
	printf("%d ", settle_record((struct header *)data, numbers[1], numbers[2]));
	for (i = 0; i < numbers[0]; i++)
		printf("%02x", data[i]);
	free(data);
	return 0;
}
