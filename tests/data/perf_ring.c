// SPDX-License-Identifier: Apache-2.0
// Reads a made-up perf ring as the tracer does. Input: u64 size, head, tail, then the ring's bytes; output: what was
// passed on as a line "size: bytes in hex", then "lost N" and "tail N".
#include <stdio.h>
#include <stdlib.h>

#include "perf.h"

static void show(void *context, void *data, size_t size)
{
	const unsigned char *bytes = data;
	size_t i;

	printf("%zu:", size);
	for (i = 0; i < size; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

int main(void)
{
	struct perf_event_mmap_page page = {0};
	struct perf_ring ring = {.page = &page, .fd = -1};
	char *room = malloc(PERF_RECORD_MAX), *data;
	unsigned long long size, head, tail;

	if (fread(&size, 8, 1, stdin) != 1 || fread(&head, 8, 1, stdin) != 1 || fread(&tail, 8, 1, stdin) != 1)
		return 2;
	data = malloc(size);
	if (fread(data, 1, size, stdin) != size)
		return 2;
	page.data_head = head;
	page.data_tail = tail;
	ring.data = data;
	ring.size = size;
	perf_ring_read(&ring, room, show, NULL);
	printf("lost %llu\ntail %llu\n", (unsigned long long)ring.lost, (unsigned long long)page.data_tail);
	free(data);
	free(room);
	return 0;
}
