/*
 * Old calls that some kernels serve by calling the function of a newer call: each is made once, by its number, and
 * fails or is undone. What shows more than one event for a call shows the inner function.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NONE "/nonexistent/nested"

int main(void)
{
	char text[16];
	int pair[2];

	syscall(SYS_access, NONE, 0);
	syscall(SYS_readlink, NONE, text, sizeof(text));
	syscall(SYS_mkdir, NONE, 0700);
	syscall(SYS_mknod, NONE, 0100600, 0);
	syscall(SYS_rename, NONE, NONE);
	syscall(SYS_link, NONE, NONE);
	syscall(SYS_symlink, NONE, NONE);
	syscall(SYS_chmod, NONE, 0600);
	syscall(SYS_chown, NONE, 0, 0);
	syscall(SYS_dup2, 1, 100);
	if (syscall(SYS_pipe, pair))
		return 9;
	close(pair[0]);
	close(pair[1]);
	close(syscall(SYS_epoll_create, 1));
	close(syscall(SYS_inotify_init));
	close(syscall(SYS_eventfd, 0));
	syscall(SYS_accept, 1000, 0, 0);
	syscall(SYS_signalfd, -2, 0, 0);
	syscall(SYS_creat, NONE, 0600);
	return 0;
}
