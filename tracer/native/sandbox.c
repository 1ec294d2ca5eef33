/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process takes from itself: capabilities, thread by thread, and system calls.
 *
 * Capabilities and no_new_privs belong to threads, and only the thread itself can give
 * them up. Threads that libraries have started are reached by a signal, as libpsx does.
 */
#include "native.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_SPEC_ALLOW
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW 4
#endif

/* The numbers of later system calls are the same on every machine. */
#define NEWER(name, number) {#name, number}
#define CALL(name) {#name, __NR_##name}

static const struct {
	const char *name;
	int number;
} calls[] = {
	CALL(acct),
	CALL(add_key),
	CALL(bpf),
	CALL(brk),
	CALL(capset),
	CALL(chroot),
	CALL(clock_adjtime),
	CALL(clock_gettime),
	CALL(clock_settime),
	CALL(clone),
	NEWER(clone3, 435),
	CALL(close),
	CALL(delete_module),
	CALL(execve),
	CALL(execveat),
	CALL(exit),
	CALL(exit_group),
	CALL(finit_module),
	NEWER(fsconfig, 431),
	NEWER(fsmount, 432),
	NEWER(fsopen, 430),
	NEWER(fspick, 433),
	CALL(fstat),
	CALL(futex),
	CALL(getpid),
	CALL(getrandom),
	CALL(gettid),
	CALL(init_module),
	NEWER(io_uring_enter, 426),
	NEWER(io_uring_register, 427),
	NEWER(io_uring_setup, 425),
	CALL(kexec_file_load),
	CALL(kexec_load),
	CALL(keyctl),
	CALL(kill),
	CALL(lseek),
	CALL(madvise),
	CALL(mmap),
	CALL(mount),
	NEWER(mount_setattr, 442),
	NEWER(move_mount, 429),
	CALL(mprotect),
	CALL(mremap),
	CALL(munmap),
	NEWER(open_tree, 428),
	NEWER(open_tree_attr, 467),
	CALL(open_by_handle_at),
	CALL(perf_event_open),
	CALL(personality),
	NEWER(pidfd_getfd, 438),
	NEWER(pidfd_send_signal, 424),
	CALL(pivot_root),
	CALL(pread64),
	NEWER(process_madvise, 440),
	CALL(process_vm_readv),
	CALL(process_vm_writev),
	CALL(ptrace),
	CALL(quotactl),
	NEWER(quotactl_fd, 443),
	CALL(read),
	CALL(reboot),
	CALL(recvfrom),
	CALL(recvmsg),
	CALL(request_key),
	CALL(rt_sigaction),
	CALL(rt_sigprocmask),
	CALL(rt_sigqueueinfo),
	CALL(rt_sigreturn),
	CALL(rt_tgsigqueueinfo),
	CALL(sendmsg),
	CALL(sendto),
	CALL(setdomainname),
	CALL(setfsgid),
	CALL(setfsuid),
	CALL(setgid),
	CALL(setgroups),
	CALL(sethostname),
	CALL(setitimer),
	CALL(setns),
	CALL(setregid),
	CALL(setresgid),
	CALL(setresuid),
	CALL(setreuid),
	CALL(settimeofday),
	CALL(setuid),
	CALL(socket),
	CALL(swapoff),
	CALL(swapon),
	CALL(syslog),
	CALL(tgkill),
	CALL(tkill),
	CALL(umount2),
	CALL(unshare),
	CALL(userfaultfd),
	CALL(wait4),
	CALL(write),
#ifdef __x86_64__
	CALL(fork),
	CALL(ioperm),
	CALL(iopl),
	CALL(modify_ldt),
	CALL(vfork),
#endif
};

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define MACHINE AUDIT_ARCH_AARCH64
#else
#define MACHINE 0
#endif

/* What threads are to keep. Only ever written before a thread is asked. */
static volatile uint64_t kept;

static int read_capabilities(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

	return syscall(SYS_capget, &header, data) ? -errno : 0;
}

static int write_capabilities(const struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* Runs in a signal handler as well: system calls alone. */
static int confine_thread(void)
{
	struct __user_cap_data_struct data[2];
	int err, rank;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	err = read_capabilities(data);
	if (err)
		return err;
	for (rank = 0; rank < 2; rank++) {
		data[rank].permitted &= (uint32_t)(kept >> (32 * rank));
		data[rank].effective = data[rank].permitted;
		data[rank].inheritable = 0;
	}
	return write_capabilities(data);
}

static void on_signal(int number)
{
	int before = errno;

	(void)number;
	confine_thread();
	errno = before;
}

static PyObject *capabilities(PyObject *module, PyObject *ignored)
{
	struct __user_cap_data_struct data[2];
	int err = read_capabilities(data);

	(void)module;
	(void)ignored;
	if (err)
		return raise_error(err, "read capabilities", NULL);
	return Py_BuildValue("KK", data[0].effective | (unsigned long long)data[1].effective << 32,
			     data[0].permitted | (unsigned long long)data[1].permitted << 32);
}

static PyObject *set_effective(PyObject *module, PyObject *args)
{
	struct __user_cap_data_struct data[2];
	unsigned long long mask;
	int err;

	(void)module;
	if (!PyArg_ParseTuple(args, "K", &mask))
		return NULL;
	err = read_capabilities(data);
	if (!err) {
		data[0].effective = data[0].permitted & (uint32_t)mask;
		data[1].effective = data[1].permitted & (uint32_t)(mask >> 32);
		err = write_capabilities(data);
	}
	if (err)
		return raise_error(err, "change capabilities", NULL);
	Py_RETURN_NONE;
}

static PyObject *confine(PyObject *module, PyObject *args)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	unsigned long long mask;
	int err;

	(void)module;
	if (!PyArg_ParseTuple(args, "K", &mask))
		return NULL;
	kept = mask;
	/* It stays: a thread that holds the signal back may take it later. */
	if (sigaction(CONFINE_SIGNAL, &action, NULL))
		return raise_error(errno, "handle a signal", NULL);
	err = confine_thread();
	if (err)
		return raise_error(err, "give up capabilities", NULL);
	Py_RETURN_NONE;
}

static PyObject *confine_other(PyObject *module, PyObject *args)
{
	int tid;

	(void)module;
	if (!PyArg_ParseTuple(args, "i", &tid))
		return NULL;
	/* One that has ended meanwhile holds nothing. */
	if (syscall(SYS_tgkill, getpid(), tid, CONFINE_SIGNAL) && errno != ESRCH)
		return raise_error(errno, "signal a thread", NULL);
	Py_RETURN_NONE;
}

static int install(const struct sock_fprog *program)
{
	/* Without the first flag, kernels below 5.16 slow down every thread that has a filter. */
	static const unsigned int flags[] = {SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW,
					     SECCOMP_FILTER_FLAG_TSYNC};
	long result = -1;
	size_t rank;

	for (rank = 0; rank < 2; rank++) {
		result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags[rank], program);
		if (!result || errno != EINVAL)
			break;
	}
	/* Above zero: a thread that has another filter. */
	return !result ? 0 : result > 0 ? -EBUSY : -errno;
}

static PyObject *filter_calls(PyObject *module, PyObject *args)
{
	struct sock_fprog program;
	Py_buffer code;
	int err;

	(void)module;
	if (!PyArg_ParseTuple(args, "y*", &code))
		return NULL;
	if (!code.len || code.len % sizeof(struct sock_filter) ||
	    code.len / sizeof(struct sock_filter) > BPF_MAXINSNS) {
		PyBuffer_Release(&code);
		PyErr_SetString(PyExc_ValueError, "a filter has 1 to 4096 instructions of 8 bytes");
		return NULL;
	}
	program.len = (unsigned short)(code.len / sizeof(struct sock_filter));
	program.filter = code.buf;
	err = install(&program);
	PyBuffer_Release(&code);
	if (err)
		return raise_error(err, "filter system calls", NULL);
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{"capabilities", capabilities, METH_NOARGS, "Return this thread's capabilities: effective, permitted."},
	{"set_effective", set_effective, METH_VARARGS, "Let this thread use these of its capabilities alone, for now."},
	{"confine", confine, METH_VARARGS, "Keep no other capabilities in this thread, and no_new_privs, for good."},
	{"confine_other", confine_other, METH_VARARGS, "Ask a thread of this process to do as confine() did."},
	{"filter_calls", filter_calls, METH_VARARGS, "Give all threads a seccomp filter."},
	{NULL, NULL, 0, NULL},
};

int add_sandbox(PyObject *module)
{
	PyObject *numbers = PyDict_New();
	size_t rank;

	for (rank = 0; numbers && rank < sizeof(calls) / sizeof(calls[0]); rank++) {
		PyObject *number = PyLong_FromLong(calls[rank].number);

		if (!number || PyDict_SetItemString(numbers, calls[rank].name, number))
			Py_CLEAR(numbers);
		Py_XDECREF(number);
	}
	if (!numbers || PyModule_AddObject(module, "CALL_NUMBERS", numbers)) {
		Py_XDECREF(numbers);
		return -1;
	}
	if (PyModule_AddObject(module, "AUDIT_ARCH", PyLong_FromUnsignedLong(MACHINE)) ||
	    PyModule_AddIntConstant(module, "CONFINE_SIGNAL", CONFINE_SIGNAL))
		return -1;
	return PyModule_AddFunctions(module, methods);
}
