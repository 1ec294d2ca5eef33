/* Eight threads, so more than there are CPUs, that call without a pause: `live_crowd COUNT`, getpgid by each. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 8

static long count;

static void *call(void *unused)
{
	long i;

	for (i = 0; i < count; i++)
		syscall(SYS_getpgid, 1000000);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int i;

	count = argc > 1 ? atol(argv[1]) : 0;
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], 0, call, 0))
			return 1;
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], 0);
	return 0;
}
