/* Four threads that take turns, then one that ends the process while the others wait. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_barrier_t barrier;

static void *work(void *number)
{
	char byte = '0' + (intptr_t)number;
	int tube[2];

	for (int turn = 0; turn < 4; turn++) {
		pthread_barrier_wait(&barrier);
		if (turn == (intptr_t)number) {
			pipe(tube);
			write(tube[1], &byte, 1);
			read(tube[0], &byte, 1);
			close(tube[0]);
			close(tube[1]);
		}
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[4];

	pthread_barrier_init(&barrier, NULL, 4);
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	syscall(SYS_getpid);
	return 0;
}
