/*
 * An exec whose strings lie in a page of a file that nothing has touched:
 * live_cold_exec script|at|empty cold|touched DIRECTORY.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096

static void make_file(const char *path, mode_t mode, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd))
		err(1, "%s", path);
}

int main(int argc, char **argv)
{
	static const char script[] = "#!/bin/sh\nexit 0\n";
	static char page[PAGE];
	const char *mode, *name;
	char *strings;
	int fd;

	if (argc != 4 || chdir(argv[3]))
		errx(1, "usage: live_cold_exec script|at|empty cold|touched DIRECTORY");
	mode = argv[1];
	name = !strcmp(mode, "script") ? "./exec-cold.script" : !strcmp(mode, "at") ? "true" : "";
	strcpy(page, name);
	strcpy(page + 100, "ARG0");
	strcpy(page + 200, "arg-one");
	make_file("exec-cold.script", 0700, script, sizeof(script) - 1);
	make_file("exec-cold.page", 0600, page, sizeof(page));

	fd = open("exec-cold.page", O_RDONLY | O_CLOEXEC);
	strings = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	if (strings == MAP_FAILED)
		err(1, "mmap");
	char *arguments[] = {strings + 100, strings + 200, NULL}, *environment[] = {strings + 200, NULL};

	if (!strcmp(argv[2], "touched"))
		(void)*(volatile char *)strings;
	if (!strcmp(mode, "script"))
		syscall(SYS_execve, strings, arguments, environment);
	else if (!strcmp(mode, "at"))
		syscall(SYS_execveat, open("/bin", O_RDONLY | O_CLOEXEC), strings, arguments, environment, 0);
	else
		syscall(SYS_execveat, open("/bin/true", O_RDONLY | O_CLOEXEC), strings, arguments, environment, AT_EMPTY_PATH);
	err(1, "exec");
}
