/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an object of a battery may do: trace, and no more. A helper, a type of
 * map or a section that no template uses does not belong here.
 */
#ifndef TRACELEFT_ALLOWED_H
#define TRACELEFT_ALLOWED_H

#include "object.h"

#include <elf.h>
#include <linux/bpf.h>

#define BY_CORE (1u << ROLE_CORE)
#define BY_HANDLERS (1u << ROLE_HANDLER)
#define BY_BOTH (BY_CORE | BY_HANDLERS)

/*
 * Helpers, and who may call them. The core's programs find who calls, count
 * and jump to handlers; those of one event read its arguments; both write
 * records.
 */
static const struct {
	enum bpf_func_id helper;
	unsigned roles;
} allowed_helpers[] = {
	{BPF_FUNC_map_lookup_elem, BY_BOTH},
	{BPF_FUNC_map_update_elem, BY_BOTH},
	{BPF_FUNC_map_delete_elem, BY_BOTH},
	{BPF_FUNC_probe_read, BY_BOTH},
	{BPF_FUNC_ktime_get_ns, BY_BOTH},
	{BPF_FUNC_get_smp_processor_id, BY_BOTH},
	{BPF_FUNC_tail_call, BY_CORE},
	{BPF_FUNC_get_current_pid_tgid, BY_BOTH},
	{BPF_FUNC_get_current_uid_gid, BY_BOTH},
	{BPF_FUNC_get_current_comm, BY_BOTH},
	{BPF_FUNC_perf_event_output, BY_BOTH},
	{BPF_FUNC_get_stackid, BY_HANDLERS},
	{BPF_FUNC_get_current_task, BY_BOTH},
	{BPF_FUNC_current_task_under_cgroup, BY_BOTH},
	{BPF_FUNC_probe_read_str, BY_HANDLERS},
	{BPF_FUNC_get_current_cgroup_id, BY_BOTH},
	{BPF_FUNC_probe_read_user, BY_HANDLERS},
	{BPF_FUNC_probe_read_kernel, BY_BOTH},
	{BPF_FUNC_probe_read_user_str, BY_HANDLERS},
	{BPF_FUNC_probe_read_kernel_str, BY_HANDLERS},
	{BPF_FUNC_ringbuf_output, BY_BOTH},
	{BPF_FUNC_ringbuf_reserve, BY_BOTH},
	{BPF_FUNC_ringbuf_submit, BY_BOTH},
	{BPF_FUNC_get_current_task_btf, BY_CORE},
	{BPF_FUNC_task_pt_regs, BY_CORE},
};

/* Both roles see the same maps: the core makes them, handlers use them again. */
static const enum bpf_map_type allowed_maps[] = {
	BPF_MAP_TYPE_HASH,
	BPF_MAP_TYPE_ARRAY,
	BPF_MAP_TYPE_PROG_ARRAY,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY,
	BPF_MAP_TYPE_PERCPU_HASH,
	BPF_MAP_TYPE_PERCPU_ARRAY,
	BPF_MAP_TYPE_STACK_TRACE,
	BPF_MAP_TYPE_CGROUP_ARRAY,
	BPF_MAP_TYPE_LRU_HASH,
	BPF_MAP_TYPE_RINGBUF,
};

#define ALLOWED_MAP_FLAGS BPF_F_NO_PREALLOC
/* What the entries of all maps take, before the loader sizes some of them for a trace. */
#define MAP_BYTES_MAX (256u << 20)

enum section_kind {
	SECTION_FIRST,
	SECTION_NAMES,
	SECTION_SYMBOLS,
	SECTION_FUNCTIONS,
	SECTION_PROGRAMS,
	SECTION_MAPS,
	SECTION_BTF,
	SECTION_BTF_EXT,
	SECTION_LICENSE,
	SECTION_LAYOUT,
	SECTION_RELOCATIONS,
	/* What only debuggers and linkers read. */
	SECTION_UNREAD,
};

/* Sections by name, with all flags that they may have; the type of a program is its section's name. */
static const struct {
	const char *name;
	enum section_kind kind;
	unsigned type;
	unsigned flags;
} allowed_sections[] = {
	{".strtab", SECTION_NAMES, SHT_STRTAB, 0},
	{".symtab", SECTION_SYMBOLS, SHT_SYMTAB, 0},
	{".text", SECTION_FUNCTIONS, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR},
	{"kprobe", SECTION_PROGRAMS, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR},
	{"kretprobe", SECTION_PROGRAMS, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR},
	{"tp", SECTION_PROGRAMS, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR},
	{"raw_tp", SECTION_PROGRAMS, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR},
	{".maps", SECTION_MAPS, SHT_PROGBITS, SHF_ALLOC | SHF_WRITE},
	{".BTF", SECTION_BTF, SHT_PROGBITS, 0},
	{".BTF.ext", SECTION_BTF_EXT, SHT_PROGBITS, 0},
	{"license", SECTION_LICENSE, SHT_PROGBITS, SHF_ALLOC | SHF_WRITE},
	{".traceleft.layout", SECTION_LAYOUT, SHT_PROGBITS, SHF_ALLOC},
};

#endif
