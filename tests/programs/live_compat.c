/*
 * 64-bit code that makes 32-bit calls: `live_compat calls`, and execs between both: `live_compat exec PROGRAM`.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int call32(int number, long first, long second, long third)
{
	int result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
	return result;
}

/* getpid, getppid, time and an unknown one: writev, sendfile's neighbours and the like by the other table. */
static void calls(void)
{
	int numbers[] = {20, 64, 13, 24, 47, 199, 9999};
	unsigned i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		call32(numbers[i], 0, 0, 0);
		syscall(SYS_getpgid, 1000000 + i);
	}
}

/* Arguments of a 32-bit exec have to lie low. */
static void exec32(const char *program)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	unsigned *argv = (void *)(low + 1024);

	strcpy(low, program);
	argv[0] = (unsigned)(unsigned long)low;
	argv[1] = 0;
	call32(11, (long)low, (long)argv, 0);
}

int main(int argc, char **argv)
{
	char *arguments[] = {"other", NULL};

	if (argc == 2 && !strcmp(argv[1], "calls"))
		calls();
	if (argc == 3 && !strcmp(argv[1], "exec"))
		execve(argv[2], arguments, NULL);
	if (argc == 3 && !strcmp(argv[1], "exec32"))
		exec32(argv[2]);
	return 0;
}
