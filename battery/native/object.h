/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an object may be handed to libbpf, which trusts what it reads. */
#ifndef TRACELEFT_OBJECT_H
#define TRACELEFT_OBJECT_H

#include <stdbool.h>
#include <stddef.h>

enum object_role {
	/* Programs that every trace shares. */
	ROLE_CORE,
	/* Programs of one event. */
	ROLE_HANDLER,
};

/* The role of a name; -1 for any other. */
int object_role(const char *name);

typedef void (*object_tell)(void *to, const char *offence);

/*
 * Hold an object against what a battery's objects are made of: every offset,
 * index and size in it leads to what is there, and its programs and maps do
 * nothing but trace (allowed.h). Tells each offence; of damage, the first.
 */
bool object_check(const void *data, size_t size, enum object_role role, object_tell tell, void *to);

#endif
