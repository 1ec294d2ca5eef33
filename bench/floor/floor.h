/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FLOOR_H
#define FLOOR_H

#define FLOOR_CPUS 64
#define FLOOR_PATH_BYTES 32

/* 128 bytes: the fields that a record of traceleft's has (docs/reference/schema.md, section 2). */
struct floor_record {
	__u32 length;
	__u16 event;
	__u16 flags;
	__u64 timestamp;
	__u32 seq;
	__u32 cpu;
	__u32 tgid;
	__u32 tid;
	__u32 uid;
	__u32 gid;
	__u64 cgroup_id;
	__s64 ret;
	__u64 duration;
	char comm[16];
	__u64 args[6];
};

/* The same with a pointer argument's slot and room for a short path. */
struct floor_path_record {
	struct floor_record fixed;
	__u64 slot;
	char path[FLOOR_PATH_BYTES];
};

/* What can be had without a helper that asks who the caller is. */
struct floor_bare_record {
	__u64 timestamp;
	__u64 pid_tgid;
	__s64 ret;
	__u64 number;
	__u64 args[6];
};

_Static_assert(sizeof(struct floor_record) == 128, "the size of a record without pointers");

#endif
