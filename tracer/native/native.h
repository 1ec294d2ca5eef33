/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the native module share. */
#ifndef TRACELEFT_NATIVE_H
#define TRACELEFT_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libbpf.h"
#include "record.h"

#pragma GCC visibility push(hidden)

/* What libbpf prints inside one call; text is the caller's to free. */
struct log {
	size_t used;
	char *text;
};

void log_begin(struct log *log);
void log_end(void);

/* Raise Error(errno, what, log); log may be NULL. Always returns NULL. */
PyObject *raise_error(int err, const char *what, const struct log *log);

/* Whether libbpf can be called; where it cannot, raise UnsupportedError. To be asked by what Python calls. */
bool need_libbpf(void);

/* Records in order of time, end to end, each padded to 8 bytes. */
typedef struct {
	PyObject_HEAD
	PyObject *data;
	PyObject *offsets;
	Py_ssize_t count;
} RecordsObject;

/* New records to be filled in by the caller. */
RecordsObject *records_alloc(size_t bytes, Py_ssize_t count);

/* Add n to dict[(event, cpu)]. */
int add_to_count(PyObject *dict, uint32_t event, uint32_t cpu, uint64_t n);

/* Asks a thread to give up capabilities (sandbox.c): no thread of ours holds it back. */
#define CONFINE_SIGNAL (SIGRTMAX - 2)

/* Put what sandbox.c offers into the module. */
int add_sandbox(PyObject *module);

extern PyTypeObject records_type;
extern PyTypeObject lines_type;
extern PyTypeObject drain_type;

#pragma GCC visibility pop

#endif
