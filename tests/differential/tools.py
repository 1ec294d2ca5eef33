"""Tools of every day that are traced by both: shells, runtimes of languages, compilers, archives, debuggers."""

import os
import zipfile
from pathlib import Path
from typing import Final

from tests.differential.program import HOOKS, Program, files, make_old

PYTHON: Final = ("/usr/bin/python3", "-I", "-S", "-c")

BASH: Final = r"""
set +m
trap 'echo got USR1' USR1
trap 'echo bye' EXIT
words=(pear apple fig)
declare -A sizes=([pear]=4)
mapfile -t lines <<END
${words[*]:1}
END
kill -USR1 $$
read -r first rest <<<"${lines[0]} ${sizes[pear]}"
echo "$rest"
for (( i = 0; i < 2; i++ )); do echo "$i" >>counted; done
[[ -f counted ]] && exit 4
"""

DASH_TRAPS: Final = """
trap 'echo HUP' HUP
trap '' TERM
trap 'echo end' EXIT
kill -HUP $$
kill -TERM $$
exec 3<one.txt
read word <&3
echo $word
exit 7
"""

PERL: Final = """
open(my $file, '<', 'one.txt') or die;
my %seen; $seen{$_}++ while <$file>;
print sort keys %seen;
$SIG{USR1} = sub { print "usr1\\n" };
kill 'USR1', $$;
defined(my $child = fork) or die;
if (!$child) { exit 3 }
waitpid $child, 0;
printf "%d\\n", $? >> 8;
"""

PYTHON_SUBPROCESS: Final = """
import subprocess
print(subprocess.run(["cat", "one.txt"], stdout=subprocess.PIPE, check=True).stdout[:5])
print(subprocess.run(["sh", "-c", "kill -TERM $$"]).returncode)
"""

PYTHON_FORK: Final = """
import os, signal
signal.signal(signal.SIGUSR1, lambda number, frame: print(number))
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
child = os.fork()
if not child:
    os.kill(os.getppid(), signal.SIGUSR1)
    os._exit(2)
print(os.waitpid(child, 0)[1])
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
"""

PYTHON_ASYNC: Final = """
import asyncio
async def answer(reader, writer):
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_unix_server(answer, "socket")
    reader, writer = await asyncio.open_unix_connection("socket")
    writer.write(b"hello\\n")
    print(await reader.read())
    writer.close()
    server.close()
asyncio.run(main())
"""

BASH_SIGNALS: Final = """
trap 'echo hup' HUP
trap '' INT
read -t 0.1 word <>tube || echo late
kill -HUP $$
kill -INT $$
printf -v text '%03d' 7
echo "$text" >/dev/null
kill -ABRT $$
"""

NODE: Final = (
    *("node", "--single-threaded", "--v8-pool-size=0", "--random-seed=1", "--hash-seed=1", "--jitless"),
    *("-p", "fs.readFileSync('one.txt', 'utf8').length"),
)

SQL: Final = """
pragma journal_mode = off;
create table fruit (name text primary key, weight int);
insert into fruit values ('pear', 4), ('fig', 1);
update fruit set weight = weight + 1 where name = 'fig';
select name, weight from fruit order by name;
"""

CIPHER: Final = ("-aes-128-cbc", "-K", "00", "-iv", "00")


def sources(work: Path) -> None:
    """Put a program of C and a Makefile there."""
    (work / "main.c").write_text('int puts(const char *);\nint main(void)\n{\n\treturn puts("hello") < 0;\n}\n')
    (work / "Makefile").write_text("all: copy\n\ncopy: main.c\n\tcp main.c copy\n\t@echo made $@\n")
    make_old(work)


def tube(work: Path) -> None:
    """Put a named pipe there."""
    os.mkfifo(work / "tube")


def data(work: Path) -> None:
    """Put there what jq and bc read."""
    (work / "data.json").write_text('{"a": [1, {"b": [2, "x"]}]}')
    (work / "sum.bc").write_text("scale=3\n1/3+2^70\nquit\n")


def names(work: Path) -> None:
    """Put files there, and a list of some."""
    files(work)
    (work / "names").write_text("one.txt\ndir/inner.txt\n")


def archives(work: Path) -> None:
    """Put files there, and one of them packed."""
    files(work)
    with zipfile.ZipFile(work / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(work / "one.txt", "packed/one.txt")
    make_old(work)


TOOLS: Final = (
    Program("bash", ("bash", "--norc", "-c", BASH), hooks=HOOKS),
    Program("bash-signals", ("bash", "--norc", "-c", BASH_SIGNALS), tube, hooks=HOOKS),
    Program("dash-traps", ("dash", "-c", DASH_TRAPS), files, hooks=HOOKS),
    Program("perl", ("perl", "-e", PERL), files, hooks=HOOKS),
    Program("python-subprocess", (*PYTHON, PYTHON_SUBPROCESS), files),
    Program("python-fork", (*PYTHON, PYTHON_FORK), hooks=HOOKS),
    Program("node", NODE, files),
    Program("sqlite3", ("sqlite3", "-batch", "-init", "/dev/null", "fruit.db", SQL)),
    Program("curl", ("curl", "-q", "-s", "http://127.0.0.1:{port}/one")),
    Program("ssh-keygen", ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "nobody", "-f", "key")),
    Program("strace", ("strace", "-o", "trace", "true"), follow=False),
    Program("awk", ("awk", '{ n[$1]++ } END { print n["fig"] > "out" }', "one.txt"), files),
    Program("sed", ("sed", "-i", "s/apple/plum/", "one.txt"), files),
    Program("xz", ("xz", "-k", "-T1", "one.txt"), files),
    Program("gzip", ("gzip", "-kn", "one.txt"), files),
    Program("openssl-digest", ("openssl", "dgst", "-sha256", "one.txt"), files),
    Program("openssl-cipher", ("openssl", "enc", *CIPHER, "-in", "one.txt", "-out", "coded"), files),
    Program("make", ("make", "-j1"), sources),
    Program("gcc", ("gcc", "-save-temps", "-c", "main.c"), sources),
    Program("gcc-link", ("gcc", "-save-temps", "-o", "main", "main.c"), sources),
    Program("readelf", ("readelf", "-hW", "/bin/true")),
    Program("ld.so", ("/lib64/ld-linux-x86-64.so.2", "--list", "/bin/ls")),
    Program("socat", ("socat", "-u", "OPEN:one.txt", "CREATE:copy"), files),
    Program("diff", ("diff", "-ru", "dir", "other"), files),
    Program("find-exec", ("find", "dir", "-type", "f", "-exec", "cat", "{}", ";"), files),
    Program("xargs", ("xargs", "-P1", "-n20", "-a", "one.txt", "echo"), files),
    Program("timeout", ("timeout", "2", "sleep", "60"), hooks=HOOKS),
    Program("env", ("env", "-i", "A=1", "env")),
    Program("tee", ("sh", "-c", "exec tee one two <one.txt"), files),
    Program("setsid", ("setsid", "-w", "nice", "-n", "5", "sh", "-c", "exit 3")),
    Program("flock", ("flock", "-n", "lock", "true")),
    Program("prlimit", ("prlimit", "--nofile=64:128", "chrt", "-b", "0", "ionice", "-c", "3", "true")),
    Program("fallocate", ("fallocate", "-p", "-o", "16", "-l", "4096", "one.txt"), files),
    Program("unshare", ("unshare", "-m", "-n", "-i", "-u", "-C", "true")),
    Program("setpriv", ("setpriv", "--reuid=65534", "--clear-groups", "--no-new-privs", "cat", "one.txt"), files),
    Program("getent", ("getent", "passwd", "root", "nobody")),
    Program("mkfifo", ("mkfifo", "-m", "600", "tube")),
    Program("ip", ("unshare", "-n", "ip", "link", "set", "lo", "up")),
    Program("dpkg", ("dpkg-query", "-W", "bash")),
    Program("tail", ("tail", "-c", "3", "-f", "--pid=999999", "one.txt"), files),
    Program("python-async", (*PYTHON, PYTHON_ASYNC), hooks=HOOKS),
    Program("sha256sum", ("sha256sum", "one.txt", "script"), files),
    Program("split", ("split", "-b", "100", "one.txt", "part"), files),
    Program("zip", ("zip", "-qX", "new.zip", "one.txt", "dir/inner.txt"), files),
    Program("unzip", ("unzip", "-q", "packed.zip"), archives),
    Program("cpio", ("sh", "-c", "exec cpio -o --quiet -H newc -F new.cpio <names"), names),
    Program("jq", ("jq", "-c", ".a[1].b", "data.json"), data),
    Program("bc", ("bc", "-q", "sum.bc"), data),
    Program("rsync", ("rsync", "--checksum-seed=1", "-rni", "dir/", "other"), files),
    Program("tmux", ("tmux", "-L", "none", "-f", "/dev/null", "list-sessions")),
    Program("busybox-sh", ("busybox", "sh", "-c", 'for f in *; do echo "$f"; done; exec busybox wc one.txt'), files),
    Program("busybox-tar", ("busybox", "tar", "-cf", "new.tar", "dir"), files),
)
