// SPDX-License-Identifier: Apache-2.0
/*
 * A perf buffer, opened and read without libbpf's: no wake-up per record, no
 * callback's say in how far a pass goes, and a parser that trusts nothing
 * that it finds in a ring.
 */
#include "perf.h"
#include "libbpf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Since 6.0, not in older headers. */
#define FORMAT_LOST (1U << 4)
/* Room is given back to the kernel after so many bytes at most. */
#define GIVE_BACK_BYTES (64 * 1024)
#define RAW_AT (sizeof(struct perf_event_header) + sizeof(uint32_t))

struct lost {
	uint64_t id, lost;
};

/* Bytes of the ring from a position on, which goes round at its end. */
static void copy_out(const struct perf_ring *ring, uint64_t position, void *to, size_t bytes)
{
	size_t at = position & (ring->size - 1), first = ring->size - at;

	if (first > bytes)
		first = bytes;
	memcpy(to, ring->data + at, first);
	memcpy((char *)to + first, ring->data, bytes - first);
}

/* A sample's data, which begins behind its own u32 size and is padded at its end. */
static void pass_sample(const struct perf_ring *ring, uint64_t position, size_t bytes, char *room,
			perf_record_fn pass, void *context)
{
	uint32_t size = 0;

	if (bytes >= RAW_AT)
		copy_out(ring, position + sizeof(struct perf_event_header), &size, sizeof(size));
	if (bytes < RAW_AT || size > bytes - RAW_AT)
		size = 0;
	copy_out(ring, position + RAW_AT, room, size);
	pass(context, room, size);
}

static void count_lost(struct perf_ring *ring, uint64_t position, size_t bytes)
{
	struct lost lost;

	if (bytes < sizeof(struct perf_event_header) + sizeof(lost))
		return;
	copy_out(ring, position + sizeof(struct perf_event_header), &lost, sizeof(lost));
	ring->lost += lost.lost;
}

static void give_back(struct perf_ring *ring, uint64_t tail)
{
	__atomic_store_n(&ring->page->data_tail, tail, __ATOMIC_RELEASE);
}

void perf_ring_read(struct perf_ring *ring, char *room, perf_record_fn pass, void *context)
{
	uint64_t head = __atomic_load_n(&ring->page->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = ring->page->data_tail, given = tail;
	struct perf_event_header header;

	while (tail != head) {
		header.size = 0;
		if (head - tail <= ring->size && head - tail >= sizeof(header))
			copy_out(ring, tail, &header, sizeof(header));
		/* No telling where the next record begins: let go of all. */
		if (header.size < sizeof(header) || header.size > head - tail) {
			pass(context, room, 0);
			break;
		}
		if (header.type == PERF_RECORD_SAMPLE)
			pass_sample(ring, tail, header.size, room, pass, context);
		else if (header.type == PERF_RECORD_LOST)
			count_lost(ring, tail, header.size);
		tail += header.size;
		if (tail - given >= GIVE_BACK_BYTES) {
			give_back(ring, tail);
			given = tail;
		}
	}
	give_back(ring, head);
}

void perf_rings_read(struct perf_rings *self, perf_record_fn pass, void *context)
{
	uint32_t cpu;

	for (cpu = 0; cpu < self->n_cpus; cpu++)
		if (self->rings[cpu].page)
			perf_ring_read(&self->rings[cpu], self->room, pass, context);
}

uint64_t perf_ring_lost(const struct perf_ring *ring, bool *is_final)
{
	uint64_t values[2] = {0};	/* the counter's own value, and what was lost */

	if (!ring->page)
		return 0;
	if (ring->counts_lost && read(ring->fd, values, sizeof(values)) == sizeof(values) && values[1] >= ring->lost)
		return values[1];
	*is_final = false;
	return ring->lost;
}

static int open_event(uint32_t cpu, size_t ring_bytes, uint64_t read_format)
{
	/* A wake-up each time that a ring is full: nobody waits for it, and each costs an interrupt. */
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_BPF_OUTPUT,
		.sample_type = PERF_SAMPLE_RAW,
		.sample_period = 1,
		.read_format = read_format,
		.watermark = 1,
		.wakeup_watermark = ring_bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)ring_bytes,
	};

	return (int)syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/* A CPU that is offline has no ring; that is not an error. */
static int open_ring(struct perf_ring *ring, int map_fd, uint32_t cpu, size_t page_bytes)
{
	void *place;

	ring->fd = open_event(cpu, ring->size, FORMAT_LOST);
	ring->counts_lost = ring->fd >= 0;
	if (ring->fd < 0 && errno == EINVAL)
		ring->fd = open_event(cpu, ring->size, 0);
	if (ring->fd < 0)
		return errno == ENODEV ? 0 : -1;
	place = mmap(NULL, page_bytes + ring->size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (place == MAP_FAILED)
		return -1;
	ring->page = place;
	ring->data = (const char *)place + page_bytes;
	if (libbpf.bpf_map_update_elem(map_fd, &cpu, &ring->fd, BPF_ANY))
		return -1;
	return ioctl(ring->fd, PERF_EVENT_IOC_ENABLE, 0);
}

struct perf_rings *perf_rings_open(int map_fd, uint32_t n_cpus, uint32_t pages)
{
	struct perf_rings *self = calloc(1, sizeof(*self) + n_cpus * sizeof(*self->rings));
	int error;
	uint32_t cpu;

	if (!self)
		return NULL;
	self->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	self->n_cpus = n_cpus;
	for (cpu = 0; cpu < n_cpus; cpu++)
		self->rings[cpu].fd = -1;
	self->room = malloc(PERF_RECORD_MAX);
	for (cpu = 0; self->room && cpu < n_cpus; cpu++) {
		self->rings[cpu].size = pages * self->page_bytes;
		if (open_ring(&self->rings[cpu], map_fd, cpu, self->page_bytes))
			break;
		self->bytes += self->rings[cpu].page ? self->rings[cpu].size : 0;
	}
	if (cpu == n_cpus && self->bytes)
		return self;
	error = cpu == n_cpus ? ENODEV : errno;
	perf_rings_close(self);
	errno = error;
	return NULL;
}

void perf_rings_close(struct perf_rings *self)
{
	struct perf_ring *ring;

	for (ring = self->rings; ring < self->rings + self->n_cpus; ring++) {
		if (ring->page)
			munmap(ring->page, self->page_bytes + ring->size);
		if (ring->fd >= 0)
			close(ring->fd);
	}
	free(self->room);
	free(self);
}
