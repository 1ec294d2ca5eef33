// SPDX-License-Identifier: GPL-2.0
/*
 * usage: helpers OBJECT
 * Prints, of each program of helpers.bpf.o, "NAME NANOSECONDS": what one of its
 * calls takes, by the quickest of some runs.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "helpers.h"

#define RUNS 15
#define REPEATS 20000

static char text[4096];

static void die(const char *what)
{
	fprintf(stderr, "helpers: cannot %s\n", what);
	exit(1);
}

static double quickest_ns(struct bpf_program *program)
{
	char packet[64] = {0};
	__u32 best = ~0u;
	int i;

	for (i = 0; i < RUNS; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = sizeof(packet), .repeat = REPEATS);

		if (bpf_prog_test_run_opts(bpf_program__fd(program), &run))
			die("run a program");
		if (run.duration < best)
			best = run.duration;
	}
	return best;
}

/* Where the programs find memory of user space; their other variable is for them alone. */
static void give_address(struct bpf_object *object)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".bss");
	__u64 values[2] = {(__u64)text, 0};
	__u32 key = 0;

	memset(text, 'a', sizeof(text) - 1);
	if (!map || bpf_map__update_elem(map, &key, sizeof(key), values, sizeof(values), 0))
		die("set the address");
}

int main(int argc, char **argv)
{
	struct bpf_object *object = argc == 2 ? bpf_object__open_file(argv[1], NULL) : NULL;
	struct bpf_program *program;
	double nothing;

	if (!object || bpf_object__load(object))
		die("load the object");
	give_address(object);
	program = bpf_object__find_program_by_name(object, "nothing");
	if (!program)
		die("find a program");
	nothing = quickest_ns(program);
	bpf_object__for_each_program(program, object)
		if (strcmp(bpf_program__name(program), "nothing"))
			printf("%s %.1f\n", bpf_program__name(program), (quickest_ns(program) - nothing) / CALLS);
	bpf_object__close(object);
	return 0;
}
