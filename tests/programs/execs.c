/* Ways to exec, chosen by the first argument. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char *const ARGV[] = { "true", "first argument", "", "third \"quoted\"\n", NULL };
static char *const ENVP[] = { "ONE=1", "TWO=two words", NULL };

static void *exec_from_thread(void *path)
{
	usleep(300000); /* the leader waits in futex by then */
	execve(path, ARGV, ENVP);
	return NULL;
}

static void fail(void)
{
	char *bad[] = { "name", (char *)64, NULL };

	execve("/nonexistent/program", ARGV, ENVP);
	execve("/etc/hostname", ARGV, ENVP);
	execve((char *)8, ARGV, ENVP);
	execve("/bin/true", (char **)8, NULL);
	execve("/bin/true", bad, ENVP);
	execveat(AT_FDCWD, "missing", ARGV, ENVP, AT_SYMLINK_NOFOLLOW);
	execve("", ARGV, ENVP);
}

static void spawn(void)
{
	int status;
	pid_t child;

	posix_spawn(&child, "/bin/true", NULL, NULL, ARGV, ENVP);
	waitpid(child, &status, 0);
	posix_spawn(&child, "/nonexistent", NULL, NULL, ARGV, ENVP);
	if ((child = vfork()) == 0) {
		execve("/bin/false", ARGV, NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
}

static void many(void)
{
	static char *argv[130], text[130][8];

	for (int i = 0; i < 129; i++) {
		snprintf(text[i], sizeof(text[i]), "arg%d", i);
		argv[i] = text[i];
	}
	execve("/bin/true", argv, ENVP);
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "success"))
		execve("/bin/true", ARGV, ENVP);
	if (!strcmp(argv[1], "at"))
		execveat(open("/bin", O_PATH | O_DIRECTORY), "true", ARGV, ENVP, 0);
	if (!strcmp(argv[1], "script"))
		execve("./script", ARGV, ENVP);
	if (!strcmp(argv[1], "many"))
		many();
	if (!strcmp(argv[1], "fail"))
		fail();
	if (!strcmp(argv[1], "spawn"))
		spawn();
	if (!strcmp(argv[1], "thread")) {
		pthread_create(&thread, NULL, exec_from_thread, "/bin/true");
		pthread_join(thread, NULL);
	}
	return 0;
}
