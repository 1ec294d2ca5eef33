/*
 * Calls with arguments of every kind, the same in every run. The thread's name tells the case: it changes before each.
 * The argument is a directory to work in.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/netlink.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define BAD ((void *)1)
#define CASE(name) prctl(PR_SET_NAME, name)

/* The end of a page that none follows. */
static char *edge;

static void *at_edge(const void *data, size_t size)
{
	return memcpy(edge - size, data, size);
}

static void map_edge(void)
{
	char *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(pages + PAGE, PAGE);
	edge = pages + PAGE;
}

static long open_path(const void *path)
{
	return syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
}

static void paths(void)
{
	static char longest[2 * PAGE];
	int i;

	CASE("path plain");
	open_path("/no/such");
	CASE("path bytes");
	open_path("/no/\xff\\x41\n\x1b caf\xc3\xa9 \xe2\x82");
	CASE("path empty");
	open_path("");
	CASE("path edge");
	open_path(at_edge("/no/at/edge", 12));
	CASE("path crossing");
	open_path(at_edge("/no/end", 7));
	CASE("path null");
	open_path(NULL);
	CASE("path bad");
	open_path(BAD);
	CASE("path kernel");
	open_path((void *)0xffff888000000000);
	for (i = 0; i < 4095; i++)
		longest[i] = i % 2 ? 'a' : '/';
	CASE("path 4095");
	open_path(longest);
	longest[4095] = 'b';
	CASE("path 4096");
	open_path(longest);
	CASE("path two");
	syscall(SYS_renameat2, AT_FDCWD, "/no/a", 77, "/no/b", RENAME_NOREPLACE | 0x100);
}

static void buffers(void)
{
	int fd, null = open("/dev/null", O_RDWR);
	char text[256], name[128];

	memset(text, 'x', sizeof(text));
	memset(name, 'n', sizeof(name));
	name[100] = 0;
	CASE("text");
	fd = syscall(SYS_memfd_create, "a name", MFD_CLOEXEC);
	CASE("text cut");
	close(syscall(SYS_memfd_create, name, 0));
	name[32] = 0;
	CASE("text fits");
	close(syscall(SYS_memfd_create, name, 0));
	CASE("write bytes");
	syscall(SYS_write, null, "a\0\xff\\\n", 5);
	CASE("write cut");
	syscall(SYS_write, null, text, 100);
	CASE("write fits");
	syscall(SYS_write, null, text, 32);
	CASE("write none");
	syscall(SYS_write, null, text, 0);
	CASE("write null");
	syscall(SYS_write, fd, NULL, 5);
	CASE("write bad");
	syscall(SYS_write, fd, BAD, 5);
	CASE("write edge");
	syscall(SYS_write, fd, at_edge("0123456789", 10), 10);
	CASE("write beyond");
	syscall(SYS_write, fd, at_edge("0123456789", 10), 100);
	CASE("read");
	syscall(SYS_pread64, fd, text, sizeof(text), 0);
	CASE("read end");
	syscall(SYS_pread64, fd, text, sizeof(text), 1000);
	CASE("read failed");
	syscall(SYS_pread64, -1, text, sizeof(text), 0);
	CASE("readlink");
	syscall(SYS_readlinkat, AT_FDCWD, "link", text, sizeof(text));
	CASE("getcwd");
	syscall(SYS_getcwd, text, sizeof(text));
	CASE("getcwd failed");
	syscall(SYS_getcwd, text, 1);
	close(fd);
	close(null);
}

static void numbers(void)
{
	void *memory;

	CASE("flags");
	syscall(SYS_openat, 77, "no", O_RDWR | O_CREAT | O_CLOEXEC | 0x40000000, 0640);
	CASE("flags many");
	syscall(SYS_openat, AT_FDCWD, "/no/a", O_WRONLY | O_TMPFILE | O_SYNC | O_APPEND, 07777);
	CASE("mmap");
	memory = (void *)syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CASE("mprotect");
	syscall(SYS_mprotect, memory, PAGE, PROT_NONE);
	munmap(memory, PAGE);
	CASE("enum");
	syscall(SYS_lseek, -1, -5L, SEEK_DATA);
	CASE("enum unknown");
	syscall(SYS_lseek, 1000, 1L << 40, 99);
	CASE("signal");
	syscall(SYS_kill, 0, 0);
	CASE("fcntl");
	syscall(SYS_fcntl, 1000, F_SETFD, FD_CLOEXEC);
	CASE("fcntl dup");
	syscall(SYS_fcntl, 1000, F_DUPFD, 10);
	CASE("sockopt");
	syscall(SYS_setsockopt, 1000, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
}

static void addresses(void)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0x7f000001)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(443), .sin6_scope_id = 7, .sin6_flowinfo = htonl(5)};
	struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/no/such/socket"};
	struct sockaddr_un hidden = {.sun_family = AF_UNIX, .sun_path = "\0hidden\0name"};
	struct sockaddr_nl link = {.nl_family = AF_NETLINK, .nl_pid = 5, .nl_groups = 3};
	struct sockaddr_storage storage = {.ss_family = 99};
	socklen_t length;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	inet_pton(AF_INET6, "fe80::1:2", &v6.sin6_addr);
	CASE("v4");
	syscall(SYS_connect, -1, &v4, sizeof(v4));
	CASE("v6");
	syscall(SYS_connect, -1, &v6, sizeof(v6));
	CASE("unix");
	syscall(SYS_connect, -1, &local, sizeof(local));
	CASE("unix abstract");
	syscall(SYS_bind, fd, &hidden, 2 + 12);
	CASE("unix unnamed");
	syscall(SYS_connect, -1, &local, 2);
	CASE("netlink");
	syscall(SYS_connect, -1, &link, sizeof(link));
	CASE("family unknown");
	syscall(SYS_connect, -1, &storage, 6);
	CASE("address short");
	syscall(SYS_connect, -1, &v4, 1);
	CASE("address cut");
	syscall(SYS_connect, -1, &v4, 4);
	CASE("address long");
	syscall(SYS_connect, -1, &storage, 1000);
	CASE("address null");
	syscall(SYS_connect, -1, NULL, 16);
	CASE("address bad");
	syscall(SYS_connect, -1, BAD, 16);
	CASE("address out");
	length = sizeof(storage);
	syscall(SYS_getsockname, fd, &storage, &length);
	CASE("address room");
	length = 5;
	syscall(SYS_getsockname, fd, &storage, &length);
	CASE("address failed");
	syscall(SYS_getsockname, -1, &storage, &length);
	close(fd);
}

static void vectors(void)
{
	static char *many[301], words[300][8], long_word[200];
	char *few[] = {"zero", "", "\xff\\", NULL}, *broken[] = {"first", BAD, "last", NULL}, *cut[] = {"x", long_word, NULL};
	char *environment[] = {"A=1", "B=2", NULL};
	int i;

	for (i = 0; i < 300; i++) {
		words[i][0] = 'a' + i / 26;
		words[i][1] = 'a' + i % 26;
		many[i] = words[i];
	}
	memset(long_word, 'w', sizeof(long_word) - 1);
	CASE("argv");
	syscall(SYS_execve, "/no/such", few, environment);
	CASE("argv too many");
	syscall(SYS_execve, "/no/such", many, NULL);
	many[70] = NULL;
	CASE("argv many");
	syscall(SYS_execve, "/no/such", many, many + 68);
	CASE("argv cut");
	syscall(SYS_execve, "/no/such", cut, environment + 2);
	CASE("argv broken");
	syscall(SYS_execve, "/no/such", broken, BAD);
	CASE("execveat");
	syscall(SYS_execveat, 77, "no/such", few, environment, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
}

static void iovecs(void)
{
	static struct iovec many[40];
	struct iovec parts[3] = {{"one", 3}, {NULL, 0}, {"\xfftwo\\", 5}}, broken[2] = {{"one", 3}, {BAD, 3}};
	struct iovec room[2];
	char text[64], first[2], second[50];
	int i, pair[2], null = open("/dev/null", O_RDWR);

	memset(text, 't', sizeof(text));
	CASE("writev");
	syscall(SYS_writev, null, parts, 3);
	CASE("writev cut");
	parts[1] = (struct iovec){text, sizeof(text)};
	syscall(SYS_writev, null, parts, 3);
	CASE("writev broken");
	syscall(SYS_writev, -1, broken, 2);
	for (i = 0; i < 40; i++)
		many[i] = (struct iovec){text, 1};
	CASE("writev many");
	syscall(SYS_writev, null, many, 40);
	CASE("writev null");
	syscall(SYS_writev, -1, NULL, 2);
	CASE("writev bad");
	syscall(SYS_writev, -1, BAD, 2);
	if (pipe(pair) || write(pair[1], "abcdefg", 7) != 7)
		_exit(9);
	room[0] = (struct iovec){first, sizeof(first)};
	room[1] = (struct iovec){second, sizeof(second)};
	CASE("readv");
	syscall(SYS_readv, pair[0], room, 2);
	CASE("readv failed");
	syscall(SYS_readv, -1, room, 2);
	close(pair[0]);
	close(pair[1]);
	close(null);
}

static void messages(void)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x7f000001)};
	struct iovec parts[2] = {{"hello ", 6}, {"world", 5}};
	char control[CMSG_SPACE(sizeof(int))] = {}, text[64], more[CMSG_SPACE(sizeof(int))];
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof(control)};
	struct mmsghdr two[2] = {{.msg_hdr = {.msg_iov = parts, .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = parts + 1, .msg_iovlen = 1}}};
	struct iovec room = {text, sizeof(text)};
	struct msghdr received = {.msg_iov = &room, .msg_iovlen = 1, .msg_control = more, .msg_controllen = sizeof(more)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	int pair[2];

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	*(int *)CMSG_DATA(head) = 2;
	socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
	CASE("sendmsg");
	syscall(SYS_sendmsg, pair[0], &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	CASE("recvmsg");
	syscall(SYS_recvmsg, pair[1], &received, MSG_CMSG_CLOEXEC);
	CASE("recvmsg failed");
	syscall(SYS_recvmsg, pair[1], &received, MSG_DONTWAIT);
	message.msg_name = &v4;
	message.msg_namelen = sizeof(v4);
	message.msg_control = NULL;
	message.msg_controllen = 0;
	CASE("sendmsg name");
	syscall(SYS_sendmsg, -1, &message, 0);
	CASE("sendmsg bad");
	syscall(SYS_sendmsg, -1, BAD, 0);
	CASE("sendmmsg");
	syscall(SYS_sendmmsg, pair[0], two, 2, 0);
	CASE("recvfrom");
	syscall(SYS_recvfrom, pair[1], text, sizeof(text), MSG_PEEK, NULL, NULL);
	CASE("sendto");
	syscall(SYS_sendto, -1, "data", 4, 0, &v4, sizeof(v4));
	close(pair[0]);
	close(pair[1]);
}

static void files(void)
{
	struct timespec times[2] = {{100, 5}, {200, 6}};
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .mode = 0, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH};
	struct { struct open_how how; uint64_t more; } larger = {how, 0};
	struct statx extended;
	struct stat status;
	int pair[2];

	CASE("utimensat");
	syscall(SYS_utimensat, AT_FDCWD, "file", times, 0);
	CASE("stat");
	syscall(SYS_newfstatat, AT_FDCWD, "file", &status, AT_SYMLINK_NOFOLLOW);
	CASE("stat failed");
	syscall(SYS_newfstatat, AT_FDCWD, "/no", &status, 0);
	CASE("stat bad");
	syscall(SYS_newfstatat, AT_FDCWD, "file", BAD, 0);
	CASE("statx");
	syscall(SYS_statx, AT_FDCWD, "file", AT_STATX_DONT_SYNC, STATX_SIZE | STATX_MODE | STATX_MTIME, &extended);
	CASE("open_how");
	close(syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof(how)));
	CASE("open_how short");
	syscall(SYS_openat2, AT_FDCWD, "file", &how, 8);
	CASE("open_how long");
	close(syscall(SYS_openat2, AT_FDCWD, "file", &larger, sizeof(larger)));
	CASE("pipe");
	syscall(SYS_pipe2, pair, O_CLOEXEC | O_NONBLOCK);
	close(pair[0]);
	close(pair[1]);
	CASE("pipe failed");
	syscall(SYS_pipe2, pair, 0x10);
}

static void waiting(void)
{
	struct pollfd polled[3] = {{.events = POLLIN | POLLPRI}, {.fd = -1}, {.fd = 1000, .events = POLLOUT}};
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x1122334455667788}, ready[4];
	struct timeval limit = {0, 500};
	struct timespec pause = {0, 1500};
	int pair[2], epoll;
	fd_set in, out;

	if (pipe(pair) || dup2(pair[0], 70) != 70 || dup2(pair[1], 71) != 71)
		_exit(9);
	if (write(71, "x", 1) != 1)
		_exit(9);
	polled[0].fd = 70;
	CASE("poll");
	syscall(SYS_poll, polled, 3, 100);
	CASE("ppoll");
	polled[0].events = POLLPRI;
	polled[0].revents = 0;
	syscall(SYS_ppoll, polled, 1, &pause, NULL, 8);
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(70, &in);
	FD_SET(71, &in);
	FD_SET(71, &out);
	CASE("select");
	syscall(SYS_select, 72, &in, &out, NULL, &limit);
	limit = (struct timeval){0, 500};
	CASE("select empty");
	FD_ZERO(&in);
	syscall(SYS_select, 0, NULL, NULL, NULL, &limit);
	epoll = epoll_create1(0);
	CASE("epoll_ctl");
	syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, 70, &event);
	CASE("epoll_wait");
	syscall(SYS_epoll_wait, epoll, ready, 4, 0);
	CASE("epoll none");
	syscall(SYS_epoll_wait, epoll, ready, 4, 0);
	pause = (struct timespec){0, 1500};
	CASE("nanosleep");
	syscall(SYS_nanosleep, &pause, NULL);
	close(pair[0]);
	close(pair[1]);
	close(70);
	close(71);
	close(epoll);
}

static void processes(void)
{
	struct clone_args child = {.flags = CLONE_VFORK | CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
	struct sigaction action = {.sa_handler = SIG_IGN};
	struct rlimit limit = {64, 128};
	struct sched_param priority = {0};
	gid_t groups[3] = {5, 100, 4000000000u};
	uint64_t set = 1 << (SIGUSR1 - 1) | 1 << (SIGTERM - 1) | 1ul << 63, old = 0, mask = 3;
	int status, length, value, pair[2];
	pid_t pid;

	CASE("sigset");
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, &old, 8);
	CASE("sigset same");
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, &old, 8);
	CASE("sigset failed");
	syscall(SYS_rt_sigprocmask, 77, &set, &old, 8);
	CASE("sigaction");
	sigaction(SIGUSR2, &action, NULL);
	CASE("setgroups");
	syscall(SYS_setgroups, 3, groups);
	CASE("getgroups");
	syscall(SYS_getgroups, 3, groups);
	CASE("prlimit set");
	syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
	CASE("prlimit");
	syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
	CASE("scheduler");
	syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &priority);
	CASE("affinity");
	syscall(SYS_sched_setaffinity, 0, sizeof(mask), &mask);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	CASE("value result");
	length = sizeof(value);
	syscall(SYS_getsockopt, pair[0], SOL_SOCKET, SO_TYPE, &value, &length);
	CASE("value room");
	length = 100;
	syscall(SYS_getsockopt, pair[0], SOL_SOCKET, SO_TYPE, &value, &length);
	CASE("value failed");
	syscall(SYS_getsockopt, -1, SOL_SOCKET, SO_TYPE, &value, &length);
	CASE("clone_args");
	pid = syscall(SYS_clone3, &child, sizeof(child));
	if (!pid)
		_exit(7);
	CASE("wait4");
	syscall(SYS_wait4, pid, &status, 0, NULL);
	CASE("wait4 failed");
	syscall(SYS_wait4, -1, &status, WNOHANG, NULL);
	close(pair[0]);
	close(pair[1]);
}

int main(int argc, char **argv)
{
	if (argc != 2 || chdir(argv[1]))
		return 9;
	map_edge();
	paths();
	buffers();
	numbers();
	addresses();
	vectors();
	iovecs();
	messages();
	files();
	waiting();
	processes();
	return 0;
}
