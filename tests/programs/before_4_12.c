// SPDX-License-Identifier: Apache-2.0
/*
 * What bpf() and /proc say of maps and programs on a kernel of 4.4, for LD_PRELOAD: no BPF_OBJ_GET_INFO_BY_FD and no
 * ids (4.13), no NULL key in BPF_MAP_GET_NEXT_KEY (4.12), no fdinfo of maps.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long refuse(int error)
{
	errno = error;
	return -1;
}

long syscall(long number, ...)
{
	static long (*real)(long, ...);
	const union bpf_attr *attr;
	va_list list;
	long a[6];
	int i;

	va_start(list, number);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	attr = (const void *)a[1];
	if (number == SYS_bpf && (int)a[0] >= BPF_PROG_GET_NEXT_ID && (int)a[0] <= BPF_OBJ_GET_INFO_BY_FD)
		return refuse(EINVAL);
	if (number == SYS_bpf && (int)a[0] == BPF_MAP_GET_NEXT_KEY && !attr->key)
		return refuse(EFAULT);
	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

FILE *fopen(const char *path, const char *mode)
{
	FILE *(*real)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");

	return real(strstr(path, "/fdinfo/") ? "/dev/null" : path, mode);
}
