"""What the programs of 32-bit calls do, and what has to be seen of them on any hook."""

from collections.abc import Sequence
from typing import Any, Final

# 64-bit code that makes seven 32-bit calls, each followed by a native getpgid; a 32-bit program, started by 64-bit
# code, of whose calls three return. (The exec that succeeds began as a native call.)
COMMANDS: Final = {"calls": ("live_compat", "calls"), "program": ("live_compat", "exec", "compat")}
COUNTS: Final = {"calls": 7, "program": 3}
# Where the hook is a tracepoint, these have one each; many are dispatched.
FEW: Final = "execve,getpgid,exit_group"
# What the 32-bit calls are by their own table, and by the one of 64-bit calls.
MANY: Final = (
    f"{FEW},getpid,getppid,getuid,getgid,exit,write,writev,semget,rt_sigaction,sched_yield,recvmsg,fremovexattr,"
    "close,newstat"
)
# At level 4.4 nothing tells a 32-bit call. From 4.17 on none reaches a function of 64-bit calls. Below 4.17 one
# function serves both, and its program counts 32-bit calls: getpid, getppid and getuid, if they are traced.
UNKNOWN: Final = "4.4"
SHARED_COUNTS: Final = {"few": 0, "many": 3}
SHARED: Final = frozenset({"getpid", "getppid", "getuid", "getgid"})


def check_compat(name: str, level: str, events: Sequence[dict[str, Any]], counted: int, *, shared: int = 0) -> None:
    """Hold that every 32-bit call is counted, and none decoded as what it is not.

    ``shared``: how many level 4.4 counts.
    """
    names = [event["event"] for event in events]

    assert counted == (shared if level == UNKNOWN else COUNTS[name])
    if level == UNKNOWN:
        begun = names.index("getpgid" if name == "calls" else "execve")
        names = names[:begun] + [each for each in names[begun:] if each not in SHARED]
    if name == "calls":
        # What the C library does before main does not count.
        assert names[names.index("getpgid") :] == ["getpgid"] * COUNTS[name] + ["exit_group"]
    else:
        assert names[-1] == "execve"
        last = [event for event in events if event["event"] == "execve"][-1]
        assert (last["ret"], last["args"]["argv"]) == (0, ["other"])
