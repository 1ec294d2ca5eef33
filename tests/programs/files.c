/* Calls on files, one of each kind of argument. Runs in an empty directory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

static void paths(void)
{
	char buffer[256];
	char long_name[600];

	mkdir("dir", 0750);
	symlink("dir/file", "link");
	mknod("fifo", S_IFIFO | 0600, 0);
	syscall(SYS_open, "dir/file", O_RDWR | O_CREAT | O_EXCL, 0640);
	close(3);
	link("dir/file", "hard");
	rename("hard", "harder");
	renameat2(AT_FDCWD, "harder", AT_FDCWD, "hard", RENAME_NOREPLACE);
	linkat(AT_FDCWD, "link", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW);
	symlinkat("nowhere", AT_FDCWD, "dangling");
	readlink("link", buffer, sizeof(buffer));
	readlinkat(AT_FDCWD, "dangling", buffer, 3);
	chmod("dir/file", 04755);
	syscall(SYS_chown, "dir/file", 0, -1);
	fchownat(AT_FDCWD, "link", 0, 0, AT_SYMLINK_NOFOLLOW);
	access("dir", R_OK | X_OK);
	faccessat(AT_FDCWD, "dir", W_OK, 0);
	faccessat(AT_FDCWD, "dir", F_OK, AT_EACCESS);
	truncate("dir/file", 5000);
	chdir("dir");
	getcwd(buffer, sizeof(buffer));
	syscall(SYS_getcwd, buffer, 2);
	chdir("..");
	umask(022);
	unlink("fifo");
	unlinkat(AT_FDCWD, "dir", AT_REMOVEDIR);
	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	open(long_name, O_RDONLY);
	open("with\ttab and \"quotes\" \\ and \xc3\xa9 \xff\n", O_RDONLY);
	open((char *)8, O_RDONLY);
	open(NULL, O_RDONLY);
	open("", O_WRONLY | O_APPEND | O_TRUNC | O_NONBLOCK | O_DSYNC | O_NOFOLLOW | O_DIRECTORY);
}

static void stats(void)
{
	struct stat st;
	struct statfs fs;
	struct statx stx;
	struct utimbuf times = { 1000000000, 1000000001 };
	struct timespec both[2] = { { 1234567890, 123456789 }, { 0, UTIME_OMIT } };

	syscall(SYS_stat, "dir/file", &st);
	syscall(SYS_lstat, "link", &st);
	syscall(SYS_fstat, 1, &st);
	syscall(SYS_stat, "missing", &st);
	syscall(SYS_stat, "dir/file", (void *)16);
	stat("/dev/null", &st);
	fstatat(AT_FDCWD, "link", &st, AT_SYMLINK_NOFOLLOW);
	statx(AT_FDCWD, "dir/file", AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx);
	statx(AT_FDCWD, "/dev/null", 0, STATX_TYPE | STATX_MODE, &stx);
	statfs("/proc", &fs);
	fstatfs(0, &fs);
	utime("dir/file", &times);
	utimensat(AT_FDCWD, "dir/file", both, 0);
	utimensat(AT_FDCWD, "dir/file", NULL, AT_SYMLINK_NOFOLLOW);
}

static void data(void)
{
	static char page[4096];
	char one[8], two[8];
	struct iovec out[2] = { { "first ", 6 }, { "second\n", 7 } };
	struct iovec in[2] = { { one, 6 }, { two, sizeof(two) } };
	struct iovec bad[2] = { { one, 2 }, { (void *)24, 4 } };
	loff_t from = 2, to = 1;
	off_t offset = 1;
	int fd, copy, tube[2];

	fd = open("data", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	copy = open("copy", O_RDWR | O_CREAT, 0644);
	write(fd, "bytes\0with\1nul\377", 15);
	pwrite(fd, "at an offset", 12, 100);
	lseek(fd, 0, SEEK_SET);
	lseek(fd, -5, SEEK_END);
	lseek(fd, 0, SEEK_HOLE);
	lseek(fd, 0, SEEK_SET);
	read(fd, page, 4);
	read(fd, page, sizeof(page));
	read(fd, page, sizeof(page));
	read(fd, (void *)40, 3);
	pread(fd, page, 12, 100);
	write(copy, page, sizeof(page));
	write(copy, page, 0);
	writev(fd, out, 2);
	lseek(fd, -13, SEEK_CUR);
	readv(fd, in, 2);
	pwritev(fd, out, 2, 200);
	preadv(fd, in, 2, 200);
	preadv2(fd, in, 1, 0, RWF_NOWAIT);
	writev(copy, bad, 2);
	writev(copy, (void *)56, 2);
	writev(copy, out, 0);
	write(99, "nobody", 6);
	sendfile(copy, fd, &offset, 20);
	sendfile(copy, fd, NULL, 2);
	copy_file_range(fd, &from, copy, &to, 10, 0);
	ftruncate(fd, 10);
	fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 8192);
	fsync(copy);
	fdatasync(copy);
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	pipe2(tube, O_CLOEXEC | O_NONBLOCK);
	from = 0;
	splice(fd, &from, tube[1], NULL, 5, SPLICE_F_MOVE);
	splice(tube[0], NULL, copy, NULL, 5, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	vmsplice(tube[1], out, 2, 0);
	tee(tube[0], tube[1], 3, SPLICE_F_NONBLOCK);
	read(tube[0], page, 64);
	read(tube[0], page, 64);
	close(tube[0]);
	close(tube[1]);
	close(copy);
	close(fd);
}

static void descriptors(void)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY, .resolve = RESOLVE_NO_SYMLINKS };
	static char entries[2048];
	int fd = syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof(how));
	int memory = memfd_create("name of it", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int notify, watch;
	struct flock lock = { F_WRLCK, SEEK_SET, 0, 10, 0 };

	syscall(SYS_openat2, AT_FDCWD, "link", &how, 8);
	syscall(SYS_getdents64, fd, entries, sizeof(entries));
	syscall(SYS_getdents64, fd, entries, sizeof(entries));
	fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	fcntl(memory, F_GET_SEALS);
	fcntl(memory, F_GETFD);
	fcntl(memory, F_SETFD, 0);
	fcntl(memory, F_GETFL);
	fcntl(memory, F_SETFL, O_NONBLOCK | O_APPEND);
	fcntl(memory, F_DUPFD_CLOEXEC, 20);
	fcntl(memory, F_SETLK, &lock);
	flock(memory, LOCK_EX | LOCK_NB);
	dup(memory);
	dup2(memory, 30);
	dup3(memory, 31, O_CLOEXEC);
	dup2(memory, memory);
	close_range(20, 40, 0);
	notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	watch = inotify_add_watch(notify, "dir", IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_ONLYDIR);
	inotify_rm_watch(notify, watch);
	eventfd(7, EFD_NONBLOCK | EFD_SEMAPHORE);
	close(-1);
	ioctl(0, 0x12345678, 1);
}

static void attributes(void)
{
	char value[64];

	setxattr("dir/file", "user.colour", "blue", 4, XATTR_CREATE);
	setxattr("dir/file", "user.colour", "green", 5, XATTR_CREATE);
	getxattr("dir/file", "user.colour", value, sizeof(value));
	getxattr("dir/file", "user.none", value, sizeof(value));
	getxattr("dir/file", "user.colour", value, 1);
	listxattr("dir/file", value, sizeof(value));
	lgetxattr("link", "user.colour", value, sizeof(value));
	removexattr("dir/file", "user.colour");
}

int main(void)
{
	paths();
	stats();
	data();
	descriptors();
	attributes();
	sync();
	return 7;
}
