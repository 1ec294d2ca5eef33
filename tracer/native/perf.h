/* SPDX-License-Identifier: Apache-2.0 */
/* A perf buffer: one ring a CPU, read by one thread. Knows nothing of Python. */
#ifndef TRACELEFT_PERF_H
#define TRACELEFT_PERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/perf_event.h>

#pragma GCC visibility push(hidden)

/* A record has a 16-bit size, its header included. */
#define PERF_RECORD_MAX 65536

/* One CPU's ring: the kernel writes up to data_head, we give back up to data_tail. */
struct perf_ring {
	struct perf_event_mmap_page *page;
	const char *data;
	size_t size;		/* a power of two */
	uint64_t lost;		/* what PERF_RECORD_LOST said so far */
	int fd;			/* -1: the CPU was offline */
	bool counts_lost;	/* the kernel keeps count by itself (6.0 and later) */
};

struct perf_rings {
	size_t page_bytes, bytes;	/* bytes: of all rings */
	uint32_t n_cpus;
	char *room;		/* one record, aligned, of PERF_RECORD_MAX bytes */
	struct perf_ring rings[];
};

/* Called with each record; of size 0 for what the ring held in place of one. */
/* The data are the caller's to change until it returns. */
typedef void (*perf_record_fn)(void *context, void *data, size_t size);

/* Open a ring of so many pages, a power of two, on each CPU and put it into the map; NULL and errno if that fails. */
struct perf_rings *perf_rings_open(int map_fd, uint32_t n_cpus, uint32_t pages);
void perf_rings_close(struct perf_rings *self);

/* Pass on what the rings held when this was called. */
void perf_rings_read(struct perf_rings *self, perf_record_fn pass, void *context);
void perf_ring_read(struct perf_ring *ring, char *room, perf_record_fn pass, void *context);

/* What a ring lost; *is_final is cleared where only PERF_RECORD_LOST tells, which comes with a later record that fits. */
uint64_t perf_ring_lost(const struct perf_ring *ring, bool *is_final);

#pragma GCC visibility pop

#endif
