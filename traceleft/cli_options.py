"""Options that several commands share: which calls are traced, and how; how events are printed."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from traceleft.cli_types import Decorated, error_number, expression_option, pid_list, seconds, task_name, user

FILE = click.Path(path_type=Path)
_VERBOSE = re.compile(r"verbose(=all)?")
HOOKS = ["auto", "raw_tracepoint", "tracepoint", "kprobe"]
# Everything from the command's name on is the command's: its options are not ours.
COMMAND_SETTINGS = {"allow_interspersed_args": False}


def _pids(what: str) -> Callable[..., Any]:
    return click.option("-p", "--pid", "pids", type=pid_list, multiple=True, metavar="PID[,PID]", help=what)


_MAX_EVENTS = click.option("--max-events", type=click.IntRange(1), metavar="N", help="End after N events.")
_DURATIONS = click.option("-T", "durations", is_flag=True, help="Show the time that calls took.")
_LEDGER = click.option("--ledger", type=FILE, metavar="FILE", help="Write the account of all events there, as JSON.")
_FAIL_ON_LOSS = click.option("--fail-on-loss", is_flag=True, help="Exit with 3 if an event was lost.")
_FILTERS: Sequence[Callable[..., Any]] = (
    click.option("-z", "success_only", is_flag=True, help="Only calls that succeeded."),
    click.option("-Z", "failed_only", is_flag=True, help="Only calls that failed."),
    click.option(
        "--errno", "error", type=error_number, metavar="E", help="Only calls that failed so, by name or number."
    ),
    click.option("--uid", type=user, metavar="U", help="Only callers of this user, by number or name."),
    click.option("--comm", type=task_name, metavar="C", help="Only tasks of this name."),
)
_RECORDED: Sequence[Callable[..., Any]] = (
    _pids("Only these processes; repeatable."),
    expression_option,
    _DURATIONS,
    click.option(
        "-s",
        "text_limit",
        type=click.IntRange(0, 32 << 10),
        metavar="N",
        help="Bytes of text and buffers to show, at most those that were recorded; paths come whole.",
    ),
    *_FILTERS,
    _MAX_EVENTS,
    _FAIL_ON_LOSS,
    _LEDGER,
)
_TRACING: Sequence[Callable[..., Any]] = (
    _pids("Trace processes with all their threads, or one thread by its number; repeatable."),
    click.option("-f", "--follow", is_flag=True, help="Trace child processes, too."),
    expression_option,
    click.option("--battery", type=click.Path(path_type=Path), metavar="PATH", help="Battery to use and no other."),
    click.option(
        "--require-signature",
        "signer",
        type=click.Path(path_type=Path),
        metavar="KEY",
        help="Refuse a battery that this public key did not sign.",
    ),
    click.option("--attach", "hook", type=click.Choice(HOOKS), default="auto", show_default=True, help="Hook."),
    click.option(
        "--level",
        metavar="L",
        help="Level to use, such as 4.18; by default the highest that the battery holds and the kernel offers.",
    ),
    _DURATIONS,
    click.option(
        "-s",
        "text_limit",
        type=click.IntRange(0, 32 << 10),
        default=32,
        show_default=True,
        metavar="N",
        help="Bytes of text and buffers to show; paths come whole.",
    ),
    click.option(
        "-k", "stacks", is_flag=True, help="Show where calls were made from: stacks of the process, of the kernel."
    ),
    *_FILTERS,
    click.option(
        "--cgroup",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="PATH",
        help="Only tasks in this cgroup (v2) or below.",
    ),
    _MAX_EVENTS,
    click.option("--duration", "duration_s", type=seconds, metavar="S", help="End after S seconds."),
    click.option("--kill", is_flag=True, help="End the command if the trace ends first; else it goes on."),
    click.option(
        "--buffer-pages",
        type=click.IntRange(1, 1 << 18),
        metavar="N",
        help="Size of the buffer; rounded up to a power of two.",
    ),
    click.option(
        "--max-overhead",
        "max_overhead_pct",
        type=click.FloatRange(0, 100, min_open=True),
        metavar="PCT",
        help="Shed the most expensive event while the trace takes more of the machine's CPU time.",
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
        help="Keep all privileges while reading; by default those that are no longer needed are given up.",
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
        help="Form of an event; folded: no events, but how many came of each stack, at the end.",
    ),
    click.option("-o", "output", type=FILE, metavar="FILE", help="Write events there instead of to stdout."),
    click.option("--flame", type=FILE, metavar="FILE", help="Write a flame graph of the stacks there, a page of HTML."),
    click.option("-c", "count", is_flag=True, help="Count calls, errors and time; print a table only."),
    click.option("-C", "count_too", is_flag=True, help="As -c, and print the events, too."),
    click.option("-y", "fd_names", is_flag=True, help="Show what file descriptors stand for."),
    click.option(
        "-t", "clock", count=True, help="-t: time of day in seconds, -tt: to the microsecond, -ttt: since the epoch."
    ),
    click.option("-r", "relative", is_flag=True, help="Time since the event before."),
    click.option("--raw", is_flag=True, help="Show the six argument registers, too."),
)


environment_option = click.option(
    "-v", "environment", is_flag=True, help="Show the strings of environments, not only their number."
)


def take_verbose(values: dict[str, Any]) -> None:
    """Take ``-e verbose``, which strace has for ``-v``, out of the expressions."""
    kept = tuple(each for each in values["expressions"] if not _VERBOSE.fullmatch(each))
    values["environment"] |= len(kept) < len(values["expressions"])
    values["expressions"] = kept


def tracing_options(function: Decorated) -> Decorated:
    """Add the options that say what is traced, and the command to trace; see ``cli_session.TraceOptions``."""
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
    """Refuse options of which one would make the other meaningless."""
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
