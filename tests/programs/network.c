/* A TCP server and its client in one process, over 127.0.0.1 and ::1, then UDP and Unix sockets; a network of its own. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
	struct sockaddr_storage room;
};

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd;

	unshare(CLONE_NEWNET);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
}

static socklen_t address_of(union address *address, int family, int port)
{
	memset(address, 0, sizeof(*address));
	if (family == AF_INET) {
		address->v4 = (struct sockaddr_in){ AF_INET, htons(port), { htonl(INADDR_LOOPBACK) } };
		return sizeof(address->v4);
	}
	address->v6 = (struct sockaddr_in6){ AF_INET6, htons(port), 0, IN6ADDR_LOOPBACK_INIT, 0 };
	return sizeof(address->v6);
}

static void wait_for(int fd)
{
	struct pollfd polled[2] = { { fd, POLLIN, 0 }, { -1, POLLOUT | POLLPRI, 0 } };
	struct epoll_event event = { EPOLLIN | EPOLLRDHUP | EPOLLET, { .u64 = 0x1122334455667788 } }, found[4];
	struct timeval limit = { 5, 0 };
	struct timespec fine = { 5, 0 };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	fd_set in, out;
	sigset_t mask;

	sigemptyset(&mask);
	poll(polled, 2, 1000);
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	epoll_wait(epoll, found, 4, 1000);
	epoll_pwait(epoll, found, 4, 0, &mask);
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(fd, &in);
	FD_SET(0, &out);
	syscall(SYS_select, fd + 1, &in, &out, NULL, &limit);
	FD_ZERO(&in);
	FD_SET(fd, &in);
	pselect(fd + 1, &in, NULL, NULL, &fine, &mask);
	ppoll(polled, 1, &fine, &mask);
	polled[0].events = POLLPRI;
	poll(polled, 1, 0);
	close(epoll);
}

static void options(int fd, int family)
{
	int on = 1, value = 0;
	struct linger linger = { 1, 2 };
	socklen_t size = sizeof(value);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP, family == AF_INET6 ? IPV6_V6ONLY : IP_TTL, &on, sizeof(on));
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size);
	setsockopt(fd, 12345, 1, &on, sizeof(on));
}

static void talk(int client, int server)
{
	char one[4], two[16];
	struct iovec out[2] = { { "head", 4 }, { "and body", 8 } };
	struct iovec in[2] = { { one, sizeof(one) }, { two, sizeof(two) } };
	struct msghdr message = { .msg_iov = out, .msg_iovlen = 2 };

	send(client, "ping", 4, MSG_NOSIGNAL);
	wait_for(server);
	recv(server, two, sizeof(two), 0);
	sendto(server, "pong", 4, MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0);
	recv(client, two, sizeof(two), MSG_PEEK);
	recvfrom(client, two, sizeof(two), MSG_WAITALL & 0, NULL, NULL);
	sendmsg(client, &message, MSG_NOSIGNAL);
	message.msg_iov = in;
	recvmsg(server, &message, 0);
	recv(server, two, sizeof(two), MSG_DONTWAIT);
	shutdown(client, SHUT_WR);
	recv(server, two, sizeof(two), 0);
}

static void tcp(int family, int port)
{
	union address address, peer;
	socklen_t size = address_of(&address, family, port), room = sizeof(peer);
	int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP), client, server;

	options(listener, family);
	bind(listener, &address.any, size);
	bind(listener, &address.any, 3);
	listen(listener, 16);
	getsockname(listener, &peer.any, &room);
	client = socket(family, SOCK_STREAM, 0);
	address_of(&peer, family, port + 100); /* no port that the kernel chooses */
	bind(client, &peer.any, size);
	connect(client, &address.any, size);
	room = sizeof(peer);
	server = accept4(listener, &peer.any, &room, SOCK_CLOEXEC | SOCK_NONBLOCK);
	room = 6;
	getpeername(client, &peer.any, &room);
	talk(client, server);
	close(listener);
	connect(socket(family, SOCK_STREAM, 0), &address.any, size);
	syscall(SYS_accept, client, NULL, NULL);
	close(server);
	close(client);
}

static void udp(void)
{
	union address address, from;
	socklen_t size = address_of(&address, AF_INET, 5000), room = sizeof(from);
	char buffer[16];
	struct iovec iov = { buffer, sizeof(buffer) };
	struct msghdr message = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1 };
	struct mmsghdr several[2] = { { { .msg_iov = &iov, .msg_iovlen = 1 }, 0 }, { { .msg_iov = &iov, .msg_iovlen = 1 }, 0 } };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	bind(fd, &address.any, size);
	sendto(fd, "datagram", 8, 0, &address.any, size);
	recvfrom(fd, buffer, sizeof(buffer), 0, &from.any, &room);
	sendto(fd, "another", 7, MSG_CONFIRM, &address.any, size);
	recvmsg(fd, &message, MSG_TRUNC);
	connect(fd, &address.any, size);
	sendmmsg(fd, several, 2, 0);
	recvmmsg(fd, several, 2, MSG_DONTWAIT, NULL);
	recvfrom(fd, buffer, sizeof(buffer), MSG_DONTWAIT, &from.any, &room);
}

static void pass_descriptor(int from, int to)
{
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec iov = { "f", 1 };
	char byte[8];
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };

	control.head = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memset(CMSG_DATA(&control.head), 0, sizeof(int));
	sendmsg(from, &message, 0);
	iov.iov_base = byte;
	recvmsg(to, &message, MSG_CMSG_CLOEXEC);
}

static void local(void)
{
	union address address = { .local = { AF_UNIX, "socket.path" } }, abstract = { .local = { AF_UNIX, "\0abstract" } };
	int pair[2], fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
	pass_descriptor(pair[0], pair[1]);
	bind(fd, &address.any, sizeof(address.local));
	bind(socket(AF_UNIX, SOCK_STREAM, 0), &abstract.any, sizeof(sa_family_t) + 9);
	address.local.sun_path[0] = 'x';
	connect(fd, &address.any, sizeof(address.local));
	connect(fd, (void *)8, 16);
	socket(AF_NETLINK, SOCK_RAW, 0);
	socket(99, 1, 0);
}

int main(void)
{
	loopback_up();
	tcp(AF_INET, 4000);
	tcp(AF_INET6, 4001);
	udp();
	local();
	return 0;
}
