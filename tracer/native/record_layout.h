/* SPDX-License-Identifier: Apache-2.0 */
/* Made from traceleft/record_layout.py by scripts/make_record_header.py; do not edit. */
#ifndef TRACELEFT_RECORD_LAYOUT_H
#define TRACELEFT_RECORD_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

struct header {
	uint32_t length;
	uint16_t event;
	uint16_t flags;
	uint64_t timestamp;
	uint32_t seq;
	uint32_t cpu;
	uint32_t tgid;
	uint32_t tid;
	uint32_t uid;
	uint32_t gid;
	uint64_t cgroup_id;
	int64_t ret;
	uint64_t duration;
	char comm[16];
};

struct slot {
	uint16_t offset;
	uint16_t length;
	int32_t status;
};

_Static_assert(sizeof(struct header) == 80, "header");
_Static_assert(offsetof(struct header, length) == 0, "length");
_Static_assert(offsetof(struct header, event) == 4, "event");
_Static_assert(offsetof(struct header, flags) == 6, "flags");
_Static_assert(offsetof(struct header, timestamp) == 8, "timestamp");
_Static_assert(offsetof(struct header, seq) == 16, "seq");
_Static_assert(offsetof(struct header, cpu) == 20, "cpu");
_Static_assert(offsetof(struct header, tgid) == 24, "tgid");
_Static_assert(offsetof(struct header, tid) == 28, "tid");
_Static_assert(offsetof(struct header, uid) == 32, "uid");
_Static_assert(offsetof(struct header, gid) == 36, "gid");
_Static_assert(offsetof(struct header, cgroup_id) == 40, "cgroup_id");
_Static_assert(offsetof(struct header, ret) == 48, "ret");
_Static_assert(offsetof(struct header, duration) == 56, "duration");
_Static_assert(offsetof(struct header, comm) == 64, "comm");
_Static_assert(sizeof(struct slot) == 8, "slot");
_Static_assert(offsetof(struct slot, offset) == 0, "offset");
_Static_assert(offsetof(struct slot, length) == 2, "length");
_Static_assert(offsetof(struct slot, status) == 4, "status");

#define FLAG_NO_RETURN 1
#define FLAG_NEW_STACK 2
#define FLAG_CLASS_1 4
#define FLAG_DURATION 8
#define FLAG_UNFINISHED 16
#define FLAG_UNSETTLED 32
#define FLAG_STACKS 64
#define FLAG_COUNTED 128
#define STATUS_LONGER 0x7fffffff
#define STATUS_NOT_READ (-1000)
#define LENGTH_IS_TEXT 0x4000
#define LENGTH_IS_CHUNKS 0x8000
#define LENGTH_MASK 0x3fff
/* The ids of a record's stacks are the first of its tail. */
#define STACK_IDS_BYTES 16
#define MAX_ERROR 4095

#endif
