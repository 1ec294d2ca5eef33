/*
 * One process of known calls: `live_storm COUNT [CPU]`: openat that fails, getppid, close that fails, on a CPU.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long i, count = argc > 1 ? atol(argv[1]) : 0;
	cpu_set_t set;

	if (argc > 2) {
		CPU_ZERO(&set);
		CPU_SET(atoi(argv[2]), &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
	for (i = 0; i < count; i++) {
		syscall(SYS_openat, AT_FDCWD, "/no/such", O_RDONLY, 0);
		if (i % 4 == 0)
			syscall(SYS_getppid);
		if (i % 8 == 0)
			syscall(SYS_close, 1000);
	}
	return 0;
}
