/* Several threads that each make calls for some seconds: live_soak SECONDS THREADS. Prints how many of each. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static time_t end;

static void *make_calls(void *made)
{
	long rounds = 0;

	while (time(NULL) < end) {
		for (int i = 0; i < 500; i++) {
			syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0));
			if (i % 8 == 0)
				syscall(SYS_getppid);
		}
		rounds++;
	}
	*(long *)made = rounds;
	return NULL;
}

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[2]) : 1;
	pthread_t threads[64];
	long rounds[64];
	long total = 0;

	if (argc < 2 || count < 1 || count > 64)
		return 2;
	end = time(NULL) + atoi(argv[1]);
	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, make_calls, &rounds[i]);
	for (int i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		total += rounds[i];
	}
	printf("%ld %ld\n", total * 500, total * 63);
	return 0;
}
