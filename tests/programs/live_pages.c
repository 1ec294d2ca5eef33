/*
 * Arguments in pages that are not there yet when the call begins: `live_pages CASE DIRECTORY`.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PLACE ((char *)0x10000000)

/* Pages of a file that nobody touched, at a known address. */
static char *map_fresh(const void *data, size_t size)
{
	int fd = open("fresh", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *place;

	if (ftruncate(fd, 2 * PAGE) || pwrite(fd, data, size, 0) != (ssize_t)size)
		_exit(9);
	place = mmap(PLACE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
	close(fd);
	return place;
}

static void path(void)
{
	syscall(SYS_openat, AT_FDCWD, map_fresh("/no/fresh", 10), 0, 0);
}

/* A file's pages have no entries in the child's tables, though its parent used them. */
static void child(void)
{
	static const char rodata[3 * PAGE] __attribute__((aligned(PAGE))) = "/no/rodata";
	volatile char used = rodata[0];

	(void)used;
	if (!fork()) {
		syscall(SYS_openat, AT_FDCWD, rodata, 0, 0);
		_exit(0);
	}
	wait(NULL);
}

/* Begins on a page that is there and goes on on one that is not. */
static void crossing(void)
{
	static char text[2 * PAGE];
	char *fresh;

	memset(text, 'c', sizeof(text));
	text[PAGE - 3] = '/';
	text[PAGE + 4] = 0;
	fresh = map_fresh(text, sizeof(text));
	madvise(fresh, 2 * PAGE, MADV_RANDOM);
	*(volatile char *)(fresh + PAGE - 3) = '/';
	syscall(SYS_openat, AT_FDCWD, fresh + PAGE - 3, 0, 0);
}

static void entry(void)
{
	struct timespec pause = {0, 1234};

	syscall(SYS_nanosleep, map_fresh(&pause, sizeof(pause)), NULL);
}

static void out(void)
{
	struct timespec *fresh = (void *)map_fresh("", 1);

	syscall(SYS_clock_getres, CLOCK_MONOTONIC, fresh);
}

/* The vector, its strings and the file's name: none of them is there. */
static void execute(const char *name)
{
	struct {
		uint64_t argv[3], envp[2];
		char name[64], first[16], second[16], variable[16];
	} image = {
		{(uint64_t)PLACE + 40 + 64, (uint64_t)PLACE + 40 + 64 + 16},
		{(uint64_t)PLACE + 40 + 64 + 32},
		"", "argument zero", "one\xff", "NAME=value",
	};
	char *fresh;

	strcpy(image.name, name);
	fresh = map_fresh(&image, sizeof(image));
	syscall(SYS_execve, fresh + 40, fresh, fresh + 24);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 0;
	if (chdir(argv[2]))
		return 9;
	if (!strcmp(argv[1], "path"))
		path();
	if (!strcmp(argv[1], "child"))
		child();
	if (!strcmp(argv[1], "crossing"))
		crossing();
	if (!strcmp(argv[1], "entry"))
		entry();
	if (!strcmp(argv[1], "out"))
		out();
	if (!strcmp(argv[1], "exec"))
		execute("./again");
	if (!strcmp(argv[1], "failed"))
		execute("./nothing");
	return 0;
}
