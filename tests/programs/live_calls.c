/*
 * Calls that end otherwise than by returning what they are for: `live_calls CASE`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void handle(int number)
{
	(void)number;
}

/* The C library's handler returns by rt_sigreturn, which gives what the interrupted call does. */
static void interrupted(void)
{
	struct sigaction action = {.sa_handler = handle};
	struct itimerval soon = {.it_value.tv_usec = 20000};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	syscall(SYS_pause);
	raise(SIGALRM);
}

/* A stopped sleep goes on by restart_syscall. */
static void stopped(void)
{
	struct timespec pause = {1, 200000000};
	pid_t child = fork();
	int status;

	if (!child) {
		syscall(SYS_nanosleep, &pause, NULL);
		_exit(0);
	}
	usleep(300000);
	kill(child, SIGSTOP);
	waitpid(child, &status, WUNTRACED);
	kill(child, SIGCONT);
	waitpid(child, &status, 0);
}

static void killed(void)
{
	int pair[2];
	pid_t child;
	char byte;

	if (pipe(pair))
		_exit(9);
	child = fork();
	if (!child) {
		close(pair[1]);
		syscall(SYS_read, pair[0], &byte, 1);
	}
	usleep(300000);
	kill(child, SIGKILL);
	wait(NULL);
}

/* From now on the call is refused. */
static void refuse(unsigned number)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
		_exit(9);
}

/* The same call twice, the second time with other arguments and refused before it is entered. */
static void refused(void)
{
	struct timespec before = {0, 1111}, after = {0, 2222};

	syscall(SYS_nanosleep, &before, NULL);
	refuse(SYS_nanosleep);
	syscall(SYS_nanosleep, &after, NULL);
}

/* Blocked until somebody writes. */
static void blocked(void)
{
	char bytes[5];

	puts("ready");
	fflush(stdout);
	syscall(SYS_read, 0, bytes, 5);
	syscall(SYS_read, 0, bytes, 4);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (!strcmp(name, "interrupted"))
		interrupted();
	if (!strcmp(name, "stopped"))
		stopped();
	if (!strcmp(name, "killed"))
		killed();
	if (!strcmp(name, "refused"))
		refused();
	if (!strcmp(name, "blocked"))
		blocked();
	return 0;
}
