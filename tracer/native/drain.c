// SPDX-License-Identifier: Apache-2.0
/*
 * Drain: a thread of its own empties the ring buffer, or the rings of a perf
 * buffer, into chunks; take() merges them by time. The thread fills its chunks
 * alone and takes the lock only to hand them over, so that neither side waits
 * for the other's bulk work.
 */
#include "native.h"
#include "perf.h"
#include "settle.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL
#define CHUNK_BYTES (256 * 1024)
#define PASS_RECORDS 4096
#define TAKE_BYTES (4 * 1024 * 1024)
#define HOLD_NS NSEC_PER_MSEC
#define NAP_MIN_NS (NSEC_PER_MSEC / 2)
#define NAP_MAX_NS (8 * NSEC_PER_MSEC)
#define N_CLASSES 2
#define MAX_QUEUE_BYTES (1U << 31)
#define MAX_PERF_PAGES (1U << 18)

struct chunk {
	struct chunk *next;
	uint64_t floor_ns;	/* no record in it or behind it is older, by more than HOLD_NS */
	size_t used, room;
	char data[];
};

struct queue {
	struct chunk *first, *last;
	size_t bytes;
};

struct tally {
	uint64_t dropped, undecodable;
};

struct layout {
	uint32_t fixed_size, slots_at, n_slots;
	struct tally *cpus;	/* NULL: no such event */
};

struct sequence {
	uint64_t received, highest;	/* highest: one past the highest number seen */
};

struct entry {
	uint64_t timestamp_ns;
	const char *record;
	size_t size;
};

typedef struct {
	PyObject_HEAD
	struct perf_rings *perf;	/* else: */
	struct ring_buffer *ring;
	const unsigned long *consumed, *produced;
	size_t page, ring_bytes;
	uint32_t n_layouts, n_cpus;
	struct layout *layouts;
	struct tally *strangers;	/* by CPU: records of no known event */
	struct sequence *sequences;	/* by CPU and class */
	uint64_t undecodable_elsewhere;	/* so broken that not even the CPU is known */
	uint64_t waits;			/* passes that found the queue full */

	pthread_t thread;
	pid_t owner;
	bool running, taking;
	struct queue filling;		/* the thread's own */
	uint64_t last_ns, newest_ns, pass_floor_ns;
	unsigned int pass_records;

	pthread_mutex_t lock;
	pthread_cond_t wake, arrived;
	bool stop, done;
	struct queue pending;		/* under the lock from here */
	uint64_t horizon_ns;		/* all that is older has been taken out of the ring */

	size_t bound, held_bytes;	/* held: take()'s own, not old enough to be delivered */
	char *held;
	uint64_t held_first_ns, delivered_ns, late;
	size_t queued;			/* pending + held bytes, atomic */
} DrainObject;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / NSEC_PER_SEC), .tv_nsec = (long)(ns % NSEC_PER_SEC)};
}

static void bump(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static uint64_t peek(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void free_queue(struct queue *queue)
{
	struct chunk *chunk;

	while ((chunk = queue->first)) {
		queue->first = chunk->next;
		free(chunk);
	}
	*queue = (struct queue){0};
}

static void append_chunk(struct queue *queue, struct chunk *chunk)
{
	chunk->next = NULL;
	if (queue->last)
		queue->last->next = chunk;
	else
		queue->first = chunk;
	queue->last = chunk;
}

/* Room for a record of size bytes at the queue's end, NULL without memory. */
static char *reserve(struct queue *queue, size_t size)
{
	struct chunk *chunk = queue->last;
	size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
	char *place;

	if (!chunk || chunk->room - chunk->used < size) {
		chunk = malloc(sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		chunk->used = 0;
		chunk->room = room;
		append_chunk(queue, chunk);
	}
	place = chunk->data + chunk->used;
	chunk->used += size;
	queue->bytes += size;
	return place;
}

/*
 * Move all of one queue, whose oldest record has floor_ns, to the end of
 * another; a little is copied, to keep chunks full.
 */
static void hand_over(struct queue *from, struct queue *to, uint64_t floor_ns)
{
	struct chunk *first = from->first, *chunk;

	if (!first)
		return;
	for (chunk = first; chunk; chunk = chunk->next)
		chunk->floor_ns = floor_ns;
	if (!first->next && to->last && to->last->room - to->last->used >= first->used) {
		memcpy(to->last->data + to->last->used, first->data, first->used);
		to->last->used += first->used;
		if (to->last->floor_ns > floor_ns)
			to->last->floor_ns = floor_ns;
		free(first);
	} else {
		if (to->last)
			to->last->next = first;
		else
			to->first = first;
		to->last = from->last;
	}
	to->bytes += from->bytes;
	*from = (struct queue){0};
}

/* The thread's side: one record from the ring. */

static bool is_sound(const struct layout *layout, const struct header *header)
{
	return header->length >= layout->fixed_size && stacks_are_sound(header, layout->fixed_size) &&
	       slots_are_sound(header, layout->fixed_size, layout->slots_at, layout->n_slots);
}

static void note_sequence(DrainObject *self, const struct header *header)
{
	struct sequence *sequence = &self->sequences[header->cpu * N_CLASSES + !!(header->flags & FLAG_CLASS_1)];
	uint64_t highest = sequence->highest;
	/* The record has the low 32 bits; take the full number nearest to the last one. */
	uint64_t next = highest + (uint64_t)(int64_t)(int32_t)(header->seq + 1 - (uint32_t)highest);

	sequence->received++;
	if ((int64_t)(next - highest) > 0)
		__atomic_store_n(&sequence->highest, next, __ATOMIC_RELAXED);
}

static void keep_record(DrainObject *self, const struct header *header, struct tally *tally)
{
	size_t size = ALIGN8(header->length);
	char *place = reserve(&self->filling, size);

	if (!place) {
		bump(&tally->dropped);
		return;
	}
	__atomic_add_fetch(&self->queued, size, __ATOMIC_RELAXED);
	memcpy(place, header, header->length);
	memset(place + header->length, 0, size - header->length);
}

/* As much waits as may: the rest stays where it is. The last passes are bounded by the ring itself. */
static bool is_full(const DrainObject *self)
{
	return __atomic_load_n(&self->queued, __ATOMIC_RELAXED) > self->bound &&
	       !__atomic_load_n(&self->stop, __ATOMIC_RELAXED);
}

/* Only the perf buffer's records come in memory of ours, and only there are they unsettled. */
static bool is_settled(const DrainObject *self, const struct layout *layout, void *data)
{
	struct header *header = data;

	if (!(header->flags & FLAG_UNSETTLED))
		return true;
	return self->perf && header->length >= layout->fixed_size &&
	       settle_record(header, layout->slots_at, layout->n_slots);
}

static void accept_record(void *context, void *data, size_t size)
{
	DrainObject *self = context;
	const struct header *header = data;
	const struct layout *layout;
	struct tally *tally;

	self->pass_records++;
	if (size < sizeof(*header) || header->cpu >= self->n_cpus) {
		bump(&self->undecodable_elsewhere);
		return;
	}
	note_sequence(self, header);
	layout = header->event < self->n_layouts ? &self->layouts[header->event] : NULL;
	tally = layout && layout->cpus ? &layout->cpus[header->cpu] : &self->strangers[header->cpu];
	if (tally == &self->strangers[header->cpu] || header->length < sizeof(*header) || header->length > size ||
	    !is_settled(self, layout, data) || !is_sound(layout, header)) {
		bump(&tally->undecodable);
		return;
	}
	self->last_ns = header->timestamp;
	if (header->timestamp > self->newest_ns)
		self->newest_ns = header->timestamp;
	if (header->timestamp < self->pass_floor_ns)
		self->pass_floor_ns = header->timestamp;
	keep_record(self, header, tally);
}

static int accept_from_ring(void *context, void *data, size_t size)
{
	const DrainObject *self = context;

	accept_record(context, data, size);
	return self->pass_records < PASS_RECORDS && !is_full(self) ? 0 : -EAGAIN;
}

/* One pass; true if nothing was left that was there when it began. */
static bool empty_rings(DrainObject *self, uint64_t *horizon)
{
	uint64_t before = now_ns();
	bool empty;

	self->pass_records = 0;
	self->pass_floor_ns = UINT64_MAX;
	if (is_full(self)) {
		bump(&self->waits);
		/* Nothing is held back: what is taken now makes the room that we wait for. */
		*horizon = self->newest_ns + HOLD_NS;
		return false;
	}
	if (self->perf) {
		perf_rings_read(self->perf, accept_record, self);
		*horizon = before;
		return true;
	}
	libbpf.ring_buffer__consume(self->ring);
	empty = __atomic_load_n(self->consumed, __ATOMIC_ACQUIRE) == __atomic_load_n(self->produced, __ATOMIC_ACQUIRE);
	/* Left behind: records still being written, and all behind them. */
	*horizon = empty ? before : self->last_ns;
	return empty;
}

static void *drain_main(void *context)
{
	DrainObject *self = context;
	uint64_t nap = NAP_MIN_NS, horizon;
	struct timespec until;
	bool empty, stopping = false;

	for (;;) {
		empty = empty_rings(self, &horizon);
		pthread_mutex_lock(&self->lock);
		hand_over(&self->filling, &self->pending, self->pass_floor_ns);
		if (horizon > self->horizon_ns)
			self->horizon_ns = horizon;
		if (self->pending.bytes || self->held_bytes)
			pthread_cond_broadcast(&self->arrived);
		if (stopping && (empty || !self->pass_records))
			break;
		nap = self->pass_records || !empty ? NAP_MIN_NS : nap * 2 > NAP_MAX_NS ? NAP_MAX_NS : nap * 2;
		stopping = self->stop;
		if (!stopping && self->pass_records < PASS_RECORDS) {
			until = timespec_of(now_ns() + nap);
			pthread_cond_timedwait(&self->wake, &self->lock, &until);
		}
		pthread_mutex_unlock(&self->lock);
	}
	self->done = true;
	pthread_cond_broadcast(&self->arrived);
	pthread_mutex_unlock(&self->lock);
	return NULL;
}

/* The reader's side: merge by time. */

static uint64_t timestamp_at(const char *record)
{
	return ((const struct header *)record)->timestamp;
}

static uint64_t less_hold(uint64_t ns)
{
	return ns > HOLD_NS ? ns - HOLD_NS : 0;
}

static bool is_ready(const DrainObject *self)
{
	uint64_t cut = less_hold(self->horizon_ns);

	if (self->held_bytes && self->held_first_ns <= cut)
		return true;
	return self->pending.first && self->pending.first->floor_ns <= cut;
}

static void wait_for_records(DrainObject *self, uint64_t deadline)
{
	struct timespec until = timespec_of(deadline);

	while (!self->done && !is_ready(self) && !self->stop)
		if (pthread_cond_timedwait(&self->arrived, &self->lock, &until) == ETIMEDOUT)
			break;
}

/* Take some chunks, and say up to what time they and what is held are complete. */
static uint64_t pop_chunks(DrainObject *self, struct queue *taken, bool final)
{
	struct queue *pending = &self->pending;
	struct chunk *chunk;

	while (taken->bytes < TAKE_BYTES && (chunk = pending->first)) {
		pending->first = chunk->next;
		if (!pending->first)
			pending->last = NULL;
		pending->bytes -= chunk->used;
		taken->bytes += chunk->used;
		append_chunk(taken, chunk);
	}
	if (!pending->first)
		return final && self->done ? UINT64_MAX : less_hold(self->horizon_ns);
	return less_hold(pending->first->floor_ns);
}

static size_t list_entries(const char *data, size_t size, struct entry *entries)
{
	size_t at, length, n = 0;

	for (at = 0; at < size; at += length) {
		length = ALIGN8(((const struct header *)(data + at))->length);
		entries[n++] = (struct entry){timestamp_at(data + at), data + at, length};
	}
	return n;
}

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->timestamp_ns != y->timestamp_ns)
		return x->timestamp_ns < y->timestamp_ns ? -1 : 1;
	return x->record < y->record ? -1 : x->record > y->record;
}

/* Nearly sorted as a rule: insert, and give up where it is not. */
static void sort_entries(struct entry *entries, size_t n)
{
	size_t i, j, moves = 0;
	struct entry entry;

	for (i = 1; i < n; i++) {
		entry = entries[i];
		for (j = i; j && entries[j - 1].timestamp_ns > entry.timestamp_ns; j--)
			entries[j] = entries[j - 1];
		entries[j] = entry;
		moves += i - j;
		if (moves > 16 * n) {
			qsort(entries, n, sizeof(*entries), compare_entries);
			return;
		}
	}
}

static struct entry *merge_entries(DrainObject *self, const struct queue *taken, size_t *n)
{
	size_t most = (taken->bytes + self->held_bytes) / sizeof(struct header) + 1;
	struct entry *entries = malloc(most * sizeof(*entries));
	const struct chunk *chunk;

	if (!entries)
		return NULL;
	*n = list_entries(self->held, self->held_bytes, entries);
	for (chunk = taken->first; chunk; chunk = chunk->next)
		*n += list_entries(chunk->data, chunk->used, entries + *n);
	sort_entries(entries, *n);
	return entries;
}

/* Keep what is too young for the next time. */
static int hold_back(DrainObject *self, const struct entry *entries, size_t n)
{
	size_t i, at = 0, bytes = 0;
	char *held = NULL;

	for (i = 0; i < n; i++)
		bytes += entries[i].size;
	if (bytes && !(held = malloc(bytes)))
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		memcpy(held + at, entries[i].record, entries[i].size);
		at += entries[i].size;
	}
	free(self->held);
	self->held = held;
	self->held_bytes = bytes;
	self->held_first_ns = n ? entries[0].timestamp_ns : 0;
	return 0;
}

static RecordsObject *deliver(DrainObject *self, const struct entry *entries, size_t n)
{
	RecordsObject *records;
	uint32_t *offsets;
	size_t i, bytes = 0;
	char *data;

	for (i = 0; i < n; i++)
		bytes += entries[i].size;
	records = records_alloc(bytes, (Py_ssize_t)n);
	if (!records)
		return NULL;
	data = PyBytes_AS_STRING(records->data);
	offsets = (uint32_t *)PyBytes_AS_STRING(records->offsets);
	for (i = 0, bytes = 0; i < n; i++) {
		memcpy(data + bytes, entries[i].record, entries[i].size);
		offsets[i] = (uint32_t)bytes;
		bytes += entries[i].size;
		self->late += entries[i].timestamp_ns < self->delivered_ns;
	}
	if (n && entries[n - 1].timestamp_ns > self->delivered_ns)
		self->delivered_ns = entries[n - 1].timestamp_ns;
	__atomic_sub_fetch(&self->queued, bytes, __ATOMIC_RELAXED);
	return records;
}

static PyObject *take_batch(DrainObject *self, struct queue *taken, uint64_t cut)
{
	RecordsObject *records = NULL;
	struct entry *entries;
	size_t n = 0, ready = 0;

	Py_BEGIN_ALLOW_THREADS
	entries = merge_entries(self, taken, &n);
	while (entries && ready < n && entries[ready].timestamp_ns <= cut)
		ready++;
	Py_END_ALLOW_THREADS
	if (!entries)
		return PyErr_NoMemory();
	records = deliver(self, entries, ready);
	if (records && hold_back(self, entries + ready, n - ready)) {
		Py_CLEAR(records);
		PyErr_NoMemory();
	}
	free(entries);
	return (PyObject *)records;
}

static PyObject *drain_take(DrainObject *self, PyObject *args, PyObject *kwargs)
{
	static char *keywords[] = {"timeout_ms", "final", NULL};
	struct queue taken = {0};
	int timeout_ms, final = 0;
	PyObject *records = NULL;
	bool more = true;
	uint64_t cut;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|p", keywords, &timeout_ms, &final))
		return NULL;
	if (self->taking)
		return raise_error(EBUSY, "take records", NULL);
	self->taking = true;
	while (more) {
		Py_BEGIN_ALLOW_THREADS
		pthread_mutex_lock(&self->lock);
		if (!final && timeout_ms > 0)
			wait_for_records(self, now_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC);
		cut = pop_chunks(self, &taken, final);
		more = self->pending.first;
		pthread_mutex_unlock(&self->lock);
		Py_END_ALLOW_THREADS
		Py_XSETREF(records, take_batch(self, &taken, cut));
		free_queue(&taken);
		/* An empty batch says that there is no more. */
		more = more && records && !((RecordsObject *)records)->count;
	}
	self->taking = false;
	return records;
}

/* Life of a drain. */

static void drain_join(DrainObject *self)
{
	if (!self->running)
		return;
	self->running = false;
	/* A forked child has no such thread. */
	if (self->owner != getpid())
		return;
	Py_BEGIN_ALLOW_THREADS
	pthread_mutex_lock(&self->lock);
	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	pthread_cond_broadcast(&self->wake);
	pthread_cond_broadcast(&self->arrived);
	pthread_mutex_unlock(&self->lock);
	pthread_join(self->thread, NULL);
	Py_END_ALLOW_THREADS
}

static PyObject *drain_stop(DrainObject *self, PyObject *unused)
{
	(void)unused;
	drain_join(self);
	Py_RETURN_NONE;
}

static void unmap_positions(DrainObject *self)
{
	if (self->consumed)
		munmap((void *)self->consumed, self->page);
	if (self->produced)
		munmap((void *)self->produced, self->page);
}

static void drain_dealloc(DrainObject *self)
{
	uint32_t i;

	drain_join(self);
	if (self->ring)
		libbpf.ring_buffer__free(self->ring);
	if (self->perf)
		perf_rings_close(self->perf);
	unmap_positions(self);
	free_queue(&self->filling);
	free_queue(&self->pending);
	free(self->held);
	for (i = 0; self->layouts && i < self->n_layouts; i++)
		free(self->layouts[i].cpus);
	free(self->layouts);
	free(self->strangers);
	free(self->sequences);
	PyObject_Free(self);
}

static int add_layout(DrainObject *self, PyObject *key, PyObject *value)
{
	unsigned long event = PyLong_AsUnsignedLong(key);
	unsigned int fixed, n_args, n_slots;
	struct layout *layout;

	if (PyErr_Occurred() || !PyArg_ParseTuple(value, "III", &fixed, &n_args, &n_slots))
		return -1;
	if (event > UINT16_MAX || fixed > UINT16_MAX || n_args > UINT16_MAX || n_slots > UINT16_MAX ||
	    sizeof(struct header) + 8 * ((size_t)n_args + n_slots) > fixed) {
		PyErr_Format(PyExc_ValueError, "layout of event %lu does not fit its fixed part", event);
		return -1;
	}
	layout = &self->layouts[event];
	layout->fixed_size = fixed;
	layout->slots_at = (uint32_t)sizeof(struct header) + 8 * n_args;
	layout->n_slots = n_slots;
	free(layout->cpus);
	layout->cpus = calloc(self->n_cpus, sizeof(*layout->cpus));
	if (!layout->cpus)
		PyErr_NoMemory();
	return layout->cpus ? 0 : -1;
}

static int set_up_tables(DrainObject *self, PyObject *layouts)
{
	PyObject *key, *value;
	Py_ssize_t at = 0;

	self->n_layouts = UINT16_MAX + 1;
	self->layouts = calloc(self->n_layouts, sizeof(*self->layouts));
	self->strangers = calloc(self->n_cpus, sizeof(*self->strangers));
	self->sequences = calloc((size_t)self->n_cpus * N_CLASSES, sizeof(*self->sequences));
	if (!self->layouts || !self->strangers || !self->sequences) {
		PyErr_NoMemory();
		return -1;
	}
	while (PyDict_Next(layouts, &at, &key, &value))
		if (add_layout(self, key, value))
			return -1;
	return 0;
}

static const unsigned long *map_position(int fd, size_t page, off_t offset)
{
	void *place = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, offset);

	return place == MAP_FAILED ? NULL : place;
}

static int open_ring(DrainObject *self, int fd)
{
	struct bpf_map_info info = {0};
	__u32 size = sizeof(info);
	struct log log = {0};

	if (libbpf.bpf_obj_get_info_by_fd(fd, &info, &size))
		return -errno;
	if (info.type != BPF_MAP_TYPE_RINGBUF)
		return -EINVAL;
	self->page = (size_t)sysconf(_SC_PAGESIZE);
	self->ring_bytes = info.max_entries;
	log_begin(&log);
	self->ring = libbpf.ring_buffer__new(fd, accept_from_ring, self, NULL);
	log_end();
	free(log.text);
	if (!self->ring)
		return -errno;
	self->consumed = map_position(fd, self->page, 0);
	self->produced = map_position(fd, self->page, (off_t)self->page);
	return self->consumed && self->produced ? 0 : -errno;
}

static int open_perf(DrainObject *self, int fd, unsigned int pages)
{
	if (pages > MAX_PERF_PAGES || pages & (pages - 1))
		return -EINVAL;
	self->perf = perf_rings_open(fd, self->n_cpus, pages);
	if (!self->perf)
		return -errno;
	self->ring_bytes = self->perf->bytes;
	return 0;
}

/* Signals stay with the threads that Python knows. */
static int start_thread(DrainObject *self)
{
	pthread_condattr_t monotonic;
	sigset_t all, before;
	int err;

	pthread_mutex_init(&self->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&self->wake, &monotonic);
	pthread_cond_init(&self->arrived, &monotonic);
	pthread_condattr_destroy(&monotonic);
	sigfillset(&all);
	sigdelset(&all, CONFINE_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&self->thread, NULL, drain_main, self);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	self->running = !err;
	self->owner = getpid();
	return -err;
}

static PyObject *drain_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *keywords[] = {"buffer_fd", "layouts", "queue_bytes", "perf_pages", NULL};
	unsigned int perf_pages = 0;
	unsigned long long bound;
	DrainObject *self;
	PyObject *layouts;
	int fd, cpus, err;

	if (!need_libbpf())
		return NULL;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iO!K|I", keywords, &fd, &PyDict_Type, &layouts, &bound,
					 &perf_pages))
		return NULL;
	cpus = libbpf.libbpf_num_possible_cpus();
	if (cpus < 0)
		return raise_error(cpus, "count CPUs", NULL);
	self = (DrainObject *)type->tp_alloc(type, 0);
	if (!self)
		return NULL;
	self->n_cpus = (uint32_t)cpus;
	self->bound = bound > MAX_QUEUE_BYTES ? MAX_QUEUE_BYTES : (size_t)bound;
	if (set_up_tables(self, layouts)) {
		Py_DECREF(self);
		return NULL;
	}
	err = perf_pages ? open_perf(self, fd, perf_pages) : open_ring(self, fd);
	if (!err)
		err = start_thread(self);
	if (!err)
		return (PyObject *)self;
	Py_DECREF(self);
	return raise_error(err, perf_pages ? "open perf buffer" : "open ring buffer", NULL);
}

/* The account: what was taken out of the ring and did not reach a batch. */

static int account_row(PyObject *dropped, PyObject *undecodable, const struct tally *row, uint32_t event, uint32_t cpus)
{
	uint32_t cpu;
	uint64_t n;

	for (cpu = 0; row && cpu < cpus; cpu++) {
		n = peek(&row[cpu].dropped);
		if (n && add_to_count(dropped, event, cpu, n))
			return -1;
		n = peek(&row[cpu].undecodable);
		if (n && add_to_count(undecodable, event, cpu, n))
			return -1;
	}
	return 0;
}

static int account_sequences(DrainObject *self, PyObject *dict)
{
	PyObject *key, *value;
	struct sequence *sequence;
	uint32_t i;
	int err;

	for (i = 0; i < self->n_cpus * N_CLASSES; i++) {
		sequence = &self->sequences[i];
		if (!peek(&sequence->received))
			continue;
		key = Py_BuildValue("(II)", i / N_CLASSES, i % N_CLASSES);
		value = Py_BuildValue("(KK)", (unsigned long long)peek(&sequence->received),
				      (unsigned long long)peek(&sequence->highest));
		err = key && value ? PyDict_SetItem(dict, key, value) : -1;
		Py_XDECREF(key);
		Py_XDECREF(value);
		if (err)
			return -1;
	}
	return 0;
}

/* What the rings of a perf buffer lost by their own count: None for a ring buffer, which keeps none. */
static PyObject *account_lost(DrainObject *self, bool *is_final)
{
	PyObject *dict, *key, *value;
	uint32_t cpu;
	int err = 0;

	if (!self->perf)
		Py_RETURN_NONE;
	dict = PyDict_New();
	for (cpu = 0; dict && !err && cpu < self->n_cpus; cpu++) {
		key = PyLong_FromUnsignedLong(cpu);
		value = PyLong_FromUnsignedLongLong(perf_ring_lost(&self->perf->rings[cpu], is_final));
		err = key && value ? PyDict_SetItem(dict, key, value) : -1;
		Py_XDECREF(key);
		Py_XDECREF(value);
	}
	if (err)
		Py_CLEAR(dict);
	return dict;
}

static PyObject *drain_account(DrainObject *self, PyObject *unused)
{
	PyObject *lost = NULL;
	bool is_final = true;
	PyObject *dropped = PyDict_New(), *undecodable = PyDict_New(), *sequences = PyDict_New();
	int err = dropped && undecodable && sequences ? 0 : -1;
	uint32_t i;

	(void)unused;
	for (i = 0; !err && i < self->n_layouts; i++)
		err = account_row(dropped, undecodable, self->layouts[i].cpus, i, self->n_cpus);
	if (!err)
		err = account_row(dropped, undecodable, self->strangers, UINT16_MAX + 1, self->n_cpus);
	if (!err && self->undecodable_elsewhere)
		err = add_to_count(undecodable, UINT16_MAX + 1, 0, peek(&self->undecodable_elsewhere));
	if (!err)
		err = account_sequences(self, sequences);
	if (!err)
		lost = account_lost(self, &is_final);
	if (lost)
		return Py_BuildValue("{sNsNsNsKsNsNsK}", "dropped", dropped, "undecodable", undecodable, "sequences",
				     sequences, "late", (unsigned long long)self->late, "lost", lost, "lost_is_final",
				     PyBool_FromLong(is_final), "waits", (unsigned long long)peek(&self->waits));
	Py_XDECREF(dropped);
	Py_XDECREF(undecodable);
	Py_XDECREF(sequences);
	return NULL;
}

static PyMethodDef drain_methods[] = {
	{"take", (PyCFunction)(void (*)(void))drain_take, METH_VARARGS | METH_KEYWORDS,
	 "Wait for records and return them by time; after stop(), final=True until empty returns the rest."},
	{"account", (PyCFunction)drain_account, METH_NOARGS, "Return what did not reach a batch, and sequence numbers."},
	{"stop", (PyCFunction)drain_stop, METH_NOARGS, "Empty the buffer for the last time and end the thread."},
	{NULL, NULL, 0, NULL},
};

PyTypeObject drain_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "traceleft.tracer._native.Drain",
	.tp_doc = "A thread that empties a ring or perf buffer, and the merge of its records by time.",
	.tp_basicsize = sizeof(DrainObject),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_new = drain_new,
	.tp_dealloc = (destructor)drain_dealloc,
	.tp_methods = drain_methods,
};

