// SPDX-License-Identifier: Apache-2.0
/* A machine on which libbpf is not installed, for LD_AUDIT: the loader finds no file of its name. */
#define _GNU_SOURCE
#include <link.h>
#include <string.h>

unsigned int la_version(unsigned int version)
{
	return version < LAV_CURRENT ? version : LAV_CURRENT;
}

char *la_objsearch(const char *name, uintptr_t *cookie, unsigned int flag)
{
	(void)cookie;
	/* The name itself stays, for the message. */
	return flag != LA_SER_ORIG && strstr(name, "libbpf.so") ? NULL : (char *)name;
}
