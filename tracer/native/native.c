// SPDX-License-Identifier: Apache-2.0
/*
 * The wall around libbpf: objects, links, maps, and what the kernel says of
 * them. records.c, drain.c and lines.c hold the loops over records; nothing in them
 * makes a Python call per record.
 */
#include "native.h"
#include "hazard.h"
#include "settle.h"

#include "../../battery/native/object.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <unistd.h>

static PyObject *native_error;

/* What libbpf prints while this thread is inside one of its calls. */

#define LOG_ROOM (256 * 1024)

static __thread struct log *current_log;

/* Of one message that is longer than the room its end, where the verifier says why. */
static void keep_end(struct log *log, const char *format, va_list args, size_t length)
{
	char *whole = malloc(length + 1);

	if (!whole)
		return;
	vsnprintf(whole, length + 1, format, args);
	memcpy(log->text, whole + length - LOG_ROOM / 2, LOG_ROOM / 2 + 1);
	log->used = LOG_ROOM / 2;
	free(whole);
}

static int keep_log(enum libbpf_print_level level, const char *format, va_list args)
{
	struct log *log = current_log;
	va_list again;
	int n;

	if (!log || level == LIBBPF_DEBUG)
		return 0;
	if (!log->text && !(log->text = malloc(LOG_ROOM)))
		return 0;
	/* The verifier's telling lines come last: let go of the first half. */
	if (log->used > LOG_ROOM / 2) {
		memmove(log->text, log->text + LOG_ROOM / 4, log->used - LOG_ROOM / 4);
		log->used -= LOG_ROOM / 4;
	}
	va_copy(again, args);
	n = vsnprintf(log->text + log->used, LOG_ROOM - log->used, format, args);
	if (n > 0 && (size_t)n >= LOG_ROOM - log->used)
		keep_end(log, format, again, n);
	else if (n > 0)
		log->used += n;
	va_end(again);
	return 0;
}

void log_begin(struct log *log)
{
	current_log = log;
}

void log_end(void)
{
	current_log = NULL;
}

PyObject *raise_error(int err, const char *what, const struct log *log)
{
	PyObject *text = PyUnicode_DecodeUTF8(log && log->text ? log->text : "", log && log->text ? log->used : 0,
					      "replace");
	PyObject *args = text ? Py_BuildValue("isN", err < 0 ? -err : err, what, text) : NULL;

	if (args) {
		PyErr_SetObject(native_error, args);
		Py_DECREF(args);
	}
	return NULL;
}

bool need_libbpf(void)
{
	const struct libbpf_failure *failure = libbpf_load(keep_log);
	PyObject *errors, *type, *args;

	if (!failure)
		return true;
	errors = PyImport_ImportModule("traceleft.errors");
	type = errors ? PyObject_GetAttrString(errors, "UnsupportedError") : NULL;
	args = type ? Py_BuildValue("Ns", PyUnicode_DecodeFSDefault(failure->what), failure->remedy) : NULL;
	if (args)
		PyErr_SetObject(type, args);
	Py_XDECREF(args);
	Py_XDECREF(type);
	Py_XDECREF(errors);
	return false;
}

/*
 * What kernels below 5.0 ask of kprobe programs, LINUX_VERSION_CODE: the vDSO
 * has it in a note, where some distributions' uname hides part of it. 0 if not.
 */
static __u32 note_version(const char *at, size_t size)
{
	const ElfW(Nhdr) *note;
	size_t need;

	while (size >= sizeof(*note)) {
		note = (const void *)at;
		need = sizeof(*note) + (((size_t)note->n_namesz + 3) & ~(size_t)3) +
		       (((size_t)note->n_descsz + 3) & ~(size_t)3);
		if (need > size)
			break;
		if (note->n_type == 0 && note->n_namesz == sizeof("Linux") && note->n_descsz == sizeof(__u32) &&
		    !memcmp(note + 1, "Linux", sizeof("Linux")))
			return *(const __u32 *)(at + need - sizeof(__u32));
		at += need;
		size -= need;
	}
	return 0;
}

static __u32 kernel_version(void)
{
	const char *vdso = (const char *)getauxval(AT_SYSINFO_EHDR);
	const ElfW(Ehdr) *header = (const void *)vdso;
	const ElfW(Phdr) *segment;
	__u32 version = 0;
	int i;

	for (i = 0; header && i < header->e_phnum && !version; i++) {
		segment = (const void *)(vdso + header->e_phoff + (size_t)i * header->e_phentsize);
		if (segment->p_type == PT_NOTE)
			version = note_version(vdso + segment->p_offset, segment->p_filesz);
	}
	return version;
}

/* Link: one program bound to one hook. */

typedef struct {
	PyObject_HEAD
	struct bpf_link *link;
} LinkObject;

static void link_release(LinkObject *self)
{
	struct bpf_link *link = self->link;

	self->link = NULL;
	if (!link)
		return;
	Py_BEGIN_ALLOW_THREADS
	libbpf.bpf_link__destroy(link);
	Py_END_ALLOW_THREADS
}

static PyObject *link_detach(LinkObject *self, PyObject *unused)
{
	(void)unused;
	link_release(self);
	Py_RETURN_NONE;
}

static void link_dealloc(LinkObject *self)
{
	link_release(self);
	PyObject_Free(self);
}

static PyMethodDef link_methods[] = {
	{"detach", (PyCFunction)link_detach, METH_NOARGS, "Unbind the program from its hook; may be called again."},
	{NULL, NULL, 0, NULL},
};

static PyTypeObject link_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "traceleft.tracer._native.Link",
	.tp_doc = "A program bound to a hook; detaches when it goes away.",
	.tp_basicsize = sizeof(LinkObject),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_dealloc = (destructor)link_dealloc,
	.tp_methods = link_methods,
};

/*
 * What maps are like, by fd: kernels below 4.13 lack BPF_OBJ_GET_INFO_BY_FD, and
 * 4.4 has no fdinfo of maps. The maker of a map knows. Guarded by the GIL.
 */

struct shape {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
};

static struct shape *noted_shapes;
static size_t n_noted_shapes;

static int note_shape(int fd, __u32 type, __u32 key_size, __u32 value_size)
{
	size_t need = (size_t)fd + 1;
	struct shape *grown;

	if (need > n_noted_shapes) {
		grown = realloc(noted_shapes, need * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		memset(grown + n_noted_shapes, 0, (need - n_noted_shapes) * sizeof(*grown));
		noted_shapes = grown;
		n_noted_shapes = need;
	}
	noted_shapes[fd] = (struct shape){type, key_size, value_size};
	return 0;
}

static void read_fdinfo(int fd, struct shape *shape)
{
	char line[128];
	FILE *file;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", fd);
	file = fopen(line, "re");
	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "map_type: %u", &shape->type);
		sscanf(line, "key_size: %u", &shape->key_size);
		sscanf(line, "value_size: %u", &shape->value_size);
	}
	if (file)
		fclose(file);
}

/* A map's shape: as the kernel tells it, else as it was made. A key size of 0: there is no such map. */
static struct shape shape_of(int fd)
{
	struct bpf_map_info info = {0};
	struct shape shape = {0};
	__u32 size = sizeof(info);

	/* Since v4.13. */
	if (!libbpf.bpf_obj_get_info_by_fd(fd, &info, &size))
		return (struct shape){info.type, info.key_size, info.value_size};
	if (errno == EBADF)
		return shape;
	read_fdinfo(fd, &shape);
	if (!shape.key_size && fd >= 0 && (size_t)fd < n_noted_shapes)
		shape = noted_shapes[fd];
	return shape;
}

/* How many bytes the kernel reads or writes for one value. */
static size_t value_bytes(const struct shape *shape)
{
	bool is_percpu = shape->type == BPF_MAP_TYPE_PERCPU_HASH || shape->type == BPF_MAP_TYPE_PERCPU_ARRAY ||
			 shape->type == BPF_MAP_TYPE_LRU_PERCPU_HASH;

	return is_percpu ? ALIGN8((size_t)shape->value_size) * (size_t)libbpf.libbpf_num_possible_cpus() :
			   shape->value_size;
}

/* Object: an ELF object loaded into the kernel. */

typedef struct {
	PyObject_HEAD
	struct bpf_object *object;
} BpfObject;

static void add_to_log(struct log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add_to_log(struct log *log, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	current_log = log;
	keep_log(LIBBPF_WARN, format, args);
	va_end(args);
}

static int reuse_map(struct bpf_map *map, PyObject *reuse, PyObject *sizes)
{
	const char *name = libbpf.bpf_map__name(map);
	PyObject *fd = reuse ? PyDict_GetItemString(reuse, name) : NULL;
	PyObject *size = sizes ? PyDict_GetItemString(sizes, name) : NULL;
	unsigned long value;

	if (fd) {
		value = PyLong_AsUnsignedLong(fd);
		return PyErr_Occurred() ? -EINVAL : libbpf.bpf_map__reuse_fd(map, (int)value);
	}
	if (size) {
		value = PyLong_AsUnsignedLong(size);
		return PyErr_Occurred() ? -EINVAL : libbpf.bpf_map__set_max_entries(map, (__u32)value);
	}
	return 0;
}

static int prepare_maps(struct bpf_object *object, enum object_role role, PyObject *reuse, PyObject *sizes,
			struct log *log)
{
	struct bpf_map *map;
	int err;

	for_each_map(map, object) {
		if (role == ROLE_HANDLER && !(reuse && PyDict_GetItemString(reuse, libbpf.bpf_map__name(map)))) {
			add_to_log(log, "map %s is not the core's, and handlers have no other; build the battery again\n",
				   libbpf.bpf_map__name(map));
			return -EPERM;
		}
		err = reuse_map(map, reuse, sizes);
		if (err)
			return err;
	}
	return 0;
}

/* Load only what was chosen; a chosen program that is not there is an error. */
static int choose_programs(struct bpf_object *object, PyObject *names)
{
	struct bpf_program *program;
	Py_ssize_t i, n = PyTuple_GET_SIZE(names);
	const char *name;

	for_each_program(program, object)
		libbpf.bpf_program__set_autoload(program, false);
	for (i = 0; i < n; i++) {
		name = PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, i));
		if (!name)
			return -EINVAL;
		program = libbpf.bpf_object__find_program_by_name(object, name);
		if (!program)
			return -ENOENT;
		libbpf.bpf_program__set_autoload(program, true);
	}
	return 0;
}

/* Put the running kernel's offset in place of each number that stands for one, in loads of the programs to load. */
static int place_offsets(struct bpf_program *program, PyObject *offsets)
{
	size_t i, n = libbpf.bpf_program__insn_cnt(program);
	struct bpf_insn *insns = PyMem_New(struct bpf_insn, n);
	PyObject *key, *value;
	Py_ssize_t at;
	int err;

	if (!insns)
		return -ENOMEM;
	memcpy(insns, libbpf.bpf_program__insns(program), n * sizeof(*insns));
	for (at = 0; PyDict_Next(offsets, &at, &key, &value);)
		for (i = 0; i < n; i++)
			if (BPF_CLASS(insns[i].code) == BPF_LDX && insns[i].off == PyLong_AsLong(key))
				insns[i].off = (__s16)PyLong_AsLong(value);
	err = PyErr_Occurred() ? -EINVAL : libbpf.bpf_program__set_insns(program, insns, n);
	PyMem_Free(insns);
	return err;
}

static int prepare_programs(struct bpf_object *object, PyObject *offsets)
{
	struct bpf_program *program;
	int err;

	for_each_program(program, object) {
		err = offsets && libbpf.bpf_program__autoload(program) ? place_offsets(program, offsets) : 0;
		if (err)
			return err;
	}
	return 0;
}

static bool has_ring_buffer(const struct bpf_object *object)
{
	struct bpf_map *map;

	for_each_map(map, object)
		if (libbpf.bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF)
			return true;
	return false;
}

/*
 * Refuse what would crash some kernel's verifier, on every kernel: it cannot be
 * tried which one has the fault. Kernels with ring buffers do not, so functions
 * are allowed in an object that is useless without them.
 */
static int check_programs(struct bpf_object *object, struct log *log)
{
	static const char *const why[] = {
		[HAZARD_SUM] = "adds a pointer to a map's value to a number",
		[HAZARD_CALL] = "calls a function",
		[HAZARD_UNKNOWN] = "could not be checked: out of memory",
	};
	bool calls_are_safe = has_ring_buffer(object);
	struct bpf_program *program;
	struct hazard found;

	for_each_program(program, object) {
		if (!libbpf.bpf_program__autoload(program))
			continue;
		found = find_hazard(libbpf.bpf_program__insns(program), libbpf.bpf_program__insn_cnt(program),
				    calls_are_safe);
		if (found.kind == HAZARD_NONE)
			continue;
		add_to_log(log, "program %s %s at instruction %zu, which crashes kernels from 4.14 to 4.19.0: build the battery again\n",
			   libbpf.bpf_program__name(program), why[found.kind], found.at);
		return -EACCES;
	}
	return 0;
}

static void log_offence(void *to, const char *offence)
{
	add_to_log(to, "%s; build the battery again\n", offence);
}

/* What the check of a battery refuses does not come to libbpf, which trusts what it reads. */
static int check_object(const Py_buffer *data, enum object_role role, struct log *log)
{
	bool is_sound;

	Py_BEGIN_ALLOW_THREADS
	is_sound = object_check(data->buf, (size_t)data->len, role, log_offence, log);
	Py_END_ALLOW_THREADS
	return is_sound ? 0 : -EPERM;
}

static int open_and_load(BpfObject *self, Py_buffer *data, const char *role, PyObject *reuse, PyObject *sizes,
			 PyObject *names, PyObject *offsets, struct log *log, const char **what)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = role);
	__u32 version = kernel_version();
	struct bpf_object *object;
	int err;

	*what = "trust the object";
	if (object_role(role) < 0)
		return -EINVAL;
	err = check_object(data, (enum object_role)object_role(role), log);
	if (err)
		return err;
	*what = "open";
	object = libbpf.bpf_object__open_mem(data->buf, (size_t)data->len, &options);
	if (!object)
		return -errno;
	self->object = object;
	if (version)
		libbpf.bpf_object__set_kversion(object, version);
	*what = "set up maps";
	err = prepare_maps(object, (enum object_role)object_role(role), reuse, sizes, log);
	if (err)
		return err;
	*what = "find program";
	err = choose_programs(object, names);
	if (err)
		return err;
	*what = "place offsets";
	err = prepare_programs(object, offsets);
	if (err)
		return err;
	*what = "load";
	err = check_programs(object, log);
	if (err)
		return err;
	Py_BEGIN_ALLOW_THREADS
	err = libbpf.bpf_object__load(object);
	Py_END_ALLOW_THREADS
	return err;
}

static void object_release(BpfObject *self)
{
	struct bpf_object *object = self->object;

	self->object = NULL;
	if (!object)
		return;
	Py_BEGIN_ALLOW_THREADS
	libbpf.bpf_object__close(object);
	Py_END_ALLOW_THREADS
}

static int object_init(BpfObject *self, PyObject *args, PyObject *kwargs)
{
	static char *keywords[] = {"data", "role", "reuse", "sizes", "programs", "offsets", NULL};
	PyObject *reuse = NULL, *sizes = NULL, *programs = NULL, *offsets = NULL, *names;
	const char *role = "handler", *what;
	struct log log = {0};
	Py_buffer data;
	int err;

	if (!need_libbpf())
		return -1;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|$sO!O!OO!", keywords, &data, &role, &PyDict_Type, &reuse,
					 &PyDict_Type, &sizes, &programs, &PyDict_Type, &offsets))
		return -1;
	names = programs ? PySequence_Tuple(programs) : PyTuple_New(0);
	if (!names) {
		PyBuffer_Release(&data);
		return -1;
	}
	object_release(self);
	log_begin(&log);
	err = open_and_load(self, &data, role, reuse, sizes, names, offsets, &log, &what);
	log_end();
	if (err) {
		object_release(self);
		if (!PyErr_Occurred())
			raise_error(err, what, &log);
	}
	free(log.text);
	Py_DECREF(names);
	PyBuffer_Release(&data);
	return err ? -1 : 0;
}

static void object_dealloc(BpfObject *self)
{
	object_release(self);
	PyObject_Free(self);
}

static PyObject *object_close(BpfObject *self, PyObject *unused)
{
	(void)unused;
	object_release(self);
	Py_RETURN_NONE;
}

static struct bpf_program *find_program(BpfObject *self, const char *name)
{
	struct bpf_program *program =
		self->object ? libbpf.bpf_object__find_program_by_name(self->object, name) : NULL;

	if (!program)
		raise_error(self->object ? ENOENT : EBADF, "find program", NULL);
	return program;
}

static PyObject *object_map_fd(BpfObject *self, PyObject *args)
{
	const struct bpf_map *map;
	const char *name;
	int fd = -EBADF;

	if (!PyArg_ParseTuple(args, "s", &name))
		return NULL;
	if (self->object) {
		map = libbpf.bpf_object__find_map_by_name(self->object, name);
		fd = map ? libbpf.bpf_map__fd(map) : -ENOENT;
	}
	if (fd < 0)
		return raise_error(fd, "find map", NULL);
	if (note_shape(fd, libbpf.bpf_map__type(map), libbpf.bpf_map__key_size(map),
		       libbpf.bpf_map__value_size(map)))
		return PyErr_NoMemory();
	return PyLong_FromLong(fd);
}

static PyObject *object_program_fd(BpfObject *self, PyObject *args)
{
	struct bpf_program *program;
	const char *name;
	int fd;

	if (!PyArg_ParseTuple(args, "s", &name) || !(program = find_program(self, name)))
		return NULL;
	fd = libbpf.bpf_program__fd(program);
	return fd < 0 ? raise_error(ENOENT, "program is not loaded", NULL) : PyLong_FromLong(fd);
}

static PyObject *object_names(BpfObject *self, PyObject *unused)
{
	struct bpf_program *program;
	PyObject *names = PyList_New(0), *name;

	(void)unused;
	if (!names || !self->object)
		return names;
	for_each_program(program, self->object) {
		name = PyUnicode_FromString(libbpf.bpf_program__name(program));
		if (!name || PyList_Append(names, name)) {
			Py_XDECREF(name);
			Py_DECREF(names);
			return NULL;
		}
		Py_DECREF(name);
	}
	return names;
}

static PyObject *wrap_link(struct bpf_link *link, int err, struct log *log)
{
	LinkObject *self;

	log_end();
	if (!link) {
		raise_error(err, "attach", log);
		free(log->text);
		return NULL;
	}
	free(log->text);
	self = PyObject_New(LinkObject, &link_type);
	if (!self) {
		libbpf.bpf_link__destroy(link);
		return NULL;
	}
	self->link = link;
	return (PyObject *)self;
}

static PyObject *object_attach_raw_tracepoint(BpfObject *self, PyObject *args)
{
	const char *name, *tracepoint;
	struct bpf_program *program;
	struct log log = {0};
	struct bpf_link *link;

	if (!PyArg_ParseTuple(args, "ss", &name, &tracepoint) || !(program = find_program(self, name)))
		return NULL;
	log_begin(&log);
	link = libbpf.bpf_program__attach_raw_tracepoint(program, tracepoint);
	return wrap_link(link, errno, &log);
}

static PyObject *object_attach_tracepoint(BpfObject *self, PyObject *args)
{
	const char *name, *category, *event;
	struct bpf_program *program;
	struct log log = {0};
	struct bpf_link *link;

	if (!PyArg_ParseTuple(args, "sss", &name, &category, &event) || !(program = find_program(self, name)))
		return NULL;
	log_begin(&log);
	link = libbpf.bpf_program__attach_tracepoint(program, category, event);
	return wrap_link(link, errno, &log);
}

static PyObject *object_attach_kprobe(BpfObject *self, PyObject *args)
{
	const char *name, *symbol;
	struct bpf_program *program;
	struct log log = {0};
	struct bpf_link *link;
	int retprobe = 0;

	if (!PyArg_ParseTuple(args, "ss|p", &name, &symbol, &retprobe) || !(program = find_program(self, name)))
		return NULL;
	log_begin(&log);
	link = libbpf.bpf_program__attach_kprobe(program, retprobe, symbol);
	return wrap_link(link, errno, &log);
}

static PyMethodDef object_methods[] = {
	{"map_fd", (PyCFunction)object_map_fd, METH_VARARGS, "Return the fd of a map; the object keeps owning it."},
	{"program_fd", (PyCFunction)object_program_fd, METH_VARARGS, "Return the fd of a loaded program."},
	{"program_names", (PyCFunction)object_names, METH_NOARGS, "List every program of the object, loaded or not."},
	{"attach_raw_tracepoint", (PyCFunction)object_attach_raw_tracepoint, METH_VARARGS, "Attach to a raw tracepoint."},
	{"attach_tracepoint", (PyCFunction)object_attach_tracepoint, METH_VARARGS, "Attach to category:name."},
	{"attach_kprobe", (PyCFunction)object_attach_kprobe, METH_VARARGS, "Attach to a symbol's entry or return."},
	{"close", (PyCFunction)object_close, METH_NOARGS, "Release programs and maps; may be called again."},
	{NULL, NULL, 0, NULL},
};

static PyTypeObject object_type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "traceleft.tracer._native.Object",
	.tp_doc = "An ELF object loaded into the kernel.",
	.tp_basicsize = sizeof(BpfObject),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_new = PyType_GenericNew,
	.tp_init = (initproc)object_init,
	.tp_dealloc = (destructor)object_dealloc,
	.tp_methods = object_methods,
};

/* Maps and programs by fd. */

static PyObject *map_create(PyObject *module, PyObject *args)
{
	LIBBPF_OPTS(bpf_map_create_opts, options);
	unsigned int type, key_size, value_size, max_entries, flags = 0;
	int fd;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "IIII|I", &type, &key_size, &value_size, &max_entries, &flags))
		return NULL;
	options.map_flags = flags;
	fd = libbpf.bpf_map_create(type, NULL, key_size, value_size, max_entries, &options);
	if (fd < 0)
		return raise_error(errno, "create map", NULL);
	if (note_shape(fd, type, key_size, value_size)) {
		close(fd);
		return PyErr_NoMemory();
	}
	return PyLong_FromLong(fd);
}

/*
 * Whether the kernel, which goes by the map's own sizes, would stay within a key
 * and a value of these: what a battery's maps are like is for the battery to say.
 */
static bool fits_map(int fd, Py_ssize_t key, Py_ssize_t value)
{
	struct shape shape = shape_of(fd);

	if (shape.key_size && shape.key_size <= (size_t)key && value_bytes(&shape) <= (size_t)value)
		return true;
	errno = shape.key_size ? EMSGSIZE : EBADF;
	return false;
}

static PyObject *map_value_size(PyObject *module, PyObject *args)
{
	struct shape shape;
	int fd;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "i", &fd))
		return NULL;
	shape = shape_of(fd);
	return shape.key_size ? PyLong_FromUnsignedLong(shape.value_size) : raise_error(EBADF, "size up map", NULL);
}

static PyObject *map_update(PyObject *module, PyObject *args)
{
	Py_buffer key, value;
	int fd, err;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "iy*y*", &fd, &key, &value))
		return NULL;
	err = 0;
	if (!fits_map(fd, key.len, value.len) || libbpf.bpf_map_update_elem(fd, key.buf, value.buf, BPF_ANY))
		err = errno;
	PyBuffer_Release(&key);
	PyBuffer_Release(&value);
	if (err)
		return raise_error(err, "update map", NULL);
	Py_RETURN_NONE;
}

static PyObject *map_lookup(PyObject *module, PyObject *args)
{
	Py_ssize_t value_size;
	PyObject *value;
	Py_buffer key;
	int fd, err;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "iy*n", &fd, &key, &value_size))
		return NULL;
	value = value_size < 0 ? PyErr_NoMemory() : PyBytes_FromStringAndSize(NULL, value_size);
	if (!value) {
		PyBuffer_Release(&key);
		return NULL;
	}
	memset(PyBytes_AS_STRING(value), 0, (size_t)value_size);
	err = 0;
	if (!fits_map(fd, key.len, value_size) ||
	    libbpf.bpf_map_lookup_elem(fd, key.buf, PyBytes_AS_STRING(value)))
		err = errno;
	PyBuffer_Release(&key);
	if (!err)
		return value;
	Py_DECREF(value);
	if (err == ENOENT)
		Py_RETURN_NONE;
	return raise_error(err, "look up in map", NULL);
}

static PyObject *map_delete(PyObject *module, PyObject *args)
{
	Py_buffer key;
	int fd, err;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "iy*", &fd, &key))
		return NULL;
	err = !fits_map(fd, key.len, PY_SSIZE_T_MAX) || libbpf.bpf_map_delete_elem(fd, key.buf) ? errno : 0;
	PyBuffer_Release(&key);
	if (err && err != ENOENT)
		return raise_error(err, "delete from map", NULL);
	return PyBool_FromLong(!err);
}

#define KEY_MAX 64

/*
 * Make a key that a map does not have: 0, or an error. An array has none of all
 * ones, and of a hash's keys so many are tried as it takes.
 */
static int make_absent_key(int fd, size_t value_size, unsigned char *key, size_t key_size)
{
	void *value = malloc(value_size ? value_size : 1);
	int err = value ? 0 : -ENOMEM;

	memset(key, 0xff, key_size);
	while (!err && !libbpf.bpf_map_lookup_elem(fd, key, value))
		err = key[0]-- ? 0 : -E2BIG;
	if (!err && errno != ENOENT)
		err = -errno;
	free(value);
	return err;
}

/* The first key: 0, or an error, -ENOENT where there is none. Below v4.12 a NULL key is refused, with EFAULT. */
static int first_key(int fd, void *first, size_t key_size)
{
	unsigned char absent[KEY_MAX];
	struct shape shape;
	int err;

	if (!libbpf.bpf_map_get_next_key(fd, NULL, first))
		return 0;
	if (errno != EFAULT)
		return -errno;
	shape = shape_of(fd);
	err = make_absent_key(fd, value_bytes(&shape), absent, key_size);
	if (err)
		return err;
	return libbpf.bpf_map_get_next_key(fd, absent, first) ? -errno : 0;
}

/* All keys; a map that changes meanwhile may show a key twice or not at all. */
static PyObject *map_keys(PyObject *module, PyObject *args)
{
	char key[KEY_MAX], next[KEY_MAX];
	Py_ssize_t key_size;
	unsigned int limit;
	PyObject *keys, *item;
	int fd, err;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "inI", &fd, &key_size, &limit))
		return NULL;
	if (key_size <= 0 || key_size > KEY_MAX)
		return raise_error(EINVAL, "list keys of map", NULL);
	if (!fits_map(fd, key_size, PY_SSIZE_T_MAX))
		return raise_error(errno, "list keys of map", NULL);
	keys = PyList_New(0);
	err = first_key(fd, next, (size_t)key_size);
	while (keys && !err && limit--) {
		memcpy(key, next, (size_t)key_size);
		item = PyBytes_FromStringAndSize(key, key_size);
		if (!item || PyList_Append(keys, item))
			Py_CLEAR(keys);
		Py_XDECREF(item);
		err = libbpf.bpf_map_get_next_key(fd, key, next) ? -errno : 0;
	}
	if (keys && err && err != -ENOENT) {
		Py_DECREF(keys);
		return raise_error(err, "list keys of map", NULL);
	}
	return keys;
}

static PyObject *settle(PyObject *module, PyObject *args)
{
	unsigned int slots_at, n_slots;
	struct header *header;
	Py_ssize_t size;
	PyObject *copy;
	char *data;

	(void)module;
	if (!PyArg_ParseTuple(args, "y#II", &data, &size, &slots_at, &n_slots))
		return NULL;
	if (size < (Py_ssize_t)sizeof(*header) || slots_at > UINT16_MAX || n_slots > UINT8_MAX)
		return raise_error(ERANGE, "settle", NULL);
	copy = PyBytes_FromStringAndSize(data, size);
	if (!copy)
		return NULL;
	header = (struct header *)PyBytes_AS_STRING(copy);
	if ((Py_ssize_t)header->length <= size && slots_at + n_slots * sizeof(struct slot) <= header->length &&
	    settle_record(header, slots_at, n_slots))
		return copy;
	Py_DECREF(copy);
	Py_RETURN_NONE;
}

static PyObject *possible_cpus(PyObject *module, PyObject *unused)
{
	int n;

	(void)module, (void)unused;
	if (!need_libbpf())
		return NULL;
	n = libbpf.libbpf_num_possible_cpus();
	return n < 0 ? raise_error(n, "count CPUs", NULL) : PyLong_FromLong(n);
}

static PyObject *program_info(PyObject *module, PyObject *args)
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);
	int fd;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "i", &fd))
		return NULL;
	if (libbpf.bpf_obj_get_info_by_fd(fd, &info, &size))
		return raise_error(errno, "read program info", NULL);
	return Py_BuildValue("{sIsssIsKsKsKsI}", "id", info.id, "name", info.name, "instructions",
			     info.xlated_prog_len / 8, "run_time_ns", (unsigned long long)info.run_time_ns, "run_count",
			     (unsigned long long)info.run_cnt, "recursion_misses",
			     (unsigned long long)info.recursion_misses, "verified", info.verified_insns);
}

static PyObject *program_fd_by_id(PyObject *module, PyObject *args)
{
	unsigned int id;
	int fd;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "I", &id))
		return NULL;
	fd = libbpf.bpf_prog_get_fd_by_id(id);
	return fd < 0 ? raise_error(errno, "open program", NULL) : PyLong_FromLong(fd);
}

/* Statistics are kept as long as the file descriptor is open. */
static PyObject *enable_stats(PyObject *module, PyObject *args)
{
	int fd;

	(void)module;
	(void)args;
	if (!need_libbpf())
		return NULL;
	fd = libbpf.bpf_enable_stats(BPF_STATS_RUN_TIME);
	return fd < 0 ? raise_error(errno, "enable statistics", NULL) : PyLong_FromLong(fd);
}

/*
 * Load and drop a small program of a type; raise what the kernel says. It
 * calls a helper that takes nothing, or a buffer, its size and an address.
 */
static PyObject *probe_program(PyObject *module, PyObject *args)
{
	struct bpf_insn code[] = {
		{.code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_10},
		{.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_1, .imm = -8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2, .imm = 8},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3},
		{.code = BPF_JMP | BPF_CALL},
		{.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_CALL},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K},
		{.code = BPF_JMP | BPF_EXIT},
	};
	const struct bpf_insn nothing = {.code = BPF_ALU64 | BPF_MOV | BPF_K};
	const size_t n = sizeof(code) / sizeof(code[0]);
	LIBBPF_OPTS(bpf_prog_load_opts, options, .kern_version = kernel_version());
	unsigned int type, helper = 0, next = 0;
	int fd;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "I|II", &type, &helper, &next))
		return NULL;
	code[n - 5].imm = (int)helper;
	code[n - 3].imm = (int)next;
	if (!next)
		code[n - 4] = code[n - 3] = nothing;
	if (helper)
		fd = libbpf.bpf_prog_load(type, "traceleft_probe", "GPL", code, n, &options);
	else
		fd = libbpf.bpf_prog_load(type, "traceleft_probe", "GPL", code + n - 2, 2, &options);
	if (fd < 0)
		return raise_error(errno, "load program", NULL);
	close(fd);
	Py_RETURN_NONE;
}

static int member_offset(const struct btf *btf, const char *struct_name, const char *member)
{
	int id = libbpf.btf__find_by_name_kind(btf, struct_name, BTF_KIND_STRUCT);
	const struct btf_type *type;
	const char *name;
	__u32 i;

	if (id < 0)
		return id;
	type = libbpf.btf__type_by_id(btf, (__u32)id);
	for (i = 0; i < btf_vlen(type); i++) {
		name = libbpf.btf__name_by_offset(btf, btf_members(type)[i].name_off);
		if (name && !strcmp(name, member))
			return (int)(btf_member_bit_offset(type, i) / 8);
	}
	return -ENOENT;
}

static PyObject *btf_member_offset(PyObject *module, PyObject *args)
{
	const char *struct_name, *member;
	struct log log = {0};
	struct btf *btf;
	int offset;

	(void)module;
	if (!need_libbpf() || !PyArg_ParseTuple(args, "ss", &struct_name, &member))
		return NULL;
	log_begin(&log);
	btf = libbpf.btf__parse("/sys/kernel/btf/vmlinux", NULL);
	offset = btf ? member_offset(btf, struct_name, member) : -errno;
	libbpf.btf__free(btf);
	log_end();
	if (offset < 0)
		raise_error(offset, "find member in BTF", &log);
	free(log.text);
	return offset < 0 ? NULL : PyLong_FromLong(offset);
}

/* The module. */

static PyMethodDef module_methods[] = {
	{"map_create", map_create, METH_VARARGS, "Create a map and return its fd, which the caller closes."},
	{"map_update", map_update, METH_VARARGS, "Set a map's value by key."},
	{"map_lookup", map_lookup, METH_VARARGS, "Return a value, of all CPUs for a per-CPU map, or None."},
	{"map_delete", map_delete, METH_VARARGS, "Delete a key; return whether it was there."},
	{"map_keys", map_keys, METH_VARARGS, "List at most limit keys of a map."},
	{"map_value_size", map_value_size, METH_VARARGS, "Return the size of a map's value, of one CPU's for a per-CPU map."},
	{"possible_cpus", possible_cpus, METH_NOARGS, "Return the number of possible CPUs."},
	{"settle", settle, METH_VARARGS, "Return an unsettled record (level 4.4) as an ordinary one, None if it is not sound."},
	{"program_info", program_info, METH_VARARGS, "Return what the kernel says of a program."},
	{"program_fd_by_id", program_fd_by_id, METH_VARARGS, "Open a program by id; the caller closes the fd."},
	{"enable_stats", enable_stats, METH_NOARGS, "Let the kernel measure programs; the caller closes the fd."},
	{"probe_program", probe_program, METH_VARARGS, "Load a small program of a type, which calls helpers, and drop it."},
	{"btf_member_offset", btf_member_offset, METH_VARARGS, "Return the byte offset of a kernel struct's member."},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef native_module = {
	PyModuleDef_HEAD_INIT,
	.m_name = "traceleft.tracer._native",
	.m_doc = "libbpf, and the loops over records.",
	.m_size = -1,
	.m_methods = module_methods,
};

static int add_type(PyObject *module, const char *name, PyTypeObject *type)
{
	if (PyType_Ready(type))
		return -1;
	Py_INCREF(type);
	return PyModule_AddObject(module, name, (PyObject *)type);
}

PyMODINIT_FUNC PyInit__native(void)
{
	PyObject *module = PyModule_Create(&native_module);

	if (!module)
		return NULL;
	native_error = PyErr_NewExceptionWithDoc("traceleft.tracer._native.Error",
						 "What libbpf or the kernel refused: (errno, what, log).", NULL, NULL);
	if (!native_error || PyModule_AddObjectRef(module, "Error", native_error) ||
	    add_type(module, "Object", &object_type) || add_type(module, "Link", &link_type) ||
	    add_type(module, "Records", &records_type) || add_type(module, "Lines", &lines_type) ||
	    add_type(module, "Drain", &drain_type) || add_sandbox(module)) {
		Py_DECREF(module);
		return NULL;
	}
	return module;
}
