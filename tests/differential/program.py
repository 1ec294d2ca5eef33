"""A program to trace, and how its directory looks before."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOOKS: Final = ("raw_tracepoint", "tracepoint")


def nothing(work: Path) -> None:
    """Leave the directory empty."""


def files(work: Path) -> None:
    """Put a few files there."""
    (work / "dir").mkdir()
    (work / "other").mkdir()
    (work / "dir" / "inner.txt").write_text("inner\n")
    (work / "one.txt").write_text("pear\napple\nfig\n" * 20)
    (work / "two words").write_bytes(b"\0\1\2 binary \xff\n")
    (work / "dir" / "link").symlink_to("../one.txt")
    (work / "script").write_text("#!/bin/true with an argument\n")
    (work / "script").chmod(0o755)
    make_old(work)


def make_old(work: Path) -> None:
    """Give all files one time, so long ago that git trusts its index."""
    for path in work.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class Program:
    """A command to trace, run in a directory that ``prepare`` fills.

    ``{bin}`` is where compiled programs lie, ``{port}`` where a server on this machine answers HTTP. A debugger needs
    ``follow`` to be false: nobody can debug what another debugs already, as strace does what it follows.
    """

    name: str
    command: tuple[str, ...]
    prepare: Callable[[Path], None] = nothing
    hooks: tuple[str, ...] = HOOKS[:1]
    is_compat: bool = False
    follow: bool = True

    def at(self, compiled: Path, port: int) -> list[str]:
        """Return the command, compiled programs and the server's port found."""
        return [word.replace("{bin}", str(compiled)).replace("{port}", str(port)) for word in self.command]
