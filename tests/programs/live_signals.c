/* Signals of all kinds, and ends: live_signals. Its children end one after another; it ends by abort(). */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_signal(int number)
{
}

static void *run(void *argument)
{
	return NULL;
}

/* A child that blocks until a signal ends it; it is blocked when this returns. */
static void end_by(int number)
{
	int ends[2];
	char byte;
	pid_t child;

	pipe(ends);
	child = fork();
	if (!child) {
		write(ends[1], "x", 1);
		for (;;)
			pause();
	}
	read(ends[0], &byte, 1);
	kill(child, number);
	waitpid(child, NULL, 0);
}

int main(void)
{
	struct rlimit none = {0, 0};
	union sigval value = {.sival_int = 7};
	pthread_t thread;

	setrlimit(RLIMIT_CORE, &none);
	signal(SIGUSR1, on_signal);
	raise(SIGUSR1);
	sigqueue(getpid(), SIGUSR1, value);
	if (!fork())
		*(volatile int *)0x1234 = 1;
	wait(NULL);
	end_by(SIGTERM);
	end_by(SIGKILL);
	if (!fork())
		_exit(3);
	wait(NULL);
	signal(SIGCHLD, on_signal);
	if (!fork())
		_exit(4);
	wait(NULL);
	pthread_create(&thread, NULL, run, NULL);
	pthread_join(thread, NULL);
	abort();
}
