"""The tables of UAPI constants and structs: their shape, and what Python's own modules say about the same things."""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import re
import resource
import select
import signal
import socket
import stat
import termios
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from typing import Any

import pytest

from tests.support.paths import TESTS
from traceleft.errors import UnsupportedError
from traceleft.generator.tables import load_errno, load_sets, load_structs, load_syscalls

CAPTURES = TESTS / "data" / "arguments-by-release.json"
NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
SCALARS = {"int", "hex", "pointer", "fd", "dirfd", "mode", "set", "dev", "pid", "uid", "char"}
SETS = sorted(load_sets().items())
STRUCTS = sorted(load_structs().items())

# Set → Python modules whose constants of the same names must have the same values.
OVERLAPS: dict[str, tuple[object, ...]] = {
    "access_mode": (os,),
    "clockid": (time,),
    "clone_flags": (os, signal),
    "epoll_create_flags": (select,),
    "epoll_events": (select,),
    "eventfd_flags": (os,),
    "fcntl_cmd": (fcntl,),
    "fd_flags": (fcntl,),
    "file_type": (stat,),
    "flock_op": (fcntl,),
    "getrandom_flags": (os,),
    "ioctl_request": (termios,),
    "ip_option": (socket,),
    "ip_protocol": (socket,),
    "ipv6_option": (socket,),
    "itimer_which": (signal,),
    "lock_type": (fcntl,),
    "madvise_advice": (mmap,),
    "memfd_create_flags": (os,),
    "mmap_flags": (mmap,),
    "mmap_prot": (mmap,),
    "msg_flags": (socket,),
    "notify_flags": (fcntl,),
    "open_flags": (os,),
    "poll_events": (select,),
    "posix_fadvise": (os,),
    "priority_which": (os,),
    "rlimit_resource": (resource,),
    "rusage_who": (resource,),
    "rwf_flags": (os,),
    "sched_policy": (os,),
    "seal_flags": (fcntl,),
    "seek_whence": (os,),
    "shutdown_how": (socket,),
    "signal": (signal,),
    "sigprocmask_how": (signal,),
    "so_option": (socket,),
    "socket_family": (socket,),
    "socket_type": (socket,),
    "sockopt_level": (socket,),
    "splice_flags": (os,),
    "statfs_flags": (os,),
    "tcp_option": (socket,),
    "termios_iflag": (termios,),
    "termios_lflag": (termios,),
    "termios_oflag": (termios,),
    "wait_options": (os,),
    "waitid_idtype": (os,),
    "xattr_flags": (os,),
}
# glibc makes O_LARGEFILE 0, since a 64-bit program needs no flag, and keeps the first two realtime signals to itself.
DIFFERENT = {"O_LARGEFILE", "SIGRTMIN"}

# Sizes that the kernel's ABI fixes.
SIZES = {
    "cap_user_data": 12,
    "clone_args": 88,
    "epoll_event": 12,
    "flock": 32,
    "futex_waitv": 24,
    "io_event": 32,
    "io_uring_params": 120,
    "iovec": 16,
    "itimerspec": 32,
    "kexec_segment": 32,
    "linger": 8,
    "mmsghdr": 64,
    "mount_attr": 32,
    "mq_attr": 64,
    "msghdr": 56,
    "open_how": 24,
    "pollfd": 8,
    "rlimit": 16,
    "robust_list_head": 24,
    "rusage": 144,
    "sembuf": 6,
    "sigaction": 32,
    "siginfo": 128,
    "stack_t": 24,
    "stat": 144,
    "statfs": 120,
    "statx": 256,
    "sysinfo": 112,
    "termios": 36,
    "timespec": 16,
    "timeval": 16,
    "timex": 208,
    "tms": 32,
    "ucred": 12,
    "utsname": 390,
    "winsize": 8,
}


def names(entry: Mapping[str, Any]) -> dict[str, int]:
    """Return value by name of all constants of a set."""
    return {name: value for value, name in [*entry["values"], *entry["bits"]]}


def member(struct: str, name: str) -> Mapping[str, Any]:
    """Return a struct's only member of a name."""
    (found,) = [item for item in load_structs()[struct]["members"] if item["name"] == name]
    return dict(found)


def every_member() -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield each member with its struct."""
    for name, struct in STRUCTS:
        for item in struct["members"]:
            yield f"{name}.{item['name']}", item, struct


@pytest.mark.parametrize(("name", "entry"), SETS, ids=[name for name, _ in SETS])
def test_set_has_the_documented_shape(name: str, entry: Mapping[str, Any]) -> None:
    ones = (1 << 8 * entry["width"]) - 1

    assert entry.keys() - {"octal", "zero"} == {"mask", "values", "bits", "width"}
    assert entry["width"] in (1, 2, 4, 8)
    assert 0 <= entry["mask"] <= ones
    assert all(value & ~entry["mask"] == 0 for value, _ in entry["values"])
    assert all(0 < bits <= ones for bits, _ in entry["bits"])
    assert all(NAME.fullmatch(text) for _, text in [*entry["values"], *entry["bits"]])
    assert NAME.fullmatch(name)


@pytest.mark.parametrize(("name", "entry"), SETS, ids=[name for name, _ in SETS])
def test_set_names_each_value_once(name: str, entry: Mapping[str, Any]) -> None:
    values = [value for value, _ in entry["values"]]
    bits = [value for value, _ in entry["bits"]]
    named = [text for _, text in [*entry["values"], *entry["bits"]]]

    assert len(values) == len(set(values))
    assert len(bits) == len(set(bits))
    assert len(named) == len(set(named))


@pytest.mark.parametrize(("name", "entry"), SETS, ids=[name for name, _ in SETS])
def test_name_of_several_bits_comes_before_its_parts(name: str, entry: Mapping[str, Any]) -> None:
    bits = [value for value, _ in entry["bits"]]

    for index, whole in enumerate(bits):
        assert not [part for part in bits[:index] if part & ~whole == 0], f"{whole:#x} is never reached"


def test_set_with_zero_has_no_other_name_for_zero() -> None:
    for name, entry in SETS:
        if "zero" in entry:
            assert NAME.fullmatch(entry["zero"]), name
            assert 0 not in [value for value, _ in entry["values"]], name


@pytest.mark.parametrize("name", sorted(OVERLAPS))
def test_constants_agree_with_pythons(name: str) -> None:
    ours = names(load_sets()[name]).items()
    theirs = [
        (text, value, getattr(module, text))
        for text, value in ours
        for module in OVERLAPS[name]
        if hasattr(module, text)
    ]
    width = load_sets()[name]["width"]

    # Python's are signed where C's are: ioctl requests, O_CLOEXEC and the like.
    differing = [text for text, value, other in theirs if value != int(other) & ((1 << 8 * width) - 1)]

    assert len(theirs) > 0
    assert set(differing) <= DIFFERENT


def test_every_flag_of_open_that_python_knows_is_named() -> None:
    # RSYNC and FSYNC are SYNC, ASYNC is UAPI's FASYNC, NDELAY is NONBLOCK, ACCMODE is a mask.
    aliases = {"O_RSYNC", "O_FSYNC", "O_ASYNC", "O_NDELAY", "O_ACCMODE"}

    known = {name for name in dir(os) if name.startswith("O_")} - aliases

    assert known <= names(load_sets()["open_flags"]).keys()


def test_every_signal_is_named() -> None:
    ours = names(load_sets()["signal"])

    assert {name.name: name.value for name in signal.Signals if name.name != "SIGRTMAX"}.items() - ours.items() <= {
        ("SIGRTMIN", 34),
        ("SIGCLD", 17),
        ("SIGPOLL", 29),
        ("SIGIOT", 6),
    }
    assert sorted(ours.values()) == list(range(1, 65))
    assert (ours["SIGRTMIN"], ours["SIGRT_1"], ours["SIGRT_32"]) == (32, 33, 64)


def test_error_numbers_agree_with_pythons() -> None:
    # Python may know another name for a number, and lack the newest.
    ours = {name: int(number) for number, name in load_errno().items()}

    assert [name for name, number in ours.items() if getattr(errno, name, number) != number] == []
    assert errno.errorcode.keys() <= set(ours.values())
    assert {"EAGAIN", "EDEADLK", "EOPNOTSUPP", "EUCLEAN"} <= ours.keys()


def test_restart_codes_are_named() -> None:
    codes = {number: load_errno()[str(number)] for number in range(512, 517)}

    assert codes == {
        512: "ERESTARTSYS",
        513: "ERESTARTNOINTR",
        514: "ERESTARTNOHAND",
        515: "ENOIOCTLCMD",
        516: "ERESTART_RESTARTBLOCK",
    }


@pytest.mark.parametrize(
    ("name", "constant", "value"),
    [
        ("open_flags", "O_SYNC", 0o4010000),
        ("open_flags", "O_TMPFILE", 0o20200000),
        ("clone_flags", "CLONE_IO", 0x80000000),
        ("clone3_flags", "CLONE_INTO_CGROUP", 0x200000000),
        ("futex_op", "FUTEX_WAIT_BITSET_PRIVATE", 137),
        ("mount_flags", "MS_NOUSER", 0x80000000),
        ("mmap_flags", "MAP_HUGE_2MB", 21 << 26),
        ("arch_prctl_code", "ARCH_SET_FS", 0x1002),
        ("perf_event_flags", "exclude_kernel", 32),
        ("keyctl_special", "KEY_SPEC_THREAD_KEYRING", 0xFFFFFFFF),
        ("quotactl_cmd", "Q_GETQUOTA", 0x80000700),
        ("bpf_cmd", "BPF_PROG_LOAD", 5),
    ],
)
def test_constant_has_the_value_of_the_manual(name: str, constant: str, value: int) -> None:
    assert names(load_sets()[name])[constant] == value


@pytest.mark.parametrize(("name", "struct"), STRUCTS, ids=[name for name, _ in STRUCTS])
def test_struct_has_the_documented_shape(name: str, struct: Mapping[str, Any]) -> None:
    assert struct.keys() == {"size", "members"}
    assert struct["members"]
    assert NAME.fullmatch(name)
    for item in struct["members"]:
        assert NAME.fullmatch(item["name"])
        assert item["width"] > 0
        assert 0 <= item["offset"] <= struct["size"] - item["width"]
        assert item["kind"] in SCALARS | {"struct", "array", "text", "sockaddr", "sigset"}


def test_members_of_each_kind_carry_the_keys_that_they_need() -> None:
    for place, item, _ in every_member():
        match item["kind"]:
            case "set":
                assert item["set"] in load_sets(), place
            case "int" if "set" in item:
                assert not load_sets()[item["set"]]["bits"], place
            case "struct":
                assert item["width"] == load_structs()[item["struct"]]["size"], place
            case "array":
                assert item["count"] * item["size"] == item["width"], place
                assert item["element"]["kind"] in SCALARS | {"struct"}, place
            case "text" | "sockaddr":
                assert item["count"] == item["width"], place
            case _:
                assert item["width"] in (1, 2, 4, 8), place


def conditions(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all that must hold for a member to be shown."""
    when = item.get("when", [])
    return when if isinstance(when, list) else [when]


def shown_members(struct: Mapping[str, Any], **values: int) -> list[dict[str, Any]]:
    """Return the members that are shown where others have these values."""
    return [
        item for item in struct["members"] if all(values.get(one["member"]) in one["in"] for one in conditions(item))
    ]


def test_condition_names_members_that_lie_in_one_place() -> None:
    for place, item, struct in every_member():
        for condition in conditions(item):
            decisive = [other for other in struct["members"] if other["name"] == condition["member"]]
            assert len({(other["offset"], other["width"]) for other in decisive}) == 1, place
            assert condition["in"] == sorted(set(condition["in"])), place


# A signal's value is shown as a number and as an address: which, its sender knows.
OF_A_SIGVAL = {"si_int", "sival_int"}


def test_members_shown_together_do_not_overlap() -> None:
    for name, struct in STRUCTS:
        for signo, code in product(range(65), range(-8, 20)):
            shown = shown_members(struct, si_signo=signo, si_code=code, sigev_notify=code)
            spans = sorted(
                (item["offset"], item["offset"] + item["width"]) for item in shown if item["name"] not in OF_A_SIGVAL
            )
            assert all(end <= start for (_, end), (start, _) in pairwise(spans)), (name, signo, code)
            assert len({item["name"] for item in shown}) == len(shown), (name, signo, code)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_struct_has_the_size_that_the_kernel_expects(name: str) -> None:
    assert load_structs()[name]["size"] == SIZES[name]


def test_offsets_are_those_that_c_gives() -> None:
    class Stat(ctypes.Structure):
        _fields_ = [
            *[(name, ctypes.c_uint64) for name in ("st_dev", "st_ino", "st_nlink")],
            *[(name, ctypes.c_uint32) for name in ("st_mode", "st_uid", "st_gid", "__pad0")],
            *[(name, ctypes.c_uint64) for name in ("st_rdev", "st_size", "st_blksize", "st_blocks", "st_atime")],
        ]

    for name in ("st_ino", "st_mode", "st_gid", "st_rdev", "st_blocks", "st_atime"):
        assert member("stat", name)["offset"] == getattr(Stat, name).offset


def test_epoll_event_is_packed() -> None:
    assert member("epoll_event", "data")["offset"] == 4


def test_kernels_sigaction_has_its_mask_last() -> None:
    mask = member("sigaction", "sa_mask")

    assert (mask["offset"], mask["kind"]) == (24, "sigset")


def test_siginfo_of_a_child_tells_its_status() -> None:
    shown = {item["name"]: item for item in shown_members(load_structs()["siginfo"], si_signo=17, si_code=1)[2:]}

    assert {name: item["offset"] for name, item in shown.items()} == {
        "si_code": 8,
        "si_pid": 16,
        "si_uid": 20,
        "si_status": 24,
        "si_utime": 32,
        "si_stime": 40,
    }
    assert shown["si_code"]["set"] == "si_code_sigchld"


@pytest.mark.parametrize(
    ("name", "number", "aliases"),
    [
        ("read", 0, ()),
        ("newstat", 4, ("stat",)),
        ("newfstat", 5, ("fstat",)),
        ("newlstat", 6, ("lstat",)),
        ("sendfile64", 40, ("sendfile",)),
        ("newuname", 63, ("uname",)),
        ("sysctl", 156, ("_sysctl",)),
        ("umount", 166, ("umount2",)),
        ("openat", 257, ()),
        ("newfstatat", 262, ()),
        ("clone3", 435, ()),
    ],
)
def test_syscall_has_its_number_under_the_kernels_name(name: str, number: int, aliases: tuple[str, ...]) -> None:
    entry = load_syscalls("x86_64")[name]

    assert (entry.number, entry.name, entry.aliases) == (number, name, aliases)


def test_every_captured_syscall_has_a_number() -> None:
    captures = json.loads(CAPTURES.read_text())

    assert {name for capture in captures.values() for name in capture} <= load_syscalls("x86_64").keys()


def test_numbers_and_names_are_unique() -> None:
    entries = load_syscalls("x86_64")

    assert len({entry.number for entry in entries.values()}) == len(entries)
    assert not {alias for entry in entries.values() for alias in entry.aliases} & entries.keys()


def test_machine_without_a_table_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnsupportedError, match="x86_64 only"):
        load_syscalls("m68k")


def test_tables_cannot_be_changed() -> None:
    for table in (load_sets(), load_structs(), load_errno(), load_syscalls("x86_64")):
        with pytest.raises(TypeError):
            table["new"] = {}  # type: ignore[index]
