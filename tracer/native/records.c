// SPDX-License-Identifier: Apache-2.0
/* Records in order of time: counting them, splitting them in columns, making lines of them. */
#include "native.h"
#include "lines.h"

#include <errno.h>
#include <structmember.h>

static const struct header *record_at(const RecordsObject *self, Py_ssize_t i)
{
	const uint32_t *offsets = (const uint32_t *)PyBytes_AS_STRING(self->offsets);

	return (const struct header *)(PyBytes_AS_STRING(self->data) + offsets[i]);
}

RecordsObject *records_alloc(size_t bytes, Py_ssize_t count)
{
	RecordsObject *self = PyObject_New(RecordsObject, &records_type);

	if (!self)
		return NULL;
	self->count = count;
	self->data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes);
	self->offsets = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(uint32_t));
	if (!self->data || !self->offsets) {
		Py_DECREF(self);
		return NULL;
	}
	return self;
}

/* Count the records laid end to end in data, -1 if they do not end with it. */
static Py_ssize_t count_records(const char *data, size_t size)
{
	const struct header *header;
	Py_ssize_t count = 0;
	size_t at = 0;

	while (at < size) {
		header = (const struct header *)(data + at);
		if (size - at < sizeof(*header) || header->length < sizeof(*header) ||
		    ALIGN8(header->length) > size - at)
			return -1;
		at += ALIGN8(header->length);
		count++;
	}
	return count;
}

static PyObject *records_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *keywords[] = {"data", NULL};
	RecordsObject *self = NULL;
	Py_ssize_t i, count;
	uint32_t *offsets;
	Py_buffer data;
	uint32_t at = 0;

	(void)type;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*", keywords, &data))
		return NULL;
	count = data.len > UINT32_MAX ? -1 : count_records(data.buf, (size_t)data.len);
	if (count < 0)
		raise_error(EINVAL, "records do not fill the data", NULL);
	else
		self = records_alloc((size_t)data.len, count);
	if (self) {
		memcpy(PyBytes_AS_STRING(self->data), data.buf, (size_t)data.len);
		offsets = (uint32_t *)PyBytes_AS_STRING(self->offsets);
		for (i = 0; i < count; i++) {
			offsets[i] = at;
			at += (uint32_t)ALIGN8(record_at(self, i)->length);
		}
	}
	PyBuffer_Release(&data);
	return (PyObject *)self;
}

static void records_dealloc(RecordsObject *self)
{
	Py_XDECREF(self->data);
	Py_XDECREF(self->offsets);
	PyObject_Free(self);
}

static Py_ssize_t records_length(PyObject *self)
{
	return ((RecordsObject *)self)->count;
}

int add_to_count(PyObject *dict, uint32_t event, uint32_t cpu, uint64_t n)
{
	PyObject *key = Py_BuildValue("(II)", event, cpu), *old, *sum = NULL;
	int err = -1;

	if (key) {
		old = PyDict_GetItemWithError(dict, key);
		if (old || !PyErr_Occurred())
			sum = PyLong_FromUnsignedLongLong(n + (old ? PyLong_AsUnsignedLongLong(old) : 0));
		if (sum)
			err = PyDict_SetItem(dict, key, sum);
	}
	Py_XDECREF(sum);
	Py_XDECREF(key);
	return err;
}

#define TALLY_WAYS 1024

struct way {
	uint32_t event, cpu;
	uint32_t n;
};

/* A direct-mapped cache of counts before the dict: one dict operation per clash. */
static int tally_range(RecordsObject *self, Py_ssize_t start, Py_ssize_t stop, PyObject *dict)
{
	struct way ways[TALLY_WAYS] = {0}, *way;
	const struct header *header;
	Py_ssize_t i;

	for (i = start; i < stop; i++) {
		header = record_at(self, i);
		way = &ways[(header->event * 31 + header->cpu) % TALLY_WAYS];
		if (way->n && (way->event != header->event || way->cpu != header->cpu)) {
			if (add_to_count(dict, way->event, way->cpu, way->n))
				return -1;
			way->n = 0;
		}
		way->event = header->event;
		way->cpu = header->cpu;
		way->n++;
	}
	for (way = ways; way < ways + TALLY_WAYS; way++)
		if (way->n && add_to_count(dict, way->event, way->cpu, way->n))
			return -1;
	return 0;
}

static PyObject *records_tally(RecordsObject *self, PyObject *args)
{
	Py_ssize_t start = 0, stop = self->count;
	PyObject *dict;

	if (!PyArg_ParseTuple(args, "|nn", &start, &stop))
		return NULL;
	if (start < 0 || stop > self->count)
		return raise_error(ERANGE, "tally", NULL);
	dict = PyDict_New();
	if (dict && tally_range(self, start, stop, dict))
		Py_CLEAR(dict);
	return dict;
}

static bool in_column(const struct header *header, uint32_t event, uint32_t fixed)
{
	return header->event == event && header->length >= fixed;
}

static void fill_columns(RecordsObject *self, uint32_t event, uint32_t fixed, char *head, char *heap, uint64_t *ends,
			 uint32_t *rows)
{
	const struct header *header;
	uint64_t used = 0;
	Py_ssize_t i;

	*ends++ = 0;
	for (i = 0; i < self->count; i++) {
		header = record_at(self, i);
		if (!in_column(header, event, fixed))
			continue;
		memcpy(head, header, fixed);
		memcpy(heap + used, (const char *)header + fixed, header->length - fixed);
		head += fixed;
		used += header->length - fixed;
		*ends++ = used;
		*rows++ = (uint32_t)i;
	}
}

static PyObject *records_columns(RecordsObject *self, PyObject *args)
{
	PyObject *head, *heap, *ends, *rows, *result = NULL;
	const struct header *header;
	unsigned int event, fixed;
	Py_ssize_t i, n = 0, tail = 0;

	if (!PyArg_ParseTuple(args, "II", &event, &fixed))
		return NULL;
	if (fixed < sizeof(*header))
		return raise_error(ERANGE, "columns", NULL);
	for (i = 0; i < self->count; i++) {
		header = record_at(self, i);
		if (in_column(header, event, fixed)) {
			n++;
			tail += header->length - fixed;
		}
	}
	head = PyBytes_FromStringAndSize(NULL, n * (Py_ssize_t)fixed);
	heap = PyBytes_FromStringAndSize(NULL, tail);
	ends = PyBytes_FromStringAndSize(NULL, (n + 1) * (Py_ssize_t)sizeof(uint64_t));
	rows = PyBytes_FromStringAndSize(NULL, n * (Py_ssize_t)sizeof(uint32_t));
	if (head && heap && ends && rows) {
		fill_columns(self, event, fixed, PyBytes_AS_STRING(head), PyBytes_AS_STRING(heap),
			     (uint64_t *)PyBytes_AS_STRING(ends), (uint32_t *)PyBytes_AS_STRING(rows));
		result = PyTuple_Pack(4, head, heap, ends, rows);
	}
	Py_XDECREF(head);
	Py_XDECREF(heap);
	Py_XDECREF(ends);
	Py_XDECREF(rows);
	return result;
}

static PyObject *records_record(RecordsObject *self, PyObject *row)
{
	Py_ssize_t i = PyLong_AsSsize_t(row);

	if (i == -1 && PyErr_Occurred())
		return NULL;
	if (i < 0 || i >= self->count)
		return raise_error(ERANGE, "record", NULL);
	return PyBytes_FromStringAndSize((const char *)record_at(self, i), record_at(self, i)->length);
}

/* How records of an event are cut: what goes with them, and the layout to check them by. */
struct cut {
	int64_t event;
	PyObject *kept;
	unsigned int fixed, n_args, n_slots;
};

/* Find an event's cut, kept NULL where it was not chosen; it often is that of the record before. */
static int find_cut(PyObject *table, uint16_t event, struct cut *cut)
{
	PyObject *key, *entry;

	if (cut->event == event)
		return 0;
	key = PyLong_FromLong(event);
	entry = key ? PyDict_GetItemWithError(table, key) : NULL;
	Py_XDECREF(key);
	*cut = (struct cut){.event = event};
	if (entry && PyTuple_Check(entry))
		return PyArg_ParseTuple(entry, "OIII", &cut->kept, &cut->fixed, &cut->n_args, &cut->n_slots) ? 0 : -1;
	if (entry)
		PyErr_SetString(PyExc_TypeError, "entries of the table are tuples");
	return PyErr_Occurred() ? -1 : 0;
}

static bool is_checked(const struct cut *cut, const struct header *header)
{
	uint64_t slots_at = sizeof(*header) + 8 * (uint64_t)cut->n_args;

	return cut->fixed && header->length >= cut->fixed && slots_at + 8 * (uint64_t)cut->n_slots <= cut->fixed &&
	       !(header->timestamp >> 63) && stacks_are_sound(header, cut->fixed) &&
	       slots_are_sound(header, cut->fixed, (uint32_t)slots_at, cut->n_slots);
}

static int append_cut(PyObject *list, Py_ssize_t row, const struct cut *cut, const struct header *header)
{
	PyObject *number = PyLong_FromSsize_t(row);
	PyObject *data = PyBytes_FromStringAndSize((const char *)header, (Py_ssize_t)header->length);
	PyObject *flag = is_checked(cut, header) ? Py_True : Py_False;
	PyObject *item = number && data ? PyTuple_Pack(4, number, cut->kept, data, flag) : NULL;
	int err = item ? PyList_Append(list, item) : -1;

	Py_XDECREF(number);
	Py_XDECREF(data);
	Py_XDECREF(item);
	return err;
}

static PyObject *records_cut(RecordsObject *self, PyObject *args)
{
	struct cut cut = {.event = -1};
	Py_ssize_t start, stop, i;
	PyObject *table, *list;

	if (!PyArg_ParseTuple(args, "nnO!", &start, &stop, &PyDict_Type, &table))
		return NULL;
	if (start < 0 || start > stop || stop > self->count)
		return raise_error(ERANGE, "cut records", NULL);
	list = PyList_New(0);
	for (i = start; list && i < stop; i++)
		if (find_cut(table, record_at(self, i)->event, &cut) ||
		    (cut.kept && append_cut(list, i, &cut, record_at(self, i))))
			Py_CLEAR(list);
	return list;
}

static PyMemberDef records_members[] = {
	{"data", T_OBJECT_EX, offsetof(RecordsObject, data), READONLY, "The records, each padded to 8 bytes."},
	{"offsets", T_OBJECT_EX, offsetof(RecordsObject, offsets), READONLY, "Where each record starts (u32)."},
	{NULL, 0, 0, 0, NULL},
};

static PyMethodDef records_methods[] = {
	{"tally", (PyCFunction)records_tally, METH_VARARGS, "Count records from start to stop by (event, cpu)."},
	{"record", (PyCFunction)records_record, METH_O, "Return one record without its padding."},
	{"cut", (PyCFunction)records_cut, METH_VARARGS, "List the records of some events, each checked by its layout."},
	{"columns", (PyCFunction)records_columns, METH_VARARGS,
	 "Split one event's records: (fixed parts, tails, n + 1 u64 ends of the tails, u32 row numbers)."},
	{NULL, NULL, 0, NULL},
};

static PySequenceMethods records_sequence = {.sq_length = records_length};

PyTypeObject records_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "traceleft.tracer._native.Records",
	.tp_doc = "Records in order of time, end to end.",
	.tp_basicsize = sizeof(RecordsObject),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_new = records_new,
	.tp_dealloc = (destructor)records_dealloc,
	.tp_members = records_members,
	.tp_methods = records_methods,
	.tp_as_sequence = &records_sequence,
};

/* Lines: a renderer, used by one thread at a time. */

typedef struct {
	PyObject_HEAD
	struct lines *lines;
	bool is_busy;
} LinesObject;

static PyObject *lines_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *keywords[] = {"program", NULL};
	LinesObject *self;
	Py_buffer program;
	int err;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*", keywords, &program))
		return NULL;
	self = (LinesObject *)type->tp_alloc(type, 0);
	if (self)
		self->lines = lines_open(program.buf, (size_t)program.len);
	err = errno;
	PyBuffer_Release(&program);
	if (!self || self->lines)
		return (PyObject *)self;
	Py_DECREF(self);
	return raise_error(err, "open program of lines", NULL);
}

static void lines_dealloc(LinesObject *self)
{
	lines_close(self->lines);
	Py_TYPE(self)->tp_free(self);
}

static PyObject *lines_render_records(LinesObject *self, PyObject *args)
{
	Py_ssize_t start, stop, row, enough;
	RecordsObject *records;
	PyObject *result;
	long long offset;
	const char *text;
	size_t size;

	if (!PyArg_ParseTuple(args, "O!nnLn", &records_type, &records, &start, &stop, &offset, &enough))
		return NULL;
	if (start < 0 || start > stop || stop > records->count || enough <= 0)
		return raise_error(ERANGE, "render lines", NULL);
	if (self->is_busy)
		return raise_error(EBUSY, "render lines", NULL);
	self->is_busy = true;
	Py_BEGIN_ALLOW_THREADS
	lines_clear(self->lines);
	row = (Py_ssize_t)lines_render(self->lines, PyBytes_AS_STRING(records->data),
				       (size_t)PyBytes_GET_SIZE(records->data),
				       (const uint32_t *)PyBytes_AS_STRING(records->offsets), (size_t)start,
				       (size_t)stop, offset, (size_t)enough);
	Py_END_ALLOW_THREADS
	text = lines_text(self->lines, &size);
	result = Py_BuildValue("y#n", text ? text : "", (Py_ssize_t)size, row);
	self->is_busy = false;
	return result;
}

static PyMethodDef lines_methods[] = {
	{"render", (PyCFunction)lines_render_records, METH_VARARGS,
	 "Make lines of records from start to stop; return them and the row to go on with."},
	{NULL, NULL, 0, NULL},
};

PyTypeObject lines_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "traceleft.tracer._native.Lines",
	.tp_doc = "Makes lines of JSON from records by a program.",
	.tp_basicsize = sizeof(LinesObject),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_new = lines_new,
	.tp_dealloc = (destructor)lines_dealloc,
	.tp_methods = lines_methods,
};
