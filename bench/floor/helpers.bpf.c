// SPDX-License-Identifier: GPL-2.0
/*
 * What a tracer's programs ask of the kernel, each CALLS times in a program of
 * its own, to be run by BPF_PROG_TEST_RUN; nothing does all but that.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "helpers.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

volatile __u64 address;
volatile __u64 result;

#define MEASURED(name, what)                                                                                           \
	SEC("tc") int name(struct __sk_buff *packet)                                                                   \
	{                                                                                                              \
		__u64 words[9] = {0};                                                                                  \
		void *user = (void *)address, *task = (void *)bpf_get_current_task();                                  \
		__u32 zero = 0;                                                                                        \
                                                                                                                       \
		_Pragma("unroll") for (int i = 0; i < CALLS; i++)                                                      \
		{                                                                                                      \
			what;                                                                                          \
		}                                                                                                      \
		result = words[0] + (__u64)user + (__u64)task + zero;                                                  \
		return 0;                                                                                              \
	}

static __always_inline void reserve(void)
{
	void *record = bpf_ringbuf_reserve(&ring, 128, 0);

	if (record)
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
}

MEASURED(nothing, asm volatile("" ::: "memory"))
MEASURED(get_current_task, result = bpf_get_current_task())
MEASURED(get_current_pid_tgid, result = bpf_get_current_pid_tgid())
MEASURED(get_current_uid_gid, result = bpf_get_current_uid_gid())
MEASURED(get_current_cgroup_id, result = bpf_get_current_cgroup_id())
MEASURED(get_current_comm, bpf_get_current_comm(words, 16))
MEASURED(ktime_get_ns, result = bpf_ktime_get_ns())
MEASURED(probe_read_kernel_72, bpf_probe_read_kernel(words, 72, task))
MEASURED(probe_read_user_32, bpf_probe_read_user(words, 32, user))
MEASURED(probe_read_user_str_32, bpf_probe_read_user_str(words, 32, user))
MEASURED(lookup_percpu_array, result = (__u64)bpf_map_lookup_elem(&own, &zero))
MEASURED(lookup_hash, result = (__u64)bpf_map_lookup_elem(&hash, &zero))
MEASURED(ringbuf_reserve_and_discard_128, reserve())

char LICENSE[] SEC("license") = "GPL";
