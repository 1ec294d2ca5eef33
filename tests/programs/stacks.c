/* A call from a known place: main, outer, inner, make_call. Functions of a C library may keep no frame. */
#include <sys/syscall.h>
#include <unistd.h>

long make_call(long number, long first, long second, long third)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
	return result;
}

long inner(long number, long first, long second, long third)
{
	return make_call(number, first, second, third) + 1;
}

long outer(long number, long first, long second, long third)
{
	return inner(number, first, second, third) + 1;
}

/* Without arguments: one call of each kind of record. With some: exec them. */
int main(int argc, char **argv)
{
	static char *const environment[] = { 0 };

	if (argc > 1)
		execve(argv[1], argv + 1, environment);
	outer(SYS_getppid, 0, 0, 0);
	outer(SYS_write, -1, (long)"nowhere", 7);
	outer(SYS_openat, -100, (long)"/no/such/file", 0);
	outer(SYS_execve, (long)"/no/such/program", (long)argv, (long)environment);
	outer(SYS_exit_group, 0, 0, 0);
	return 1;
}
