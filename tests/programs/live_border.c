/*
 * What calls point to ends on the last byte before a page that is not there. Where a number is free (the directory
 * of an absolute path), it tells the length of the text.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define BEGIN "/border/"

/* Room of that size which ends where a page that is not there begins. */
static char *room(size_t size)
{
	size_t bytes = (size + PAGE - 1) / PAGE * PAGE;
	char *memory = mmap(NULL, bytes + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || munmap(memory + bytes, PAGE))
		_exit(9);
	return memory + bytes - size;
}

static char *place(const void *data, size_t size)
{
	return memcpy(room(size), data, size);
}

static void fill(char *text, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		text[i] = i < strlen(BEGIN) ? BEGIN[i] : 'a' + (i - strlen(BEGIN)) % 26;
}

static char *path(size_t length)
{
	char *text = room(length + 1);

	fill(text, length);
	text[length] = 0;
	return text;
}

static void paths(void)
{
	static const int lengths[] = {1, 8, 30, 95, 200, 255, 256, 257, 1000, 4094, 4095, 4096, 5000};
	char *endless = room(40);
	unsigned i;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		openat(lengths[i], path(lengths[i]), O_RDONLY);
	openat(0, path(0), O_RDONLY);
	fill(endless, 40);
	openat(9999, endless, O_RDONLY);
}

static void buffers(void)
{
	struct sockaddr_in internet = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/border"};
	struct timespec pause = {0, 1000};
	struct iovec parts[2] = {{place("first", 5), 5}, {place("and second", 10), 10}};
	int ends[2], fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (pipe(ends) || write(ends[1], place("to the last byte", 16), 16) != 16)
		_exit(9);
	if (write(ends[1], place("beyond", 6), 100) > 6)
		_exit(9);
	if (writev(ends[1], (struct iovec *)place(parts, sizeof(parts)), 2) != 15)
		_exit(9);
	connect(fd, (struct sockaddr *)place(&local, offsetof(struct sockaddr_un, sun_path) + 20), 22);
	close(fd);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	connect(fd, (struct sockaddr *)place(&internet, sizeof(internet)), sizeof(internet));
	nanosleep((struct timespec *)place(&pause, sizeof(pause)), NULL);
}

static void execs(void)
{
	char *arguments[] = {place("first", 6), place("to the border", 14), NULL};
	char *environment[] = {place("NAME=value", 11), NULL};
	char **placed = (char **)place(arguments, sizeof(arguments));
	char **endless = (char **)place(arguments, sizeof(arguments[0]));

	execve(place("/nonexistent/program", 21), placed, (char **)place(environment, sizeof(environment)));
	execve("/bin/true", endless, NULL);
	execve(place("/bin/true", 10), placed, (char **)place(environment, sizeof(environment)));
}

int main(void)
{
	paths();
	buffers();
	execs();
	return 9;
}
