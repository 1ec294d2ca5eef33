// SPDX-License-Identifier: GPL-2.0
/*
 * usage: floor OBJECT PROGRAM PID
 * Loads one program of floor.bpf.o, prints "ready" once it is attached, and
 * drains it until SIGINT or SIGTERM; then prints "RECORDS LOST".
 */
#include <bpf/libbpf.h>
#include <linux/types.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "floor.h"

#define DRAIN_US 500

struct floor_bss {
	__u32 seq[FLOOR_CPUS];
	__u64 lost[FLOOR_CPUS];
};

static volatile sig_atomic_t is_over;
static unsigned long long records, checksum;

static void end(int number)
{
	is_over = 1;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* Touches a record once, as any reader must. */
static int take(void *context, void *data, size_t size)
{
	records++;
	checksum += *(const __u64 *)data;
	return 0;
}

static void die(const char *what)
{
	fprintf(stderr, "floor: cannot %s\n", what);
	exit(1);
}

static struct bpf_object *load(const char *path, const char *name, __u32 tgid)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;
	struct bpf_map *constants;

	if (!object)
		die("open the object");
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), name));
	constants = bpf_object__find_map_by_name(object, ".rodata");
	if (!constants || bpf_map__set_initial_value(constants, &tgid, sizeof(tgid)))
		die("set the process");
	if (bpf_object__load(object))
		die("load the object");
	program = bpf_object__find_program_by_name(object, name);
	if (!program || !bpf_program__attach(program))
		die("attach the program");
	return object;
}

static unsigned long long count_lost(struct bpf_object *object)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".bss");
	unsigned long long total = 0;
	struct floor_bss values;
	__u32 key = 0;
	int cpu;

	if (!map || bpf_map__value_size(map) != sizeof(values) ||
	    bpf_map__lookup_elem(map, &key, sizeof(key), &values, sizeof(values), 0))
		die("read the counters");
	for (cpu = 0; cpu < FLOOR_CPUS; cpu++)
		total += values.lost[cpu];
	return total;
}

int main(int argc, char **argv)
{
	struct ring_buffer *ring;
	struct bpf_object *object;

	if (argc != 4)
		die("start: usage: floor OBJECT PROGRAM PID");
	signal(SIGINT, end);
	signal(SIGTERM, end);
	libbpf_set_print(quiet);
	object = load(argv[1], argv[2], atoi(argv[3]));
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "records"), take, NULL, NULL);
	if (!ring)
		die("open the ring buffer");
	puts("ready");
	fflush(stdout);
	while (!is_over) {
		ring_buffer__consume(ring);
		usleep(DRAIN_US);
	}
	ring_buffer__consume(ring);
	printf("%llu %llu\n", records, count_lost(object));
	return checksum == 1;
}
