/* One call of each kind, the same in every run: what every hook must decode alike. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void files(void)
{
	char text[64];
	struct stat status;
	struct iovec parts[2] = {{"one ", 4}, {"two\n", 4}};
	int fd = openat(AT_FDCWD, "/etc/hostname", O_RDONLY | O_CLOEXEC);
	int none = open("/dev/null", O_WRONLY);

	if (read(fd, text, sizeof(text)) < 0 || fstatat(fd, "", &status, AT_EMPTY_PATH))
		_exit(9);
	close(fd);
	openat(AT_FDCWD, "/nonexistent/\xff\\path", O_RDWR | O_CREAT, 0640);
	rename("/nonexistent/a", "/nonexistent/b");
	if (writev(none, parts, 2) != 8 || readlinkat(AT_FDCWD, "/nonexistent", text, sizeof(text)) != -1)
		_exit(9);
	close(none);
}

static void sockets(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct iovec part = {"message", 7};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	struct pollfd polled;
	socklen_t length = sizeof(address);
	char text[16];
	int pair[2], fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);

	connect(fd, (struct sockaddr *)&address, sizeof(address));
	getsockname(fd, (struct sockaddr *)&address, &length);
	getpeername(fd, (struct sockaddr *)&address, &length);
	close(fd);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
	sendmsg(pair[0], &message, MSG_NOSIGNAL);
	polled = (struct pollfd){.fd = pair[1], .events = POLLIN};
	poll(&polled, 1, 0);
	recv(pair[1], text, sizeof(text), 0);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	struct timespec pause = {0, 1000000};
	struct utsname name;
	char *arguments[] = {"missing", "an argument", NULL}, *environment[] = {"NAME=value", NULL};
	void *memory;
	pid_t child;
	int status;

	files();
	sockets();
	uname(&name);
	nanosleep(&pause, NULL);
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(memory, 4096);
	child = fork();
	if (!child) {
		execve("/nonexistent/program", arguments, environment);
		execve("/bin/true", arguments, environment);
	}
	waitpid(-1, &status, 0);
	_exit(3);
}
