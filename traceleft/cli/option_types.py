"""What options take, and options that several commands share. An invalid value is a usage error."""

import errno
import math
import os
import pwd
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from traceleft.linux import MAX_ERROR

LARGEST_ID = 0xFFFF_FFFE
LONGEST_COMM_BYTES = 15
LONGEST_S = 1e9
_PIDS = re.compile(r"[1-9][0-9]{0,9}(,[1-9][0-9]{0,9})*", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,18})([kKmMgG]?)", re.ASCII)
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}
SMALLEST_FILE_BYTES = 64 << 10
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
# The kernel's own, which errno(3) lacks; strace names them too.
RESTARTS = {
    "ERESTARTSYS": 512,
    "ERESTARTNOINTR": 513,
    "ERESTARTNOHAND": 514,
    "ENOIOCTLCMD": 515,
    "ERESTART_RESTARTBLOCK": 516,
}
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def pid_list(value: str) -> tuple[int, ...]:
    """Read a comma list of process ids."""
    if not _PIDS.fullmatch(value):
        raise click.BadParameter(f"{shorten(value)} must be process ids separated by commas")
    return tuple(int(part) for part in value.split(","))


def user(value: str) -> int:
    """Read a user, given by uid or name."""
    if _NUMBER.fullmatch(value) and int(value) <= LARGEST_ID:
        return int(value)
    try:
        return pwd.getpwnam(value).pw_uid
    except (KeyError, ValueError):
        raise click.BadParameter(f"{shorten(value)} is neither a uid nor a user") from None


def task_name(value: str) -> str:
    """Read the name of a task as the kernel keeps it."""
    if not 0 < len(os.fsencode(value)) <= LONGEST_COMM_BYTES:
        raise click.BadParameter(f"{shorten(value)} must be a task name of 1 to {LONGEST_COMM_BYTES} bytes")
    return value


def error_number(value: str) -> int:
    """Read an errno, given by name or number."""
    names = {name: number for number, name in errno.errorcode.items()} | RESTARTS | {"EWOULDBLOCK": errno.EAGAIN}
    if value.upper() in names:
        return names[value.upper()]
    if _NUMBER.fullmatch(value) and 0 < int(value) <= MAX_ERROR:
        return int(value)
    raise click.BadParameter(f"{shorten(value)} is neither an errno's name nor its number")


def seconds(value: str) -> float:
    """Read a number of seconds above 0."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number <= LONGEST_S:
        raise click.BadParameter(f"{shorten(value)} must be a number of seconds above 0")
    return number


def byte_size(value: str) -> int:
    """Read a number of bytes, with K, M or G for powers of 1024."""
    match = _SIZE.fullmatch(value)
    number = int(match[1]) << _SHIFTS[match[2].upper()] if match else 0
    if not SMALLEST_FILE_BYTES <= number < 1 << 62:
        raise click.BadParameter(
            f"{shorten(value)} must be a size of at least {SMALLEST_FILE_BYTES >> 10}K, such as 100M"
        )
    return number


def shorten(value: str) -> str:
    """Quote a value for a message, not longer than a line bears."""
    return repr(value if len(value) <= 60 else f"{value[:60]}…")


def complete_events(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the event names and classes that the last name of a comma list may become."""
    from traceleft.cli.complete import event_names

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
        help="Choose events: names, %class, /regex/, category:name; ! negates; repeatable.",
    )
    return option(function)
