// SPDX-License-Identifier: Apache-2.0
/*
 * Reads lines "KIND TIMES" from stdin; goes so many times round a loop of
 * that kind and answers with the nanoseconds that it took. Calls are made
 * directly, so that what is counted is what was made.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int zero, null;

static void read_write(void)
{
	char byte;

	syscall(SYS_read, zero, &byte, 1);
	syscall(SYS_write, null, &byte, 1);
}

static void open_close(void)
{
	syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0));
}

static void get_ppid(void)
{
	syscall(SYS_getppid);
}

/* Eight calls of several kinds; one fails. */
static void mixed(void)
{
	struct stat status;
	char bytes[64];
	int fd;

	fd = syscall(SYS_openat, AT_FDCWD, "/etc/hostname", O_RDONLY, 0);
	syscall(SYS_fstat, fd, &status);
	syscall(SYS_read, fd, bytes, sizeof(bytes));
	syscall(SYS_lseek, fd, 0, SEEK_SET);
	syscall(SYS_close, fd);
	syscall(SYS_newfstatat, AT_FDCWD, "/nothing", &status, 0);
	syscall(SYS_getppid);
	syscall(SYS_fcntl, zero, F_GETFL);
}

static const struct {
	const char *name;
	void (*run)(void);
} kinds[] = {
	{ "readwrite", read_write },
	{ "openclose", open_close },
	{ "getppid", get_ppid },
	{ "mixed", mixed },
};

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long measure(const char *name, long times)
{
	long long begun;
	size_t kind;
	long i;

	for (kind = 0; kind < sizeof(kinds) / sizeof(*kinds); kind++) {
		if (strcmp(kinds[kind].name, name))
			continue;
		begun = now_ns();
		for (i = 0; i < times; i++)
			kinds[kind].run();
		return now_ns() - begun;
	}
	return -1;
}

int main(void)
{
	char line[64], name[32];
	long times;

	zero = open("/dev/zero", O_RDONLY);
	null = open("/dev/null", O_WRONLY);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%31s %ld", name, &times) != 2)
			return 2;
		printf("%lld\n", measure(name, times));
		fflush(stdout);
	}
	return 0;
}
