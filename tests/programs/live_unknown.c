/* Calls that no event is for: free numbers, refused ones, x32's, one that none can have. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define X32 0x40000000L

static void ignore(int signal)
{
}

int main(void)
{
	struct sigaction action = {.sa_handler = ignore};

	/* The return from a signal handler also shows -1 as its number. It must not be taken for a call of -1. */
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	syscall(999, 1, 2, 3, 4, 5, 6);
	syscall(1022, 1);
	syscall(1023, 1);
	syscall(1024, 1);
	syscall(70000, 1);
	syscall(X32 + SYS_write, 1, "x", 1);
	syscall(X32 + 512, 1);
	syscall(-1L, 1);
	return 0;
}
