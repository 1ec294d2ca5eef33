"""Every difference between strace and us that is none of our defects, with its reason. The one place for them.

``DROPPED`` calls are left out of both traces; ``EXCUSED`` places may differ; ``SKIPPED`` arguments have no place in
strace's lists. A place is ``call.argument.member``; ``ret`` is the result, ``.address`` an argument of which strace shows
the address only (and that is compared), ``.shown`` one that it does not show at all, ``.out`` what stands there after
the call. Patterns are those of fnmatch.
"""

from collections.abc import Set
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
        return (not self.only or bool(self.only & where)) and any(fnmatchcase(place, pattern) for pattern in self.places)


# strace's name of a constant: ours, which is UAPI's.
SPELLINGS: Final[dict[str, str]] = {}

SKIPPED: Final[dict[str, str]] = {
    "preadv.pos_h": "strace joins the halves of a position into one argument",
    "preadv2.pos_h": "the same",
    "pwritev.pos_h": "the same",
    "pwritev2.pos_h": "the same",
}

DROPPED: Final[tuple[Rule, ...]] = ()

EXCUSED: Final[tuple[Rule, ...]] = (
    Rule("times and inode numbers of files that each run makes anew", (
        "*.st_ino", "*.st_[amc]time", "*.st_[amc]time_nsec", "*.stx_ino", "*.stx_[abcm]time.tv_*sec",
    )),
    Rule("random bytes", ("getrandom.ubuf",)),
    Rule("what the clock says", (
        "clock_gettime.tp.tv_*", "gettimeofday.tv.tv_*", "time.ret", "times.ret", "*.rmtp.tv_*sec", "*.tvp.out.tv_*", "*.tsp.out.tv_*",
    )),
    Rule("what the process used, more of it under strace", ("*.ru.ru_*", "times.tbuf.*")),
    Rule("state of the whole system", ("sysinfo.info.*", "*.f_bfree", "*.f_bavail", "*.f_ffree")),
    Rule("strace shows arguments only where the flags or the command give them a meaning", (
        "openat.mode.shown", "open.mode.shown", "mknodat.dev.shown", "mknod.dev.shown", "fcntl.arg.shown", "mremap.new_addr.shown",
        "prctl.arg?.shown", "futex.utime.shown", "futex.uaddr2.shown", "futex.val3.shown", "clone.parent_tidptr.shown", "clone.tls.shown",
        "clone.child_tidptr.shown", "semctl.arg.shown",
    )),
    Rule("strace 6.1 does not know the argument", ("membarrier.cpu_id.shown",)),
    Rule("strace 6.1 shows the address only", ("rseq.rseq.address",)),
    Rule("strace shows the address where the size given is too small for the struct", ("openat2.how.address",)),
    Rule("prctl's arguments are numbers to us, whatever the option; strace reads names at addresses", ("prctl.arg2",)),
    Rule("strace shows two halves of capabilities as one, by name", ("capget.dataptr",)),
    Rule("si_status is a number to us; strace names it where si_code says that it is a signal", ("*.si_status",)),
    Rule("the frame that rt_sigreturn reads from the stack is no argument", ("rt_sigreturn.0",)),
    Rule("sys_exit_rt_sigreturn never fires: the number of the call in progress is -1 by then", ("rt_sigreturn.ret",), frozenset({"tracepoint"})),
)


def find(rules: tuple[Rule, ...], place: str, where: Set[str]) -> Rule | None:
    """Return the first rule that explains a place."""
    return next((rule for rule in rules if rule.covers(place, where)), None)
