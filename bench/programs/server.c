// SPDX-License-Identifier: Apache-2.0
/*
 * usage: server THREADS
 * A server that answers on loopback, a thread for each connection, and a
 * child that loads it. Reads lines "KIND TIMES" from stdin: each connection
 * is asked so many times, and the nanoseconds that it took are the answer.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
#define MESSAGE_BYTES 64

static long times;

static void check(int is_good, const char *what)
{
	if (is_good)
		return;
	perror(what);
	_exit(1);
}

static void start(pthread_t *thread, void *(*run)(void *), int fd)
{
	check(!pthread_create(thread, NULL, run, (void *)(long)fd), "pthread_create");
}

static void *serve(void *argument)
{
	int fd = (long)argument;
	char message[MESSAGE_BYTES];

	while (recv(fd, message, sizeof(message), MSG_WAITALL) == sizeof(message))
		check(send(fd, message, sizeof(message), 0) == sizeof(message), "send");
	return NULL;
}

static void *ask(void *argument)
{
	int fd = (long)argument;
	char message[MESSAGE_BYTES] = "";
	long i;

	for (i = 0; i < times; i++) {
		check(send(fd, message, sizeof(message), 0) == sizeof(message), "send");
		check(recv(fd, message, sizeof(message), MSG_WAITALL) == sizeof(message), "recv");
	}
	return NULL;
}

static int listen_locally(struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(!bind(fd, (struct sockaddr *)address, length), "bind");
	check(!listen(fd, THREADS_MAX), "listen");
	check(!getsockname(fd, (struct sockaddr *)address, &length), "getsockname");
	return fd;
}

static int connect_to(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

	check(!connect(fd, (const struct sockaddr *)address, sizeof(*address)), "connect");
	check(!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)), "setsockopt");
	return fd;
}

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* The child: takes a number of times from a pipe, and writes back what they took. */
static void load(const struct sockaddr_in *address, int threads, int orders, int answers)
{
	pthread_t asking[THREADS_MAX];
	int fds[THREADS_MAX], i;
	long long begun;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (i = 0; i < threads; i++)
		fds[i] = connect_to(address);
	while (read(orders, &times, sizeof(times)) == sizeof(times)) {
		begun = now_ns();
		for (i = 0; i < threads; i++)
			start(&asking[i], ask, fds[i]);
		for (i = 0; i < threads; i++)
			pthread_join(asking[i], NULL);
		begun = now_ns() - begun;
		check(write(answers, &begun, sizeof(begun)) == sizeof(begun), "write");
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int threads = argc == 2 ? atoi(argv[1]) : 0, orders[2], answers[2], fd, i;
	struct sockaddr_in address = {};
	pthread_t serving;
	long long took;
	char line[64];

	check(threads > 0 && threads <= THREADS_MAX, "usage: server THREADS");
	fd = listen_locally(&address);
	check(!pipe(orders) && !pipe(answers), "pipe");
	if (!fork()) {
		close(orders[1]);
		load(&address, threads, orders[0], answers[1]);
	}
	for (i = 0; i < threads; i++)
		start(&serving, serve, accept(fd, NULL, NULL));
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%*31s %ld", &times) != 1)
			return 2;
		check(write(orders[1], &times, sizeof(times)) == sizeof(times), "write");
		check(read(answers[0], &took, sizeof(took)) == sizeof(took), "read");
		printf("%lld\n", took);
		fflush(stdout);
	}
	return 0;
}
