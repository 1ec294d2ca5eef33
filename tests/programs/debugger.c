/* SPDX-License-Identifier: Apache-2.0 */
/* Debugs a child: stops it, looks at it and changes it, by requests whose arguments mean different things. */
#define _GNU_SOURCE
#include <elf.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile long word = 4711;

static long ask(long request, pid_t child, unsigned long addr, unsigned long data)
{
	return syscall(SYS_ptrace, request, child, addr, data);
}

static int child(void)
{
	syscall(SYS_ptrace, PTRACE_TRACEME, 1, 2, 3);
	syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP);
	syscall(SYS_getppid);
	syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
	return word == 4712 ? 5 : 6;
}

static void look_at(pid_t child)
{
	struct user_regs_struct registers;
	struct iovec part = { &registers, sizeof(registers) };
	siginfo_t info;
	unsigned long found;
	sigset_t mask;

	ask(PTRACE_GETREGSET, child, NT_PRSTATUS, (unsigned long)&part);
	ask(PTRACE_GETSIGINFO, child, 0, (unsigned long)&info);
	ask(PTRACE_GETSIGMASK, child, sizeof(mask), (unsigned long)&mask);
	ask(PTRACE_PEEKDATA, child, (unsigned long)&word, (unsigned long)&found);
	ask(PTRACE_POKEDATA, child, (unsigned long)&word, found + 1);
	ask(PTRACE_PEEKDATA, child, 8, (unsigned long)&found);
}

int main(void)
{
	pid_t debugged;
	int status;

	if ((debugged = syscall(SYS_fork)) == 0)
		syscall(SYS_exit_group, child());
	wait4(debugged, &status, __WALL, NULL);
	ask(PTRACE_SETOPTIONS, debugged, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	look_at(debugged);
	ask(PTRACE_SINGLESTEP, debugged, 0, 0);
	wait4(debugged, &status, __WALL, NULL);
	ask(PTRACE_SYSCALL, debugged, 0, 0);
	wait4(debugged, &status, __WALL, NULL);
	ask(PTRACE_CONT, debugged, 0, 0);
	wait4(debugged, &status, __WALL, NULL);
	ask(PTRACE_DETACH, debugged, 0, SIGUSR2);
	wait4(debugged, &status, __WALL, NULL);
	ask(PTRACE_ATTACH, -1, 1, 2);
	ask(PTRACE_SEIZE, -1, 0, PTRACE_O_TRACEFORK);
	ask(PTRACE_INTERRUPT, -1, 1, 2);
	ask(9999, -1, 1, 2);
	return 0;
}
