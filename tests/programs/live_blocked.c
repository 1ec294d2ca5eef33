/* Three hundred threads that wait in read() at once, and all return. */
#include <pthread.h>
#include <unistd.h>

#define THREADS 300

static int ends[2];

static void *wait_for_byte(void *unused)
{
	char byte;

	return read(ends[0], &byte, 1) == 1 ? unused : 0;
}

int main(void)
{
	pthread_t threads[THREADS];
	int i;

	if (pipe(ends))
		return 1;
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], 0, wait_for_byte, 0))
			return 1;
	sleep(2);
	for (i = 0; i < THREADS; i++)
		if (write(ends[1], "x", 1) != 1)
			return 1;
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], 0);
	return 0;
}
