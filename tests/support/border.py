"""What tests/programs/live_border.c calls with, and what has to be seen of it."""

from collections.abc import Sequence
from typing import Any, Final

EVENTS: Final = "openat,write,writev,connect,clock_nanosleep,execve"
LENGTHS: Final = (1, 8, 30, 95, 200, 255, 256, 257, 1000, 4094, 4095, 4096, 5000, 0)
ENDLESS: Final = 9999
PATH_MAX: Final = 4095
# Level 4.4 has its records on the stack: a longer text is cut, and marked so.
LONGEST: Final = {"4.4": 200}
BEGIN: Final = "/border/"

Json = dict[str, Any]


def text_of(length: int) -> str:
    """Return the program's text of that length."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    rest = letters * (length // len(letters) + 1)
    return (BEGIN + rest)[:length]


def assert_whole(event: Json, name: str, expected: object) -> None:
    """Hold that an argument is all that was passed, and is not said to be less."""
    assert event["args"][name] == expected, event
    assert "unreadable" not in event and name not in event.get("truncated", {}), event


def check_paths(events: Sequence[Json], level: str) -> None:
    """Hold that a path up to the border is whole, that a longer one is cut, and that an endless one is reported."""
    calls = [event for event in events if event["event"] == "openat" and isinstance(event["args"]["dfd"], int)]
    longest = LONGEST.get(level, PATH_MAX)

    assert [event["args"]["dfd"] for event in calls] == [*LENGTHS, ENDLESS]
    for length, event in zip(LENGTHS, calls, strict=False):
        if length <= longest:
            assert_whole(event, "filename", text_of(length))
        else:
            shown = event["args"]["filename"]
            assert longest <= len(shown) <= PATH_MAX and text_of(length).startswith(shown), event
            assert (length <= PATH_MAX and len(shown) == length) or "filename" in event["truncated"], event
    endless = calls[-1]
    assert endless["error"] == "EFAULT"
    # Its 40 bytes may be shown, but never as if they were all.
    assert endless.get("unreadable") == ["filename"] or (
        endless["args"]["filename"] == text_of(40) and "filename" in endless["truncated"]
    ), endless


def check_buffers(events: Sequence[Json]) -> None:
    """Hold that buffers, addresses and structs up to the border are whole, and that one beyond it is cut there."""
    first, beyond = (event for event in events if event["event"] == "write")
    local, internet = (event for event in events if event["event"] == "connect")
    (vector,) = (event for event in events if event["event"] == "writev")
    (pause,) = (event for event in events if event["event"] == "clock_nanosleep")

    assert_whole(first, "buf", "to the last byte")
    assert (beyond["args"]["buf"], beyond["truncated"]) == ("beyond", {"buf": 100})
    assert [part["data"] for part in vector["args"]["vec"]] == ["first", "and second"]
    assert "unreadable" not in vector and "truncated" not in vector
    assert_whole(local, "uservaddr", {"family": "AF_UNIX", "path": "/nonexistent/border"})
    assert_whole(internet, "uservaddr", {"family": "AF_INET", "addr": "127.0.0.1", "port": 9})
    assert_whole(pause, "rqtp", {"tv_sec": 0, "tv_nsec": 1000})


def check_execs(events: Sequence[Json], level: str) -> None:
    """Hold that strings and vectors up to the border are whole, in a call that fails and in one that does not."""
    # Level 4.4 has no room for the environment, and says so.
    lacking = ["envp"] if level == "4.4" else []
    _, missing, endless, last = (event for event in events if event["event"] == "execve")

    for event, filename in ((missing, "/nonexistent/program"), (last, "/bin/true")):
        assert event.get("unreadable", []) == lacking and "truncated" not in event, event
        assert event["args"]["filename"] == filename
        assert event["args"]["argv"] == ["first", "to the border"]
        assert lacking or event["args"]["envp"] == ["NAME=value"]
    assert (missing["error"], endless["error"], last["ret"]) == ("ENOENT", "EFAULT", 0)
    assert (endless["args"]["argv"], endless["unreadable"]) == (["first"], ["argv", *lacking])


def check_border(events: Sequence[Json], level: str) -> None:
    """Hold all of that."""
    check_paths(events, level)
    check_buffers(events)
    check_execs(events, level)
