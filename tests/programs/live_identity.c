/*
 * One call under changing identities: its argument tells which. `live_identity`, as root.
 */
#define _GNU_SOURCE
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARKS 1000000

static void mark(long number)
{
	syscall(SYS_getpgid, MARKS + number);
	syscall(SYS_getpgid, 0);
}

int main(void)
{
	prctl(PR_SET_NAME, "first");
	mark(1);
	prctl(PR_SET_NAME, "second and long enough");
	mark(2);
	if (!fork()) {
		mark(3);
		setgid(23456);
		setuid(12345);
		mark(4);
		prctl(PR_SET_NAME, "first");
		mark(5);
		_exit(0);
	}
	wait(NULL);
	mark(6);
	return 0;
}
