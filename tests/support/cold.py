"""What tests/programs/live_cold_exec.c passes to an exec, and what has to be seen of it."""

from collections.abc import Mapping
from typing import Any, Final

# By mode, the name that is passed, and the strings that the new image gets: the kernel puts an interpreter before those
# of a script, and takes the first away.
MODES: Final[Mapping[str, tuple[str, list[str]]]] = {
    "script": ("./exec-cold.script", ["/bin/sh", "./exec-cold.script", "arg-one"]),
    "at": ("true", ["ARG0", "arg-one"]),
    "empty": ("", ["ARG0", "arg-one"]),
}
# Under emulation each takes seconds, level by level and hook by hook.
GUEST_MODES: Final = ("script", "empty")
TOUCHED: Final = ("cold", "touched")
PASSED: Final = ["ARG0", "arg-one"]


def check_passed(event: Mapping[str, Any], mode: str, *, environment: bool = True) -> None:
    """Hold that an exec shows what the caller passed, and no more is said."""
    args = event["args"]
    assert (args["filename"], args["argv"], event["ret"]) == (MODES[mode][0], PASSED, 0), event
    assert not environment or args["envp"] == ["arg-one"], event
    assert set(event.get("unreadable", [])) <= (set() if environment else {"envp"}), event
    assert "image" not in event and "truncated" not in event, event


def check_marked(event: Mapping[str, Any], mode: str) -> None:
    """Hold that an exec shows addresses for what could not be read, says so, and keeps apart what is run."""
    args = event["args"]
    assert {"filename", "argv"} <= set(event["unreadable"]), event
    unread = [args[name] if isinstance(args[name], list) else [args[name]] for name in event["unreadable"]]
    assert all(each is None or each.startswith("0x") for values in unread for each in values), event
    assert event.get("image", {}).get("argv") in (None, MODES[mode][1]), event
