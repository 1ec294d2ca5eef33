/* A process whose stack claims that its calls come from files that it chose: each file is mapped as code. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE 0x10000UL
#define PLACE 0x1008UL

struct frame {
	struct frame *next;
	void *returns_to;
};

static long call_from(struct frame *frame)
{
	long result;

	__asm__ volatile("push %%rbp\n\tmov %2, %%rbp\n\tsyscall\n\tpop %%rbp"
			 : "=a"(result)
			 : "a"((long)SYS_getppid), "r"(frame)
			 : "rcx", "r11", "memory");
	return result;
}

int main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		int fd = open(argv[i], O_RDONLY);
		char *code = mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
		struct frame frame = {NULL, code + PLACE};

		if (fd < 0 || code == MAP_FAILED) {
			perror(argv[i]);
			return 1;
		}
		call_from(&frame);
	}
	/* Late enough for who reads the files while we live. */
	usleep(999999);
	return 0;
}
