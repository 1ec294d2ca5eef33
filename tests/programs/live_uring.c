/* Operations by io_uring: live_uring COUNT [sq]. COUNT of IORING_OP_NOP and one IORING_OP_OPENAT; sq: a thread of the kernel submits them. */
#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 64

static char *map(int fd, size_t bytes, off_t offset)
{
	char *found = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

	if (found == MAP_FAILED)
		err(1, "mmap");
	return found;
}

int main(int argc, char **argv)
{
	struct io_uring_params params = {};
	int count = argc > 1 ? atoi(argv[1]) : 1, is_polled = argc > 2, fd, i;

	if (is_polled)
		params.flags = IORING_SETUP_SQPOLL;
	fd = syscall(SYS_io_uring_setup, ENTRIES, &params);
	if (fd < 0)
		err(1, "io_uring_setup");
	char *ring = map(fd, params.sq_off.array + ENTRIES * sizeof(unsigned), IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqes = (void *)map(fd, ENTRIES * sizeof(*sqes), IORING_OFF_SQES);
	unsigned *tail = (void *)(ring + params.sq_off.tail), *array = (void *)(ring + params.sq_off.array);
	unsigned *head = (void *)(ring + params.sq_off.head), *flags = (void *)(ring + params.sq_off.flags);

	for (i = 0; i <= count; i++) {
		struct io_uring_sqe *sqe = &sqes[i];

		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = i < count ? IORING_OP_NOP : IORING_OP_OPENAT;
		if (i == count) {
			sqe->fd = AT_FDCWD;
			sqe->addr = (unsigned long)"/dev/null";
		}
		array[i] = i;
	}
	__atomic_store_n(tail, count + 1, __ATOMIC_RELEASE);
	if (is_polled)
		while (__atomic_load_n(head, __ATOMIC_ACQUIRE) != (unsigned)count + 1) {
			if (__atomic_load_n(flags, __ATOMIC_ACQUIRE) & IORING_SQ_NEED_WAKEUP)
				syscall(SYS_io_uring_enter, fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
			usleep(1000);
		}
	else if (syscall(SYS_io_uring_enter, fd, count + 1, 0, 0, NULL, 0) != count + 1)
		err(1, "io_uring_enter");
	return 0;
}
