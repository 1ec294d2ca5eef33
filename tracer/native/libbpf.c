// SPDX-License-Identifier: Apache-2.0
#include "libbpf.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define LIBRARY "libbpf.so.1"

struct libbpf libbpf;

static struct libbpf_failure failure;

static const struct {
	const char *name;
	size_t at;
} functions[] = {
#define LIBBPF_FUNCTION(name) {#name, offsetof(struct libbpf, name)},
	LIBBPF_FUNCTIONS(LIBBPF_FUNCTION)
#undef LIBBPF_FUNCTION
};

/* The loader's words name the library first where nothing of that name is found, else the file or what that needs. */
static void note_unloaded(const char *reason)
{
	static const char absent[] = LIBRARY ": cannot open shared object file";

	if (!strncmp(reason, absent, sizeof(absent) - 1)) {
		snprintf(failure.what, sizeof(failure.what), LIBRARY " is not installed");
		failure.remedy = "apt install libbpf1";
	} else {
		snprintf(failure.what, sizeof(failure.what), LIBRARY " cannot be loaded (%s)", reason);
		failure.remedy = "apt install --reinstall libbpf1";
	}
}

static void look_up(libbpf_print_fn_t print)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	void *found;
	size_t i;

	if (!library) {
		note_unloaded(dlerror());
		return;
	}
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		found = dlsym(library, functions[i].name);
		if (!found) {
			snprintf(failure.what, sizeof(failure.what), LIBRARY " lacks the function %s",
				 functions[i].name);
			failure.remedy = "install libbpf 1.0 or later";
			return;
		}
		memcpy((char *)&libbpf + functions[i].at, &found, sizeof(found));
	}
	libbpf.libbpf_set_print(print);
}

const struct libbpf_failure *libbpf_load(libbpf_print_fn_t print)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool was_looked_up;

	pthread_mutex_lock(&lock);
	if (!was_looked_up)
		look_up(print);
	was_looked_up = true;
	pthread_mutex_unlock(&lock);
	return failure.remedy ? &failure : NULL;
}
