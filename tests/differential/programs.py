"""The programs that are traced by both, those that test one thing each before the tools of every day."""

import subprocess
from pathlib import Path
from typing import Final

from tests.differential.program import HOOKS, Program, files, nothing
from tests.differential.tools import TOOLS

SOURCES: Final = Path(__file__).resolve().parents[1] / "programs"
COMPILED: Final = (
    *("debugger", "execs", "files", "ipc", "live_signals", "network", "processes", "refused", "siginfos", "signals"),
    "threads",
)

PYTHON_THREADS: Final = """
import threading, time
turns = [threading.Semaphore(0) for _ in range(5)]
def work(number):
    turns[number].acquire()
    with open(f"out{number}", "w") as file:
        file.write(str(number))
    turns[number + 1].release()
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
turns[0].release()
turns[4].acquire()
for thread in threads:
    thread.join()
time.sleep(0.5)  # a thread that was joined has still to exit
"""

GIT: Final = """
set -e
git init -q -b main .
git add one.txt dir
git -c user.name=a -c user.email=a@b -c gc.auto=0 -c maintenance.auto=false commit -q -m first
git status --short
"""


def _compiled(name: str, *arguments: str, hooks: tuple[str, ...] = HOOKS) -> Program:
    return Program(
        "-".join((name, *arguments)), (f"{{bin}}/{name}", *arguments), files if name == "execs" else nothing, hooks
    )


PROGRAMS: Final = (
    Program("true", ("true",), hooks=HOOKS),
    Program("cat", ("cat", "one.txt", "missing"), files),
    Program("ls", ("ls", "-lA", "."), files, hooks=HOOKS),
    Program("cp", ("cp", "-r", "one.txt", "dir", "other"), files),
    Program("mv", ("mv", "one.txt", "dir"), files),
    Program("ln", ("ln", "-s", "one.txt", "pointer"), files),
    Program("mkdir", ("mkdir", "-p", "a/b/c"), files),
    Program("rmdir", ("rmdir", "dir", "none"), files),
    Program("rm", ("rm", "-rf", "dir", "one.txt"), files),
    Program("chmod", ("chmod", "-R", "u=rwx,go=", "dir"), files),
    Program("touch", ("touch", "-d", "2001-02-03 04:05:06", "one.txt", "new"), files),
    Program("dd", ("dd", "if=one.txt", "of=copy", "bs=50", "count=3", "skip=1", "status=none"), files),
    Program("sort", ("sort", "--parallel=1", "-u", "one.txt"), files),
    Program("head", ("head", "-c", "30", "one.txt"), files),
    Program("find", ("find", ".", "-name", "*.txt"), files),
    Program("stat", ("stat", "-c", "%F %n", "one.txt", "dir/link", "/dev/null"), files),
    Program("grep", ("grep", "-rn", "apple", "dir"), files),
    Program("tar", ("tar", "-cf", "archive.tar", "dir"), files),
    Program("sleep", ("sleep", "0.01")),
    Program("date", ("date", "-u", "-d", "@0")),
    Program("pipeline", ("sh", "-c", "echo a | tr a b | wc -c"), hooks=HOOKS),
    Program("shell", ("sh", "-c", "cd dir && for f in *; do test -e $f; done; (exit 3); exit 5"), files),
    Program("killed", ("sh", "-c", "kill -KILL $$")),
    Program("core", ("sh", "-c", "ulimit -c unlimited; kill -SEGV $$"), hooks=HOOKS),
    Program("python", ("/usr/bin/python3", "-I", "-S", "-c", "print(sum(range(10)))")),
    Program("python-threads", ("/usr/bin/python3", "-I", "-S", "-c", PYTHON_THREADS), hooks=HOOKS),
    Program("git", ("sh", "-c", GIT), files),
    _compiled("files"),
    _compiled("processes"),
    _compiled("signals"),
    _compiled("live_signals"),
    _compiled("siginfos"),
    _compiled("ipc"),
    _compiled("network"),
    _compiled("threads"),
    _compiled("execs", "success"),
    _compiled("execs", "at"),
    _compiled("execs", "script"),
    _compiled("execs", "many"),
    _compiled("execs", "fail"),
    _compiled("execs", "spawn"),
    _compiled("execs", "thread"),
    _compiled("refused"),
    _compiled("refused", "dead"),
    Program("debugger", ("{bin}/debugger",), hooks=HOOKS, follow=False),
    Program("compat", ("{bin}/compat",), is_compat=True),
    *TOOLS,
)


def compile_programs(directory: Path) -> None:
    """Compile the C programs: static, so that their start is short, and one of 32 bits without a C library."""
    for name in COMPILED:
        source = SOURCES / f"{name}.c"
        subprocess.run(["gcc", "-w", "-O1", "-static", "-pthread", "-o", directory / name, source], check=True)
    bare = ["-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"]
    subprocess.run(["gcc", "-w", *bare, "-o", directory / "compat", SOURCES / "compat.c"], check=True)
