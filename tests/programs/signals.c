/* Signals, clocks, timers, and calls that signals interrupt. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void handler(int number)
{
	(void)number;
}

static void catch(int number, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

	sigaddset(&action.sa_mask, SIGUSR2);
	sigaddset(&action.sa_mask, SIGCHLD);
	sigaction(number, &action, NULL);
}

/* Long enough for the call that comes next to be waiting, on a busy machine. */
#define MOMENT_US 200000

static void alarm_in(long us)
{
	struct itimerval value = { .it_value = { 0, us } };

	setitimer(ITIMER_REAL, &value, NULL);
}

static void masks(void)
{
	sigset_t set, old;
	struct sigaction action;
	stack_t stack = { .ss_sp = NULL, .ss_flags = SS_DISABLE, .ss_size = 0 };

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigprocmask(SIG_UNBLOCK, NULL, &old);
	sigprocmask(SIG_BLOCK, &old, &old);
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, &old);
	sigprocmask(SIG_SETMASK, &old, NULL);
	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigpending(&set);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGPIPE, NULL, &action);
	sigaction(SIGKILL, &action, NULL);
	sigaltstack(NULL, &stack);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	close(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

/* Each of these is interrupted; the handler's flags say whether the kernel restarts it. */
static void interrupted(void)
{
	struct timespec request = { 5, 0 }, rest;
	struct pollfd nothing = { .fd = 0, .events = POLLIN };
	sigset_t set;
	char byte;
	int tube[2];

	(void)nothing;
	pipe(tube);
	catch(SIGALRM, 0);
	alarm_in(MOMENT_US);
	syscall(SYS_nanosleep, &request, &rest);
	alarm_in(MOMENT_US);
	syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &request, &request);
	alarm_in(MOMENT_US);
	syscall(SYS_read, tube[0], &byte, 1);
	alarm_in(MOMENT_US);
	syscall(SYS_poll, NULL, 0, 5000);
	alarm_in(MOMENT_US);
	syscall(SYS_pause);
	sigemptyset(&set);
	alarm_in(MOMENT_US);
	syscall(SYS_rt_sigsuspend, &set, 8);
	catch(SIGALRM, SA_RESTART);
	if (syscall(SYS_fork) == 0) {
		usleep(3 * MOMENT_US);
		write(tube[1], "x", 1);
		syscall(SYS_exit_group, 0);
	}
	alarm_in(MOMENT_US);
	syscall(SYS_read, tube[0], &byte, 1);
	wait4(-1, NULL, 0, NULL);
	raise(SIGALRM);
}

static void clocks(void)
{
	struct timespec now, short_sleep = { 0, 1000 };
	struct itimerspec spec = { { 1, 0 }, { 2, 500 } }, before;
	struct itimerval value;
	struct sigevent event = { .sigev_notify = SIGEV_NONE, .sigev_signo = SIGUSR1 };
	struct timeval tv;
	timer_t timer;
	sigset_t set;
	siginfo_t info;
	int fd, id;

	syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
	syscall(SYS_clock_getres, CLOCK_MONOTONIC, &now);
	syscall(SYS_clock_gettime, 77, &now);
	syscall(SYS_gettimeofday, &tv, NULL);
	syscall(SYS_time, NULL);
	syscall(SYS_nanosleep, &short_sleep, NULL);
	syscall(SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &short_sleep, NULL);
	getitimer(ITIMER_VIRTUAL, &value);
	alarm(100);
	alarm(0);
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	timerfd_settime(fd, 0, &spec, &before);
	timerfd_settime(fd, TFD_TIMER_ABSTIME, &before, NULL);
	syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id);
	syscall(SYS_timer_settime, id, 0, &spec, &before);
	syscall(SYS_timer_getoverrun, id);
	syscall(SYS_timer_delete, id);
	(void)timer;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
	syscall(SYS_rt_sigpending, &set, 8);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	syscall(SYS_rt_sigtimedwait, &set, &info, &short_sleep, 8);
	syscall(SYS_rt_sigtimedwait, &set, &info, &short_sleep, 8);
}

int main(void)
{
	masks();
	interrupted();
	clocks();
	return 0;
}
