"""Parameter types and options that several commands share."""

import errno
import os
import pwd
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

LARGEST_ID = 0xFFFF_FFFE
LONGEST_COMM_BYTES = 15
LARGEST_ERRNO = 4095
LONGEST_S = 1e9
_PIDS = re.compile(r"[1-9][0-9]{0,9}(,[1-9][0-9]{0,9})*", re.ASCII)
# strace and the kernel know these, errno(3) does not.
RESTARTS = {
    "ERESTARTSYS": 512,
    "ERESTARTNOINTR": 513,
    "ERESTARTNOHAND": 514,
    "ENOIOCTLCMD": 515,
    "ERESTART_RESTARTBLOCK": 516,
}
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Pids(click.ParamType):
    """A comma list of process ids."""

    name = "pid list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the pids, or fail on anything that is none."""
        if not _PIDS.fullmatch(value):
            self.fail(f"{value!r} is no comma list of process ids", param, ctx)
        return tuple(int(part) for part in value.split(","))


class User(click.ParamType):
    """A user, by number or name."""

    name = "user"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the uid."""
        if isinstance(value, int):
            return value
        if value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= LARGEST_ID:
            return int(value)
        try:
            return pwd.getpwnam(value).pw_uid
        except (KeyError, ValueError):
            self.fail(f"{value!r} is neither a uid nor a user", param, ctx)


class Comm(click.ParamType):
    """The name of a task, as the kernel keeps it: at most 15 bytes."""

    name = "comm"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail on one that no task can have."""
        if not 0 < len(os.fsencode(value)) <= LONGEST_COMM_BYTES:
            self.fail(f"{value!r} is no task name: they have 1 to {LONGEST_COMM_BYTES} bytes", param, ctx)
        return str(value)


class Errno(click.ParamType):
    """An errno, by name or number."""

    name = "errno"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the positive number."""
        if isinstance(value, int):
            return value
        names = {name: number for number, name in errno.errorcode.items()} | RESTARTS
        name = value.upper()
        if name in names:
            return names[name]
        if value.isascii() and value.isdigit() and len(value) <= 4 and 0 < int(value) <= LARGEST_ERRNO:
            return int(value)
        self.fail(f"{value!r} is neither an errno's name nor its number", param, ctx)


class Seconds(click.ParamType):
    """A stretch of time in seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds: more than none, at most some years."""
        seconds = float(click.FLOAT.convert(value, param, ctx))
        if not 0 < seconds <= LONGEST_S:
            self.fail(f"{value} is no number of seconds above 0", param, ctx)
        return seconds


class BufferPages(click.ParamType):
    """The size of the buffer in pages: a power of two."""

    name = "pages"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of pages."""
        pages = click.IntRange(1, 1 << 18).convert(value, param, ctx)
        if pages & (pages - 1):
            self.fail(f"{value} is no power of two", param, ctx)
        return int(pages)


def complete_events(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the event names and classes that the last name of a comma list may become."""
    from traceleft.cli_complete import event_names

    cut = max(incomplete.rfind(","), incomplete.rfind("!")) + 1
    head, begun = incomplete[:cut], incomplete[cut:]
    return [CompletionItem(head + name) for name in event_names() if name.startswith(begun)]


def expression_option(function: Decorated) -> Decorated:
    """Add ``-e``, which may be repeated."""
    option = click.option(
        "-e",
        "expressions",
        multiple=True,
        metavar="EXPR",
        shell_complete=complete_events,
        help="Events: names, %class, /regex/, category:name; ! negates; repeatable.",
    )
    return option(function)
