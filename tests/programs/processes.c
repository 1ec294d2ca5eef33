/* Calls on processes, memory and the system. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void memory(void)
{
	char *area = mmap((void *)0x10000000, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	mprotect(area, 4096, PROT_READ | PROT_EXEC);
	mprotect(area, 4096, PROT_NONE);
	madvise(area, 65536, MADV_DONTNEED);
	madvise(area, 65536, MADV_HUGEPAGE);
	mlock(area + 4096, 4096);
	munlock(area + 4096, 4096);
	syscall(SYS_mlock2, area + 4096, 4096, 1);
	msync(area, 4096, MS_ASYNC);
	mremap(area, 65536, 131072, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x20000000);
	mremap((void *)0x20000000, 131072, 65536, 0);
	munmap((void *)0x20000000, 65536);
	munmap((void *)1, 1);
	mmap(NULL, 0, PROT_NONE, MAP_SHARED, -1, 0);
	mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_POPULATE, 42, 0x3000);
	mlockall(MCL_CURRENT);
	munlockall();
	syscall(SYS_membarrier, 0, 0, 0);
}

static void identity(void)
{
	uid_t ruid, euid, suid;
	gid_t groups[64];
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	char name[16];

	getuid(), geteuid(), getgid(), getegid(), getppid(), getpgrp();
	syscall(SYS_getpid);
	syscall(SYS_gettid);
	getpgid(0), getsid(0);
	getresuid(&ruid, &euid, &suid);
	getresgid(&ruid, &euid, &suid);
	syscall(SYS_setresuid, -1, 0, -1);
	setregid(-1, 0);
	getgroups(64, groups);
	getgroups(0, NULL);
	syscall(SYS_capget, &header, data);
	header.version = 1;
	syscall(SYS_capget, &header, NULL);
	prctl(PR_SET_NAME, "a new name");
	prctl(PR_GET_NAME, name);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	prctl(PR_GET_DUMPABLE);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	personality(0xffffffff);
	setpgid(0, 0);
	kill(getpid(), 0);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0);
	kill(999999999, SIGTERM);
}

static void limits(void)
{
	struct rlimit limit = { 100, RLIM_INFINITY };
	struct rlimit old;
	struct rusage usage;
	struct utsname name;
	struct sysinfo info;
	struct tms ticks;
	struct sched_param param = { 0 };
	struct timespec interval;
	cpu_set_t cpus;
	unsigned cpu;

	getrlimit(RLIMIT_NOFILE, &old);
	setrlimit(RLIMIT_CORE, &limit);
	syscall(SYS_prlimit64, 0, RLIMIT_CORE, &limit, &old);
	syscall(SYS_prlimit64, 0, 99, NULL, &old);
	getrusage(RUSAGE_SELF, &usage);
	getrusage(RUSAGE_CHILDREN, &usage);
	uname(&name);
	uname((void *)16);
	sysinfo(&info);
	times(&ticks);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	sched_setaffinity(0, 8, &cpus);
	sched_getscheduler(0);
	sched_setscheduler(0, SCHED_BATCH, &param);
	sched_getparam(0, &param);
	sched_get_priority_max(SCHED_FIFO);
	sched_rr_get_interval(0, &interval);
	sched_yield();
	getpriority(PRIO_PROCESS, 0);
	setpriority(PRIO_PROCESS, 0, 3);
	syscall(SYS_getcpu, &cpu, NULL, NULL);
	syscall(SYS_ioprio_get, 1, 0);
	syscall(SYS_getrandom, &info, 8, 1);
	syscall(SYS_set_tid_address, &cpu);
}

static void futexes(void)
{
	unsigned word = 1;
	struct timespec soon = { 0, 1000000 };

	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
	syscall(SYS_futex, &word, FUTEX_WAIT, 1, &soon, NULL, 0);
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 5, NULL, NULL, 0);
	syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 1, &soon, NULL, FUTEX_BITSET_MATCH_ANY);
	syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, 2, &word, 1);
}

static void children(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	siginfo_t info;
	struct rusage usage;
	int status;
	long child;

	if ((child = syscall(SYS_fork)) == 0)
		syscall(SYS_exit_group, 3);
	wait4(child, &status, 0, NULL);
	if ((child = syscall(SYS_clone3, &args, sizeof(args))) == 0)
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	waitid(P_PID, child, &info, WEXITED | WNOWAIT);
	wait4(child, &status, __WALL, &usage);
	if ((child = vfork()) == 0)
		syscall(SYS_exit, 300);
	wait4(-1, &status, WUNTRACED, NULL);
	if ((child = fork()) == 0) {
		signal(SIGUSR1, SIG_DFL);
		pause();
	}
	usleep(500000);
	kill(child, SIGUSR1);
	wait4(child, &status, 0, NULL);
	wait4(-1, &status, WNOHANG, NULL);
	waitid(P_ALL, 0, &info, WEXITED | WNOHANG);
}

int main(void)
{
	memory();
	identity();
	limits();
	futexes();
	children();
	return 0;
}
