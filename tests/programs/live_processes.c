/*
 * Processes and threads that come and go: `live_processes CASE [NUMBER]`. What is to be found in a trace are calls of
 * getpgid with numbers from 1,000,000 up, that no process has.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MARKS 1000000
#define BUSY_MAX 32

static void mark(long number)
{
	syscall(SYS_getpgid, MARKS + number);
}

static void pause_ms(long ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

/* Many children, each with one call and gone; some at a time. */
static void storm(int number)
{
	int i, running = 0;

	for (i = 0; i < number; i++) {
		if (running == BUSY_MAX) {
			wait(NULL);
			running--;
		}
		if (!syscall(SYS_fork)) {
			mark(i);
			syscall(SYS_exit_group, i & 127);
		}
		running++;
	}
	while (wait(NULL) > 0)
		;
}

/* A child by each call that makes one. */
static void births(void)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	char *none[] = {"live_processes", NULL};

	if (!syscall(SYS_fork)) {
		mark(1);
		_exit(0);
	}
	if (!syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) {
		mark(2);
		_exit(0);
	}
	if (!syscall(SYS_clone3, &args, sizeof(args))) {
		mark(3);
		_exit(0);
	}
	if (!vfork()) {
		mark(4);
		execve("/proc/self/exe", none, NULL);
		_exit(1);
	}
	if (!syscall(SYS_clone, SIGCHLD | CLONE_FS, 0, 0, 0, 0)) {
		mark(5);
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	}
	while (wait(NULL) > 0)
		;
}

static void *marks_of_thread(void *number)
{
	mark((long)number);
	pause_ms(1);
	mark((long)number + 500);
	return NULL;
}

static void threads(int number)
{
	pthread_t threads[500];
	long i;

	for (i = 0; i < number; i++)
		pthread_create(&threads[i], NULL, marks_of_thread, (void *)i);
	if (!fork()) {
		mark(9999);
		_exit(0);
	}
	for (i = 0; i < number; i++)
		pthread_join(threads[i], NULL);
	wait(NULL);
}

static void *go_on(void *unused)
{
	int i;

	(void)unused;
	for (i = 0; i < 8; i++) {
		mark(i);
		pause_ms(100);
	}
	exit(5);
}

/* The first thread ends, the process goes on for longer than anyone waits for a change. */
static void leaderless(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, go_on, NULL);
	pthread_exit(NULL);
}

/* A grandchild that outlives the command. */
static void orphan(void)
{
	if (fork())
		_exit(6);
	if (fork())
		_exit(0);
	pause_ms(700);
	mark(1);
	_exit(0);
}

/* Threads that make threads, for as long as there is somebody to look for them. */
static void *breed(void *number)
{
	pthread_t next;

	mark((long)number);
	pause_ms(1);
	if ((long)number < 4000 && !pthread_create(&next, NULL, breed, (void *)((long)number + 1)))
		pthread_detach(next);
	return NULL;
}

static void breeding(void)
{
	pthread_t thread;
	int i;

	for (i = 0; i < 4; i++)
		pthread_create(&thread, NULL, breed, (void *)0);
	puts("ready");
	fflush(stdout);
	getchar();
	mark(5000);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	int number = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(name, "storm"))
		storm(number);
	if (!strcmp(name, "births"))
		births();
	if (!strcmp(name, "threads"))
		threads(number);
	if (!strcmp(name, "leaderless"))
		leaderless();
	if (!strcmp(name, "orphan"))
		orphan();
	if (!strcmp(name, "breeding"))
		breeding();
	return 0;
}
