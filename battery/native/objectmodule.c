// SPDX-License-Identifier: Apache-2.0
/* The check of objects, for those who look at a battery; native.c holds it before each load. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "object.h"

static void add_offence(void *to, const char *offence)
{
	PyObject *line = PyUnicode_DecodeLatin1(offence, (Py_ssize_t)strlen(offence), NULL);

	if (line)
		PyList_Append(to, line);
	Py_XDECREF(line);
}

static PyObject *find_offences(PyObject *module, PyObject *args)
{
	PyObject *offences;
	const char *role;
	Py_buffer data;

	(void)module;
	if (!PyArg_ParseTuple(args, "y*s", &data, &role))
		return NULL;
	offences = PyList_New(0);
	if (object_role(role) < 0)
		PyErr_Format(PyExc_ValueError, "no role %s", role);
	else if (offences)
		object_check(data.buf, (size_t)data.len, (enum object_role)object_role(role), add_offence, offences);
	PyBuffer_Release(&data);
	if (PyErr_Occurred())
		Py_CLEAR(offences);
	return offences;
}

static PyMethodDef methods[] = {
	{"find_offences", find_offences, METH_VARARGS, "List what keeps an object from being loaded in a role."},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
	PyModuleDef_HEAD_INIT,
	.m_name = "traceleft.battery._object",
	.m_doc = "Whether an object may be handed to libbpf.",
	.m_size = 0,
	.m_methods = methods,
};

PyMODINIT_FUNC PyInit__object(void)
{
	return PyModuleDef_Init(&module);
}
