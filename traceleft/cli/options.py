"""Options that several commands share: which calls are traced, and how; how events are printed."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from traceleft.cli.option_types import Decorated, error_number, expression_option, pid_list, seconds, task_name, user
from traceleft.linux import HOOKS

FILE = click.Path(path_type=Path)
_VERBOSE = re.compile(r"verbose(=all)?")
# Everything from the command's name on is the command's: its options are not ours.
COMMAND_SETTINGS = {"allow_interspersed_args": False}


def _pids(what: str) -> Callable[..., Any]:
    return click.option("-p", "--pid", "pids", type=pid_list, multiple=True, metavar="PID[,PID]", help=what)


_MAX_EVENTS = click.option("--max-events", type=click.IntRange(1), metavar="N", help="Stop after N events.")
_DURATIONS = click.option("-T", "durations", is_flag=True, help="Show the time spent in each call.")
_LEDGER = click.option(
    "--ledger", type=FILE, metavar="FILE", help="Write the ledger (events emitted, delivered, lost) to FILE, as JSON."
)
_FAIL_ON_LOSS = click.option("--fail-on-loss", is_flag=True, help="Exit with status 3 if an event was lost.")
_FILTERS: Sequence[Callable[..., Any]] = (
    click.option("-z", "success_only", is_flag=True, help="Show only calls that succeeded."),
    click.option("-Z", "failed_only", is_flag=True, help="Show only calls that failed."),
    click.option(
        "--errno",
        "error",
        type=error_number,
        metavar="E",
        help="Show only calls that failed with this errno (name or number).",
    ),
    click.option("--uid", type=user, metavar="U", help="Show only calls of this user (uid or name)."),
    click.option("--comm", type=task_name, metavar="C", help="Show only calls of tasks with this name."),
)
_RECORDED: Sequence[Callable[..., Any]] = (
    _pids("Show only these processes; repeatable."),
    expression_option,
    _DURATIONS,
    click.option(
        "-s",
        "text_limit",
        type=click.IntRange(0, 32 << 10),
        metavar="N",
        help="Show at most N bytes of strings and buffers, of those that were recorded; paths are shown whole.",
    ),
    *_FILTERS,
    _MAX_EVENTS,
    _FAIL_ON_LOSS,
    _LEDGER,
)
_TRACING: Sequence[Callable[..., Any]] = (
    _pids("Trace a process with all its threads, or one thread by its id; repeatable."),
    click.option("-f", "--follow", is_flag=True, help="Trace child processes as well."),
    expression_option,
    click.option("--battery", type=click.Path(path_type=Path), metavar="PATH", help="Use this battery, and no other."),
    click.option(
        "--require-signature",
        "signer",
        type=click.Path(path_type=Path),
        metavar="KEY",
        help="Refuse a battery that is not signed with this public key.",
    ),
    click.option(
        "--attach",
        "hook",
        type=click.Choice(["auto", *HOOKS]),
        default="auto",
        show_default=True,
        help="Hook to attach programs to.",
    ),
    click.option(
        "--level",
        metavar="L",
        help="Battery level to use, such as 4.18; by default the highest that the kernel supports.",
    ),
    _DURATIONS,
    click.option(
        "-s",
        "text_limit",
        type=click.IntRange(0, 32 << 10),
        default=32,
        show_default=True,
        metavar="N",
        help="Show at most N bytes of strings and buffers; paths are shown whole.",
    ),
    click.option("-k", "stacks", is_flag=True, help="Show the stacks of each call, in user space and in the kernel."),
    *_FILTERS,
    click.option(
        "--cgroup",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="PATH",
        help="Show only calls of tasks in this cgroup (v2) or below it.",
    ),
    _MAX_EVENTS,
    click.option("--duration", "duration_s", type=seconds, metavar="S", help="Stop after S seconds."),
    click.option("--kill", is_flag=True, help="Kill the command if the trace ends first; by default it goes on."),
    click.option(
        "--buffer-pages",
        type=click.IntRange(1, 1 << 18),
        metavar="N",
        help="Size of the buffer in pages; rounded up to a power of two.",
    ),
    click.option(
        "--max-overhead",
        "max_overhead_pct",
        type=click.FloatRange(0, 100, min_open=True),
        metavar="PCT",
        help="Drop the most expensive event while the trace takes more than PCT percent of the CPU time.",
    ),
    _FAIL_ON_LOSS,
    _LEDGER,
    click.option(
        "--no-sandbox",
        "sandbox",
        is_flag=True,
        flag_value=False,
        default=True,
        # In a process of someone else's, nothing is given up.
        callback=lambda context, _, value: value and bool(context.find_root().obj),
        help="Keep all privileges while reading; by default traceleft drops those that it no longer needs.",
    ),
    click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD ARG...]"),
)
_PRINTING: Sequence[Callable[..., Any]] = (
    click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json", "folded"]),
        default="text",
        show_default=True,
        help="Output format; folded: print no events, but the number of events of each stack at the end.",
    ),
    click.option("-o", "output", type=FILE, metavar="FILE", help="Write events to FILE instead of stdout."),
    click.option("--flame", type=FILE, metavar="FILE", help="Write a flame graph of the stacks to FILE, as HTML."),
    click.option("-c", "count", is_flag=True, help="Count calls, errors and time; print a table only."),
    click.option("-C", "count_too", is_flag=True, help="Like -c, and also print the events."),
    click.option("-y", "fd_names", is_flag=True, help="Show the paths and addresses that file descriptors refer to."),
    click.option(
        "-t", "clock", count=True, help="-t: time of day in seconds, -tt: to the microsecond, -ttt: since the epoch."
    ),
    click.option("-r", "relative", is_flag=True, help="Print the time since the previous event."),
    click.option("--raw", is_flag=True, help="Show the six argument registers as well."),
)


environment_option = click.option(
    "-v", "environment", is_flag=True, help="Show the strings of the environment, not only their number."
)


def take_verbose(values: dict[str, Any]) -> None:
    """Take ``-e verbose``, which strace has for ``-v``, out of the expressions."""
    kept = tuple(each for each in values["expressions"] if not _VERBOSE.fullmatch(each))
    values["environment"] |= len(kept) < len(values["expressions"])
    values["expressions"] = kept


def tracing_options(function: Decorated) -> Decorated:
    """Add the options that say what is traced, and the command to trace; see ``session.TraceOptions``."""
    return _decorate(function, _TRACING)


def recorded_options(function: Decorated) -> Decorated:
    """Add the options that choose among recorded events, those of ``tracing_options`` that can."""
    return _decorate(function, _RECORDED)


def printing_options(function: Decorated) -> Decorated:
    """Add the options that say how events are printed, and where."""
    return _decorate(function, _PRINTING)


def _decorate(function: Decorated, decorators: Sequence[Callable[..., Any]]) -> Decorated:
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def refuse_contradictions(values: dict[str, Any]) -> None:
    """Refuse two options where one would make the other meaningless."""
    pairs = (
        ("count", "-c", "count_too", "-C"),
        ("success_only", "-z", "failed_only", "-Z"),
        ("relative", "-r", "clock", "-t"),
        ("stacks", "-k", "count", "-c"),
        ("flame", "--flame", "count", "-c"),
    )
    for first, first_name, second, second_name in pairs:
        if values.get(first) and values.get(second):
            raise click.UsageError(f"{first_name} and {second_name} exclude each other", click.get_current_context())
    if values.get("form") == "folded" and (values.get("count") or values.get("count_too")):
        raise click.UsageError("--format folded and -c exclude each other", click.get_current_context())
    if values.get("success_only") and values.get("error"):
        raise click.UsageError("-z and --errno exclude each other", click.get_current_context())
