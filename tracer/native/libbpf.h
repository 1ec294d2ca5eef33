/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libbpf, looked up when it is first needed: reading recordings works without
 * it. Knows nothing of Python.
 */
#ifndef TRACELEFT_LIBBPF_H
#define TRACELEFT_LIBBPF_H

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#pragma GCC visibility push(hidden)

/* Every function of libbpf that is used. */
#define LIBBPF_FUNCTIONS(X)			\
	X(bpf_enable_stats)			\
	X(bpf_link__destroy)			\
	X(bpf_map__fd)				\
	X(bpf_map__key_size)			\
	X(bpf_map__name)			\
	X(bpf_map__reuse_fd)			\
	X(bpf_map__set_max_entries)		\
	X(bpf_map__type)			\
	X(bpf_map__value_size)			\
	X(bpf_map_create)			\
	X(bpf_map_delete_elem)			\
	X(bpf_map_get_next_key)			\
	X(bpf_map_lookup_elem)			\
	X(bpf_map_update_elem)			\
	X(bpf_obj_get_info_by_fd)		\
	X(bpf_object__close)			\
	X(bpf_object__find_map_by_name)		\
	X(bpf_object__find_program_by_name)	\
	X(bpf_object__load)			\
	X(bpf_object__next_map)			\
	X(bpf_object__next_program)		\
	X(bpf_object__open_mem)			\
	X(bpf_object__set_kversion)		\
	X(bpf_prog_get_fd_by_id)		\
	X(bpf_prog_load)			\
	X(bpf_program__attach_kprobe)		\
	X(bpf_program__attach_raw_tracepoint)	\
	X(bpf_program__attach_tracepoint)	\
	X(bpf_program__autoload)		\
	X(bpf_program__fd)			\
	X(bpf_program__insn_cnt)		\
	X(bpf_program__insns)			\
	X(bpf_program__name)			\
	X(bpf_program__set_autoload)		\
	X(bpf_program__set_insns)		\
	X(btf__find_by_name_kind)		\
	X(btf__free)				\
	X(btf__name_by_offset)			\
	X(btf__parse)				\
	X(btf__type_by_id)			\
	X(libbpf_num_possible_cpus)		\
	X(libbpf_set_print)			\
	X(ring_buffer__consume)			\
	X(ring_buffer__free)			\
	X(ring_buffer__new)

struct libbpf {
#define LIBBPF_MEMBER(name) __typeof__(name) *name;
	LIBBPF_FUNCTIONS(LIBBPF_MEMBER)
#undef LIBBPF_MEMBER
};

/* Filled in by libbpf_load(). */
extern struct libbpf libbpf;

/* Why libbpf cannot be used, and what to do. */
struct libbpf_failure {
	char what[512];
	const char *remedy;
};

/* Look libbpf up, once, whichever thread asks first, and let it print by this function. NULL, or why it failed. */
const struct libbpf_failure *libbpf_load(libbpf_print_fn_t print);

/* libbpf.h has the same loops, which call libbpf by name. */
#define for_each_program(program, object)						\
	for ((program) = libbpf.bpf_object__next_program((object), NULL); (program);	\
	     (program) = libbpf.bpf_object__next_program((object), (program)))
#define for_each_map(map, object)						\
	for ((map) = libbpf.bpf_object__next_map((object), NULL); (map);	\
	     (map) = libbpf.bpf_object__next_map((object), (map)))

#pragma GCC visibility pop

#endif
