// SPDX-License-Identifier: Apache-2.0
/*
 * Renders lines under sanitizers. Standard input: the sizes of a program and of
 * records (u64 each), the program, the records, which begin at multiples of 8.
 * Prints the lines, "python" for a record that is left to it; exits with 3 if the
 * program is refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"

static char *take(size_t size)
{
	/* To the byte, so that reading further is seen. */
	char *data = malloc(size ? size : 1);

	if (!data || fread(data, 1, size, stdin) != size)
		exit(2);
	return data;
}

static size_t split(const char *data, size_t size, uint32_t *offsets)
{
	uint32_t length;
	size_t at, n = 0;

	for (at = 0; size - at >= sizeof(length); at += ALIGN8(length)) {
		memcpy(&length, data + at, sizeof(length));
		offsets[n++] = (uint32_t)at;
		if (length < sizeof(struct header) || ALIGN8(length) > size - at)
			break;
	}
	return n;
}

int main(void)
{
	size_t n, row = 0, next, size;
	struct lines *lines;
	uint32_t *offsets;
	uint64_t sizes[2];
	const char *text;
	char *program, *data;

	if (fread(sizes, sizeof(sizes), 1, stdin) != 1)
		return 2;
	program = take(sizes[0]);
	data = take(sizes[1]);
	lines = lines_open(program, sizes[0]);
	free(program);
	if (!lines) {
		free(data);
		return 3;
	}
	offsets = calloc(sizes[1] / sizeof(uint32_t) + 1, sizeof(*offsets));
	n = split(data, sizes[1], offsets);
	while (row < n) {
		next = lines_render(lines, data, sizes[1], offsets, row, n, 1000, 512);
		text = lines_text(lines, &size);
		if (size)
			fwrite(text, 1, size, stdout);
		if (next == row)
			puts("python");
		lines_clear(lines);
		row = next == row ? row + 1 : next;
	}
	lines_close(lines);
	free(offsets);
	free(data);
	return 0;
}
