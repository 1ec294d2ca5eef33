/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TRACELEFT_ROLLUP_H
#define TRACELEFT_ROLLUP_H

#include "filter.h"

#if HAS_RAW_TRACEPOINT
/* config.rollup: whether calls become records as well, and which fields of a key are filled. */
#define ROLLUP_ON 1
#define ROLLUP_ONLY 2
#define ROLLUP_BUCKETS 4
#define ROLLUP_EVENT 8
#define ROLLUP_ERROR 16
#define ROLLUP_CPU 32
#define ROLLUP_PID 64
#define ROLLUP_TID 128
#define ROLLUP_UID 256
#define ROLLUP_GID 512
#define ROLLUP_CGROUP 1024
#define ROLLUP_COMM 2048

/* In a key's event: what came when there was no room for its group. */
#define ROLLUP_OTHER 0xffff

/* A histogram's bucket is 1/32 of its power of two wide. */
#define SUB_BITS 5

/* What does not belong to the key is 0; so is the bucket except in rollup_buckets. */
struct rollup_key {
	__u16 event;
	__u16 error;
	__u16 cpu;
	__u16 bucket;
	__u32 tgid;
	__u32 tid;
	__u32 uid;
	__u32 gid;
	__u64 cgroup_id;
	__u64 comm[2];
};

struct rollup_cell {
	__u64 calls;
	__u64 errors;
	__u64 durations;
	__u64 total_ns;
	__u64 min_ns;
	__u64 max_ns;
	__u64 moves;
	__u64 bytes;
};

_Static_assert(sizeof(struct rollup_key) == 48, "rollup_key");
_Static_assert(sizeof(struct rollup_cell) == 64, "rollup_cell");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, struct rollup_key);
	__type(value, struct rollup_cell);
} rollups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rollup_key);
	__type(value, __u64);
} rollup_buckets SEC(".maps");

static __always_inline void fill_rollup_key(struct rollup_key *key, __u32 wanted, __u32 event, __s64 ret,
					    const void *current)
{
	__u64 pid_tgid = 0, uid_gid = 0;

	if (wanted & ROLLUP_EVENT)
		key->event = event;
	if (wanted & ROLLUP_ERROR && ret < 0 && ret >= -MAX_ERROR)
		key->error = -ret;
	if (wanted & ROLLUP_CPU)
		key->cpu = bpf_get_smp_processor_id();
	if (wanted & (ROLLUP_PID | ROLLUP_TID))
		pid_tgid = find_pid_tgid(current);
	if (wanted & ROLLUP_PID)
		key->tgid = pid_tgid >> 32;
	if (wanted & ROLLUP_TID)
		key->tid = pid_tgid;
	if (wanted & (ROLLUP_UID | ROLLUP_GID))
		uid_gid = find_uid_gid(current);
	if (wanted & ROLLUP_UID)
		key->uid = uid_gid;
	if (wanted & ROLLUP_GID)
		key->gid = uid_gid >> 32;
	if (wanted & ROLLUP_CGROUP)
		key->cgroup_id = find_cgroup_id(current);
	if (wanted & ROLLUP_COMM)
		find_comm(current, key->comm);
}

/* This CPU's cell of a group; of the one for all others when the map is full, which the key then names. */
static __always_inline struct rollup_cell *find_cell(struct rollup_key *key)
{
	struct rollup_cell *cell = bpf_map_lookup_elem(&rollups, key);
	struct rollup_cell fresh = {};
	struct rollup_key other = { .event = ROLLUP_OTHER };

	if (likely(cell))
		return cell;
	bpf_map_update_elem(&rollups, key, &fresh, BPF_NOEXIST);
	cell = bpf_map_lookup_elem(&rollups, key);
	if (cell)
		return cell;
	*key = other;
	return bpf_map_lookup_elem(&rollups, key);
}

/* The bucket of a value as histogram.py has it. */
static __always_inline __u32 find_bucket(__u64 value)
{
	__u64 rest = value >> SUB_BITS;
	__u32 shift = 0;

	if (rest >> 32) {
		rest >>= 32;
		shift += 32;
	}
	if (rest >> 16) {
		rest >>= 16;
		shift += 16;
	}
	if (rest >> 8) {
		rest >>= 8;
		shift += 8;
	}
	if (rest >> 4) {
		rest >>= 4;
		shift += 4;
	}
	if (rest >> 2) {
		rest >>= 2;
		shift += 2;
	}
	if (rest >> 1)
		shift++;
	return (shift << SUB_BITS) + (__u32)(value >> shift);
}

/* CPUs share buckets. One that finds no room is missed by who adds them up. */
static __always_inline void count_bucket(struct rollup_key *key, __u64 duration_ns)
{
	__u64 *count, one = 1;

	key->bucket = find_bucket(duration_ns);
	count = bpf_map_lookup_elem(&rollup_buckets, key);
	if (!count) {
		if (!bpf_map_update_elem(&rollup_buckets, key, &one, BPF_NOEXIST))
			return;
		count = bpf_map_lookup_elem(&rollup_buckets, key);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Whether the call goes on to its handler. is_moved: what it returned are bytes that it moved. */
static __always_inline int roll_up(const struct config *config, __u32 event, __s64 ret, __u32 is_moved,
				   __u64 duration_ns, const void *current)
{
	__u32 wanted = config->rollup;
	struct rollup_key key = {};
	struct rollup_cell *cell;

	fill_rollup_key(&key, wanted, event, ret, current);
	cell = find_cell(&key);
	if (!cell)
		return !(wanted & ROLLUP_ONLY);
	cell->calls++;
	if (ret < 0 && ret >= -MAX_ERROR)
		cell->errors++;
	if (is_moved && ret >= 0) {
		cell->moves++;
		cell->bytes += ret;
	}
	if (duration_ns) {
		if (!cell->durations || duration_ns < cell->min_ns)
			cell->min_ns = duration_ns;
		if (duration_ns > cell->max_ns)
			cell->max_ns = duration_ns;
		cell->durations++;
		cell->total_ns += duration_ns;
		if (wanted & ROLLUP_BUCKETS)
			count_bucket(&key, duration_ns);
	}
	return !(wanted & ROLLUP_ONLY);
}

/* A call that does not return, at its entry. */
static __always_inline int roll_up_entry(const struct config *config, __u32 event, const void *current)
{
	if (config->flags & (CONFIG_SUCCESS_ONLY | CONFIG_FAILED_ONLY | CONFIG_ERRNO))
		return 0;
	return roll_up(config, event, 0, 0, 0, current);
}

static __always_inline int roll_up_exit(const struct config *config, __u32 event, __s64 ret, const struct task *task,
					__u32 is_moved, struct cpu_state *state, const void *current)
{
	__u64 duration_ns = 0;

	if (config->flags & CONFIG_TIMES && task && task->entry_ns)
		duration_ns = bpf_ktime_get_ns() - task->entry_ns;
	state->duration_ns = duration_ns;
	return roll_up(config, event, ret, is_moved, duration_ns, current);
}
#endif

#endif
