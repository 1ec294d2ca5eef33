"""The figures of a report page, as plotly.js takes them: data and layout, without colours that a style sheet gives."""

import html
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from traceleft.aggregator.pages.overview import Times
from traceleft.aggregator.text.units import show_count, show_time, show_utc, time_unit

# Okabe and Ito's, which eyes that see fewer colours keep apart, without black.
COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a40a", "#8c6bb1")
REST: Final = "#9aa4b0"
DEPTH_MAX: Final = 40
"""Frames above each other that are shown at once, from the one on that was clicked."""
THIN: Final = 200
"""What part of all samples a frame has at least for whose level there is room; a click on those below shows more."""
ERRORS: Final = "#d43d3d"
_FLAMES: Final = ("#f6c667", "#f3a953", "#ef8d4a", "#e77443", "#f0b35e", "#eb9a6b", "#f5d07a", "#dd6a4f")
_RATE_AXIS: Final = {"rangemode": "tozero", "tickformat": "~s", "automargin": True}
_TICKS_NS: Final = tuple(10**power for power in range(14))
_MARGIN: Final = {"l": 60, "r": 12, "t": 8, "b": 44}


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure: ``name`` is its element's, ``summary`` says in words what it shows, ``picks`` name traces; one is shown
    at a time."""

    name: str
    summary: str
    data: Sequence[dict[str, Any]]
    layout: dict[str, Any]
    height: int
    picks: tuple[str, ...] = ()
    pick_label: str = ""


def label(text: str) -> str:
    """Return text for a figure: plotly takes some markup in texts."""
    return html.escape(text if len(text) <= 80 else f"{text[:79]}…", quote=False)


def timeline(times: Times) -> Chart:
    """Return events a second over time, stacked by event, and errors a second below."""
    unit_ns, unit = time_unit(times.width_ns * times.bins)
    starts = [round(place * times.width_ns / unit_ns, 9) for place in range(times.bins)]
    width = round(times.width_ns / unit_ns, 9)
    stacked = [*times.events.items(), *([(f"{times.others} others", times.other)] if times.others else [])]
    colours = [*COLOURS[: len(times.events)], REST]
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "name": label(name),
            "x": starts,
            "y": _rates(counts, times),
            "customdata": [*counts],
            "width": width,
            "offset": 0,
            "marker": {"color": colour, "line": {"width": 0}},
            "hovertemplate": "%{y:,.0f}/s (%{customdata:,})",
        }
        for (name, counts), colour in zip(stacked, colours, strict=False)
    ]
    failed = {"name": "errors", "y": _rates(times.errors, times), "yaxis": "y2", "customdata": [*times.errors]}
    data.append({**data[0], **failed, "marker": {"color": ERRORS}})
    layout = {
        "barmode": "stack",
        "bargap": 0,
        "hovermode": "x unified",
        "margin": _MARGIN,
        "xaxis": {**_time_axis(times, unit_ns, unit), "anchor": "y2"},
        "yaxis": {"title": {"text": "events/s"}, "domain": [0.32, 1], **_RATE_AXIS},
        "yaxis2": {"title": {"text": "errors/s"}, "domain": [0, 0.22], "nticks": 4, **_RATE_AXIS},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    }
    total = sum(map(sum, times.events.values())) + sum(times.other)
    summary = f"Events a second over time: {show_count(total)} events, in bins of {show_time(times.width_ns)}"
    return Chart("timeline", summary, data, layout, 420)


def heat_map(times: Times) -> Chart | None:
    """Return how many calls took how long, over time and powers of two; of all events, and of each by itself."""
    every = times.durations.get(None, {})
    if not every:
        return None
    low, high = min(power for _, power in every), max(power for _, power in every)
    unit_ns, unit = time_unit(times.width_ns * times.bins)
    width = times.width_ns / unit_ns
    shown = [(name, cells) for name, cells in times.durations.items() if cells]
    most = max(every.values())
    ticks = [10**power for power in range(len(str(most)))]
    data = []
    for place, (_, cells) in enumerate(shown):
        rows = [[cells.get((bin, power), 0) for bin in range(times.bins)] for power in range(low, high + 1)]
        data.append(
            {
                "type": "heatmap",
                "x0": round(width / 2, 9),
                "dx": round(width, 9),
                "z": rows,
                "zmin": 0,
                "y": [_edge_s(power) for power in range(low, high + 2)],
                "visible": place == 0,
                "zmax": max(len(str(most)) - 1, 1),
                "colorbar": {
                    "tickvals": [*range(len(ticks))],
                    "ticktext": [show_count(tick) for tick in ticks],
                    "title": {"text": "calls"},
                    "thickness": 12,
                    "outlinewidth": 0,
                },
                "hovertemplate": f"%{{customdata:,}} calls of about %{{y:.2s}}s<br>at %{{x}} {unit}<extra></extra>",
            }
        )
    layout = {
        "margin": {**_MARGIN, "r": 0},
        "xaxis": _time_axis(times, unit_ns, unit),
        "yaxis": {
            "type": "log",
            "title": {"text": "duration"},
            "tickvals": [power / 1e9 for power in _TICKS_NS],
            "ticktext": [show_time(power) for power in _TICKS_NS],
            "automargin": True,
            "showgrid": False,
        },
    }
    picks = tuple("all events" if name is None else name for name, _ in shown)
    summary = f"Calls by duration and time: {show_count(sum(every.values()))} calls"
    return Chart("latency", summary, data, layout, 400, picks, "Durations of")


def bars(name: str, what: str, labels: Sequence[str], values: Sequence[int], *, is_time: bool = False) -> Chart:
    """Return one bar a label, from the top on; ``what`` is what they measure, in nanoseconds if it is a time."""
    unit = {"ticksuffix": "s", "exponentformat": "SI"} if is_time else {}
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "y": [*range(len(values))],
            "x": [value / 1e9 for value in values] if is_time else [*values],
            "marker": {"color": COLOURS[0]},
            "customdata": [label(each) for each in labels],
            "hovertemplate": f"%{{customdata}}: %{{x:{'.4s}s' if is_time else ',}'}<extra></extra>",
        }
    ]
    layout = {
        "margin": {**_MARGIN, "l": 8},
        "bargap": 0.25,
        "hovermode": "closest",
        "xaxis": {"title": {"text": what}, "rangemode": "tozero", "tickformat": "~s", **unit},
        "yaxis": {
            "autorange": "reversed",
            "automargin": True,
            "tickmode": "array",
            "tickvals": [*range(len(values))],
            "ticktext": [label(each if len(each) <= 32 else f"{each[:31]}…") for each in labels],
            "showgrid": False,
        },
    }
    return Chart(name, f"{what} of {len(labels)} groups", data, layout, 90 + 24 * len(values))


def flame(name: str, ids: Sequence[str], names: Sequence[str], parents: Sequence[str], values: Sequence[int]) -> Chart:
    """Return a flame graph, the root at the bottom: of each node its id, name, parent's id ("" of the root), and how
    many samples it and all above it have."""
    depth = _depth(ids, parents, values)
    colours = [REST if not parent else _flame_colour(each) for each, parent in zip(names, parents, strict=True)]
    data = [
        {
            "type": "icicle",
            "ids": [*ids],
            "labels": [label(each) for each in names],
            "parents": [*parents],
            "values": [*values],
            "branchvalues": "total",
            "sort": False,
            "textinfo": "label",
            "tiling": {"orientation": "v", "flip": "y", "pad": 1},
            "pathbar": {"visible": True},
            "maxdepth": depth,
            "marker": {"colors": colours, "line": {"width": 0}},
            "textfont": {"color": "#20160a"},
            "hovertemplate": "%{label}<br>%{value:,} (%{percentRoot:.1%})<extra></extra>",
        }
    ]
    total = values[0] if values else 0
    return Chart(
        name,
        f"Stacks: {show_count(total)} samples",
        data,
        {"margin": {"l": 4, "r": 4, "t": 26, "b": 4}},
        60 + 20 * depth,
    )


def _depth(ids: Sequence[str], parents: Sequence[str], values: Sequence[int]) -> int:
    """Return how many levels there are that someone sees, of a tree whose parents come before their children."""
    levels = {"": 0}
    seen = 1
    for each, parent, value in zip(ids, parents, values, strict=True):
        levels[each] = levels.get(parent, 0) + 1
        if value * THIN >= values[0]:
            seen = max(seen, levels[each])
    return min(seen, DEPTH_MAX)


def _flame_colour(name: str) -> str:
    return _FLAMES[zlib.crc32(name.encode(errors="replace")) % len(_FLAMES)]


def _rates(counts: Sequence[int], times: Times) -> list[float]:
    return [round(count * 1e9 / times.width_ns, 3) for count in counts]


def _edge_s(power: int) -> float:
    """Return where the durations of a power of two begin, in seconds; what took no time lies below 1 ns."""
    return 2.0 ** (power - 1) / 1e9


def _time_axis(times: Times, unit_ns: int, unit: str) -> dict[str, Any]:
    return {
        "range": [0, round(times.bins * times.width_ns / unit_ns, 9)],
        "title": {"text": f"{unit} since {show_utc(times.start_ns)}"},
        "showgrid": False,
    }
