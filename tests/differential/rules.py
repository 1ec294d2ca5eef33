"""Every difference between strace and us that is not a defect of ours, with its reason. The one place for them.

``DROPPED`` calls are left out of both traces; ``EXCUSED`` places may differ; ``SKIPPED`` arguments have no place in
strace's lists. A place is ``call.argument.member``; ``ret`` is the result, ``.address`` an argument whose
address alone strace shows (and that is compared), ``.pointee`` one whose address alone we show, ``.shown`` one that
strace does not show at all, ``.out`` what stands there after the call. ``signal.NAME.member`` is a member of a
signal's info, ``process_exit.status`` how a thread ended; a signal or an end that one has alone is ``.ours_alone``
or ``.strace_alone``, and ``.ignored`` where its process ignores a signal. Patterns are those of fnmatch.
"""

import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """Places that may differ, why, and in which programs or hooks (in all, if none is named)."""

    reason: str
    places: tuple[str, ...]
    only: frozenset[str] = frozenset()

    def covers(self, place: str, where: Set[str]) -> bool:
        """Tell whether the rule explains a difference."""
        return (not self.only or bool(self.only & where)) and any(
            fnmatchcase(place, pattern) for pattern in self.places
        )


# strace's name of a constant: ours, which is UAPI's.
SPELLINGS: Final = {"EXT2_SUPER_MAGIC": "EXT4_SUPER_MAGIC"}

# Arguments, with a word of the operation where it matters.
SKIPPED: Final = {
    "preadv.pos_h": ("", "strace joins the halves of a position into one argument"),
    "preadv2.pos_h": ("", "strace joins the halves of a position into one argument"),
    "pwritev.pos_h": ("", "strace joins the halves of a position into one argument"),
    "pwritev2.pos_h": ("", "strace joins the halves of a position into one argument"),
}

# Parts of names that are random, by what stands before them.
RANDOM_NAMES: Final = re.compile(rb"(?:(?<=\.git/t)|(?<=/tmp_obj_)|(?<=\./sed)|(?<=^zi))[A-Za-z0-9]{6}$")
PROC_NUMBERS: Final = re.compile(rb"(?<=^/proc/)[0-9]{1,9}(?=/)")

# Places here are ``call.ERROR``, the error empty for a call that succeeded.
DROPPED: Final[tuple[Rule, ...]] = (
    Rule(
        "when threads have to wait for each other depends on the scheduler",
        ("futex.*",),
        frozenset({"threads", "python-threads", "live_signals", "node"}),
    ),
    Rule(
        "in which call SIGCHLD finds the shell depends on the scheduler",
        ("rt_sigreturn.*", "*.ERESTART*"),
        frozenset({"pipeline", "git", "shell"}),
    ),
    Rule(
        "whether threads of node's find a lock held depends on the scheduler",
        ("sched_yield.",),
        frozenset({"node"}),
    ),
    Rule(
        "whether the child has come to wait when the signal ends it depends on the scheduler",
        ("pause.*",),
        frozenset({"live_signals"}),
    ),
    Rule(
        "whether the child is dead when timeout looks depends on the scheduler",
        ("wait4.", "rt_sigsuspend.*", "rt_sigreturn.*"),
        frozenset({"timeout"}),
    ),
    Rule(
        "which of rsync's processes has something to read first depends on the scheduler",
        ("poll.*", "read.*", "write.*", "clock_nanosleep.*", "wait4.*", "rt_sigreturn.*"),
        frozenset({"rsync"}),
    ),
    Rule(
        "the C library draws random bytes again when the first cannot be used evenly",
        ("getrandom.",),
        frozenset({"git", "sed", "zip"}),
    ),
    Rule(
        "a call that seccomp refuses has no entry, and at the tracepoint of its exit there are no arguments",
        ("mkdir.E*", "rmdir.E*", "rmdir."),
        frozenset({"refused@tracepoint", "refused-dead@tracepoint"}),
    ),
    Rule(
        "a call in whose place seccomp sends a signal has no entry, and at the tracepoint of its exit we show none",
        ("getuid.",),
        frozenset({"siginfos@tracepoint"}),
    ),
)

EXCUSED: Final[tuple[Rule, ...]] = (
    Rule(
        "times and inode numbers of files that each run makes anew",
        ("*.st_ino", "*.st_[amc]time", "*.st_[amc]time_nsec", "*.stx_ino", "*.stx_[abcm]time.tv_*sec"),
    ),
    Rule(
        "random bytes",
        ("getrandom.ubuf",),
    ),
    Rule(
        "what the clock says",
        (
            "clock_gettime.tp.tv_*",
            "gettimeofday.tv.tv_*",
            "time.ret",
            "times.ret",
            "*.rmtp.tv_*sec",
            "*.tvp.out.tv_*",
            "*.tsp.out.tv_*",
        ),
    ),
    Rule(
        "Python sleeps until a time that the clock reaches",
        ("clock_nanosleep.rqtp.tv_*sec",),
        frozenset({"python-threads"}),
    ),
    Rule(
        "what the process used, more of it under strace",
        ("*.ru.ru_*", "times.tbuf.*"),
    ),
    Rule(
        "state of the whole system",
        ("sysinfo.info.*", "*.f_bfree", "*.f_bavail", "*.f_ffree"),
    ),
    Rule(
        "the mode of an open is shown whatever the flags, as the JSON format promises",
        ("open.mode.shown", "openat.mode.shown"),
    ),
    Rule(
        "strace 6.1 does not know the argument",
        ("membarrier.cpu_id.shown",),
    ),
    Rule(
        "strace 6.1 shows the address only",
        ("rseq.rseq.address",),
    ),
    Rule(
        "strace shows the address where the size given is too small for the struct",
        ("openat2.how.address",),
    ),
    Rule(
        "/proc/PID/status tells the number of the process",
        ("read.buf",),
        frozenset({"setpriv"}),
    ),
    Rule(
        "bash waits for what is left of a time that the clock tells",
        ("pselect6.tsp.tv_nsec",),
        frozenset({"bash-signals"}),
    ),
    Rule(
        "messages of netlink are bytes to us",
        ("sendto.buff", "sendmsg.msg.iov[[]].base", "recvmsg.msg.iov[[]].base"),
        frozenset({"ip"}),
    ),
    Rule(
        "/proc/meminfo tells how much memory is free",
        ("read.buf",),
        frozenset({"node"}),
    ),
    Rule(
        "a SIGCHLD that comes while another waits to be handled is lost: which, the scheduler decides",
        ("signal.SIGCHLD.ours_alone", "signal.SIGCHLD.strace_alone"),
        frozenset({"pipeline"}),
    ),
    Rule(
        "timeout looks for its child with SIGCHLD blocked, and may end before it gets it",
        ("signal.SIGCHLD.ours_alone", "signal.SIGCHLD.strace_alone"),
        frozenset({"timeout"}),
    ),
    Rule(
        "strace shows offsets as they were before the call only",
        ("copy_file_range.off_*.out", "splice.off_*.out"),
    ),
    Rule(
        "strace shows what the kernel wrote there: the child",
        ("clone3.uargs.parent_tid",),
    ),
    Rule(
        "which child has ended first depends on the scheduler",
        ("wait4.ret",),
        frozenset({"pipeline"}),
    ),
    Rule(
        "others make directories in /tmp, too",
        ("newfstatat.statbuf.st_nlink",),
        frozenset({"git", "rsync", "sqlite3"}),
    ),
    Rule(
        "the caller dies of the signal before strace sees the call return",
        ("kill.ret",),
        frozenset({"killed", "processes"}),
    ),
    Rule(
        "the word holds the tid of the thread that is waited for",
        ("futex.val",),
        frozenset({"execs-thread"}),
    ),
    Rule(
        "the key is random",
        ("write.buf",),
        frozenset({"ssh-keygen"}),
    ),
    Rule(
        "the kernel chooses the port",
        ("getsockname.usockaddr",),
        frozenset({"curl"}),
    ),
    Rule(
        "curl waits for what is left of a time that the clock tells",
        ("poll.timeout_msecs",),
        frozenset({"curl"}),
    ),
    Rule(
        "names of temporary files come from random bytes",
        ("read.buf",),
        frozenset({"git"}),
    ),
    Rule(
        "git's index holds times and inode numbers",
        ("write.buf",),
        frozenset({"git"}),
    ),
    Rule(
        "the leader is killed in the call: strace does not see it return, the kernel's tracepoint does",
        ("futex.ret",),
        frozenset({"execs-thread"}),
    ),
    Rule(
        "struct flock is an address to us, whatever the command",
        ("fcntl.arg.pointee",),
    ),
    Rule(
        "what ioctl's argument leads to is an address to us, whatever the request",
        ("ioctl.arg.pointee",),
    ),
    Rule(
        "what seccomp's argument leads to is an address to us, whatever the operation",
        ("seccomp.uargs.pointee",),
    ),
    Rule(
        "what ptrace's last argument leads to is an address to us, whatever the request",
        ("ptrace.data.pointee",),
    ),
    Rule(
        "the trace that strace writes holds numbers of processes",
        ("write.buf",),
        frozenset({"strace"}),
    ),
    Rule(
        "of a message we show its type",
        ("msgsnd.msgp.mtext", "msgrcv.msgp.mtext"),
    ),
    Rule(
        "the mask behind pselect6's last argument is an address to us",
        ("pselect6.sig.*",),
    ),
    Rule(
        "in arrays of messages, what they lead to is an address to us",
        ("*.mmsg[[]].msg_hdr.msg_*",),
    ),
    Rule(
        "a name that prctl's argument leads to is an address to us, whatever the option",
        ("prctl.arg2.pointee",),
    ),
    Rule(
        "strace shows two halves of capabilities as one, by name",
        ("capget.dataptr", "capset.data"),
    ),
    Rule(
        "the frame that rt_sigreturn reads from the stack is no argument",
        ("rt_sigreturn.0",),
    ),
    Rule(
        "sys_exit_rt_sigreturn never fires: the number of the call in progress is -1 by then",
        ("rt_sigreturn.ret",),
        frozenset({"tracepoint"}),
    ),
    Rule(
        "a signal that its process ignores is delivered to it only because it is ptraced",
        ("signal.*.ignored",),
    ),
    Rule(
        "SIGKILL ends a process before strace is told of it; we have it from its sender",
        ("signal.SIGKILL.ours_alone",),
    ),
    Rule(
        "the signal by which seccomp ends a process is kept from who ptraces it",
        ("signal.SIGSYS.ours_alone",),
        frozenset({"refused-dead"}),
    ),
    Rule(
        "strace is not told how the leader ended whose place another thread's execve takes",
        ("process_exit.superseded",),
    ),
    Rule(
        "times that a child used, more of them under strace",
        ("signal.SIGCHLD.si_utime", "signal.SIGCHLD.si_stime"),
    ),
)


def stable(text: bytes, thread_of: Callable[[int], object]) -> bytes:
    """Return a text without what is random in it, and with threads' names in directories of /proc."""
    without = RANDOM_NAMES.sub(b"XXXXXX", text)
    return PROC_NUMBERS.sub(lambda found: str(thread_of(int(found[0]))).encode(), without)


def find(rules: tuple[Rule, ...], place: str, where: Set[str]) -> Rule | None:
    """Return the first rule that explains a place."""
    return next((rule for rule in rules if rule.covers(place, where)), None)
