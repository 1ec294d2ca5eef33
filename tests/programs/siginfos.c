/* Signals whose siginfo has other members each: siginfos. Its children end one after another. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void on_signal(int number)
{
	(void)number;
}

/* Catch a signal, and block it: wait_for lets it in. */
static void expect(int number)
{
	sigset_t set;

	signal(number, on_signal);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void wait_for(int number)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, number);
	sigsuspend(&set);
}

static void illegal(void) { __asm__ volatile("ud2"); }
static void trap(void) { __asm__ volatile("int3"); }
static void privileged(void) { __asm__ volatile("hlt"); }
static void null(void) { *(volatile int *)NULL = 1; }
static void not_canonical(void) { *(volatile int *)0x8000000000000000 = 1; }

static void divide(void)
{
	volatile int zero = 0, result = 17 / zero;

	(void)result;
}

static void read_only(void)
{
	volatile int *page = mmap((void *)0x10000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	*page = 1;
}

static void behind_the_end(void)
{
	int fd = memfd_create("empty", 0);
	volatile int *page = mmap((void *)0x10000000, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);

	(void)*page;
}

static void big_file(void)
{
	struct rlimit limit = { 10, 10 };
	int fd = memfd_create("big", 0);

	setrlimit(RLIMIT_FSIZE, &limit);
	write(fd, "twenty bytes of text", 20);
	write(fd, "more", 4);
}

static void broken_pipe(void)
{
	int ends[2];
	char byte = 'x';

	pipe(ends);
	close(ends[0]);
	write(ends[1], &byte, 1);
}

/* seccomp calls a handler in place of getuid. */
static void refused_call(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getuid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 7),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
	signal(SIGSYS, on_signal);
	syscall(SYS_getuid);
}

static void in_a_child(void (*work)(void))
{
	pid_t child = fork();

	if (child == 0) {
		work();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void timers(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = 5 };
	struct itimerspec soon = { .it_value = { 0, 10000000 } };
	struct itimerval once = { .it_value = { 0, 10000 } };
	int timer;

	expect(SIGRTMIN + 2);
	syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer);
	syscall(SYS_timer_settime, timer, 0, &soon, NULL);
	wait_for(SIGRTMIN + 2);
	syscall(SYS_timer_delete, timer);
	expect(SIGALRM);
	setitimer(ITIMER_REAL, &once, NULL);
	wait_for(SIGALRM);
}

static void sent(void)
{
	union sigval value = { .sival_ptr = (void *)0x123456789a };

	expect(SIGRTMIN);
	sigqueue(getpid(), SIGRTMIN, value);
	sigqueue(getpid(), SIGRTMIN, value);
	wait_for(SIGRTMIN);
	wait_for(SIGRTMIN);
	expect(SIGRTMAX);
	syscall(SYS_tkill, getpid(), SIGRTMAX);
	wait_for(SIGRTMAX);
	expect(SIGUSR2);
	kill(0, SIGUSR2);
	wait_for(SIGUSR2);
}

static void io(void)
{
	int ends[2];

	expect(SIGIO);
	pipe(ends);
	fcntl(ends[0], F_SETOWN, getpid());
	fcntl(ends[0], F_SETFL, O_ASYNC);
	write(ends[1], "x", 1);
	wait_for(SIGIO);
	fcntl(ends[0], F_SETSIG, SIGIO);
	write(ends[1], "x", 1);
	wait_for(SIGIO);
}

static void queue(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 9 };
	struct mq_attr size = { .mq_maxmsg = 1, .mq_msgsize = 1 };
	mqd_t messages = mq_open("/siginfos", O_RDWR | O_CREAT | O_EXCL, 0600, &size);

	mq_unlink("/siginfos");
	expect(SIGUSR1);
	mq_notify(messages, &event);
	mq_send(messages, "x", 1, 0);
	wait_for(SIGUSR1);
}

/* What a child tells its parent of itself. */
static void stops(void)
{
	pid_t child;

	expect(SIGCHLD);
	child = fork();
	if (child == 0) {
		raise(SIGSTOP);
		_exit(3);
	}
	wait_for(SIGCHLD);
	waitpid(child, NULL, WUNTRACED);
	kill(child, SIGCONT);
	wait_for(SIGCHLD);
	waitpid(child, NULL, 0);
}

int main(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	setpgid(0, 0);
	in_a_child(illegal);
	in_a_child(trap);
	in_a_child(privileged);
	in_a_child(null);
	in_a_child(not_canonical);
	in_a_child(divide);
	in_a_child(read_only);
	in_a_child(behind_the_end);
	in_a_child(big_file);
	in_a_child(broken_pipe);
	in_a_child(refused_call);
	timers();
	sent();
	io();
	queue();
	stops();
	return 0;
}
