"""The measured part of docs/project/performance.md: between two marks, all else in the page is written by hand."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bench.table import NOTHING, look_up, megabytes, number, ratio, table, times
from bench.targets import find_targets
from bench.tools import FLOOR

BEGIN: Final = "<!-- measured: written by make bench, not by hand -->"
END: Final = "<!-- end of measured -->"
Figures = Mapping[str, Any]


def check_page(page: Path, *marks: str) -> None:
    """Refuse a page that cannot be written, or lacks these marks, before anything is measured; a new one gets them."""
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a+") as file:
            file.seek(0)
            text = file.read()
            if not text:
                file.write("\n".join((*marks, "")))
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"bench: {page}: cannot be read and written: {getattr(error, 'strerror', error)}")
    missing = [mark for mark in marks if text and mark not in text]
    if missing:
        sys.exit(f"bench: {page}: lacks the line {missing[0]!r}, where results go; choose another file, or a new one")


def write_report(results: Figures, page: Path) -> None:
    """Put the tables of these results between the marks of a page."""
    page.write_text(replace_measured(page.read_text(), render(results)))


def replace_measured(text: str, measured: str) -> str:
    """Return a page with another measured part; ValueError where it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for what is measured")
    return f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}"


def render(results: Figures) -> str:
    """Return all tables of what was measured."""
    parts = results["parts"]
    sections = [_machine(results["machine"], parts), _targets(parts)]
    for name, show in SECTIONS.items():
        if name in parts:
            sections.append(show(parts[name]["figures"]))
    return "\n\n".join(sections)


def _machine(machine: Figures, parts: Figures) -> str:
    gigabytes = machine["memory_bytes"] / 1e9
    rows = [[name, part["date"], f"{part['load']:.1f}", str(part["rounds"])] for name, part in parts.items()]
    head = f"Linux {machine['kernel']}, {machine['cpus']} CPUs ({machine['processor']}), {gigabytes:.0f} GB."
    return f"{head}\n\n{table(['part', 'measured', 'load', 'rounds'], rows)}"


def _targets(parts: Figures) -> str:
    rows = [target.row() for target in find_targets(parts)]
    return f"## Targets\n\n{table(['target', 'asked for', 'measured', 'met'], rows)}"


BESIDE: Final = {False: "", True: ", beside busy loops"}
COST_HEAD: Final = (
    *("best", "median", "worst", "times the floor", "reader, ns an event"),
    *("lost", "MB", "first event, s"),
)


def _cost(figures: Figures) -> str:
    head = ["ns added to a call", *COST_HEAD]
    sections = [
        f"### {title.capitalize()}\n\nUntraced: {number(case['bare_ns'])} ns a call.\n\n{table(head, _cost_rows(case))}"
        for title, case in figures.items()
    ]
    return "## Cost of a traced call\n\n" + "\n\n".join(sections)


ROLLUP_HEAD: Final = ("best", "median", "worst", "reader, ns a call", "lost", "MB")


def _rollup(figures: Figures) -> str:
    head = ["ns added to a call", *ROLLUP_HEAD]
    sections = [
        f"### {title.capitalize()}, rolled up\n\nUntraced: {number(case['bare_ns'])} ns a call.\n\n"
        + table(head, _rows(case["tools"], len(ROLLUP_HEAD), _rollup_cells))
        for title, case in figures.items()
    ]
    what = "Calls, errors and time in total by event; where it is said, percentiles beside."
    return f"## Cost of a rollup\n\n{what}\n\n" + "\n\n".join(sections)


def _rollup_cells(tool: Figures) -> list[str]:
    added = [number(tool[key]) for key in ("added_ns", "median_ns", "worst_ns")]
    return [*added, number(tool["consumer_ns"]), _lost(tool), megabytes(tool["peak_bytes"])]


def _cost_rows(case: Figures) -> list[list[str]]:
    floor = look_up(case, "tools", FLOOR.name, "added_ns")
    return _rows(case["tools"], len(COST_HEAD), lambda tool: _cost_cells(tool, floor))


def _cost_cells(tool: Figures, floor: float | None) -> list[str]:
    return [
        *(number(tool[key]) for key in ("added_ns", "median_ns", "worst_ns")),
        times(ratio(tool["added_ns"], floor)),
        number(tool["consumer_ns"]),
        _lost(tool),
        megabytes(tool["peak_bytes"]),
        number(tool["first_event_s"]),
    ]


def _rows(found: Figures, columns: int, show: Callable[[Figures], list[str]]) -> list[list[str]]:
    """Return a row for each: its name, then its cells, or why it could not be measured."""
    return [[name, *(_no_cells(one, columns) if "unavailable" in one else show(one))] for name, one in found.items()]


def _no_cells(one: Figures, columns: int) -> list[str]:
    return [*[NOTHING] * (columns - 1), f"not available: {_escape(one['unavailable'])}"]


def _escape(text: str) -> str:
    return re.sub(r"([|<>*_\[\]])", r"\\\1", text)


def _lost(figures: Figures) -> str:
    rest = f", {figures['unaccounted']:,} unaccounted" if figures.get("unaccounted") else ""
    return f"{figures['lost']:,}{rest}"


def _bystander(figures: Figures) -> str:
    floor = look_up(figures, "tools", FLOOR.name, "added_ns")
    rows = _rows(
        figures["tools"],
        4,
        lambda tool: [
            *(number(tool[key]) for key in ("added_ns", "median_ns", "worst_ns")),
            times(ratio(tool["added_ns"], floor)),
        ],
    )
    head = ["ns added to a call of a process that is not traced", "best", "median", "worst", "times the floor"]
    return f"## Cost to bystanders\n\nUntraced: {number(figures['bare_ns'])} ns a call.\n\n{table(head, rows)}"


def _helpers(figures: Figures) -> str:
    rows = [[f"`{name}`", number(ns)] for name, ns in figures.items()]
    return f"## What helpers take\n\n{table(['by itself', 'ns'], rows)}"


def _real(figures: Figures) -> str:
    commands = [
        f"### {title.capitalize()}\n\nUntraced: {number(case['bare_ms'])} ms a run.\n\n"
        + table(
            ["all syscalls, children followed", "ms a run", "times untraced", "events", "lost"], _command_rows(case)
        )
        for title, case in figures["commands"].items()
    ]
    server = figures["server"]
    title = f"### A server on loopback, four threads\n\nUntraced: {number(server['bare_ns'])} ns a request.\n\n"
    shown = title + table(["ns added to a request", *COST_HEAD], _cost_rows(server))
    return "## Real programs\n\n" + "\n\n".join([*commands, shown])


def _command_rows(case: Figures) -> list[list[str]]:
    return _rows(
        case["tools"],
        4,
        lambda tool: [
            number(tool["best_ms"]),
            times(ratio(tool["best_ms"], case["bare_ms"])),
            f"{tool['seen']:,}",
            NOTHING if tool["lost"] is None else _lost(tool),
        ],
    )


def _storm(figures: Figures) -> str:
    head = ["events", "storm, s", "until drained, s", "events a second", "lost", "reader, CPU s", "MB"]
    named = {f"{one['tool']}: {one['made']:,}{BESIDE[one['busy'] > 0]}": one for one in figures["storms"]}
    return f"## Storm\n\n{table(head, _rows(named, len(head) - 1, _storm_cells))}"


def _storm_cells(one: Figures) -> list[str]:
    return [
        number(one["storm_s"]),
        number(one["drained_s"]),
        number(one["seen"] / one["drained_s"]),
        _lost(one),
        number(one["consumer_s"]),
        megabytes(one["peak_bytes"]),
    ]


def _decode(figures: Figures) -> str:
    rows = [[way, number(rate)] for way, rate in figures["per_second"].items()]
    text = f"{figures['records']:,} records of openat and close in memory, one thread."
    return f"## Reading\n\n{text}\n\n{table(['way', 'records a second'], rows)}"


def _start(figures: Figures) -> str:
    named = {f"`{name}`": one for name, one in figures.items()}
    rows = _rows(named, 3, lambda one: [number(one[key]) for key in ("best_ms", "median_ms", "worst_ms")])
    return f"## Start-up\n\n{table(['command', 'best, ms', 'median', 'worst'], rows)}"


def _build(figures: Figures) -> str:
    rows = [[name, number(one["seconds"]), one["said"]] for name, one in figures.items()]
    return f"## Generate and build\n\n{table(['all syscalls, one level', 's', 'said'], rows)}"


SECTIONS: Final = {
    "cost": _cost,
    "bystander": _bystander,
    "helpers": _helpers,
    "real": _real,
    "rollup": _rollup,
    "storm": _storm,
    "decode": _decode,
    "start": _start,
    "build": _build,
}
