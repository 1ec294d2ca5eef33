"""What issue 4 asks for, held against what was measured."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bench import storm, tools
from bench.table import Target, look_up, ratio

Figures = Mapping[str, Any]

READ_WRITE: Final = "read and write"
OPEN_CLOSE: Final = "openat and close"
OPEN: Final = "openat alone"
ALL: Final = "all syscalls of read and write"
MIXED: Final = "all syscalls of eight mixed calls"


def find_targets(parts: Mapping[str, Figures]) -> list[Target]:
    """Return every target, with the figure where it was measured."""
    figures = {name: part["figures"] for name, part in parts.items()}
    return [
        *cost_targets(figures.get("cost", {})),
        *bystander_targets(figures.get("bystander", {})),
        *storm_targets(figures.get("storm", {})),
        *decoding_targets(figures.get("decode", {})),
        *start_targets(figures.get("start", {})),
        *build_targets(figures.get("build", {})),
    ]


def cost_targets(figures: Figures) -> Iterator[Target]:
    """What a call costs its caller, against the floor and the peers."""

    def added(case: str, tool: tools.Tool) -> float | None:
        found: float | None = look_up(figures, case, "tools", tool.name, "added_ns")
        return found

    def against(case: str, ours: tools.Tool, other: tools.Tool) -> float | None:
        return ratio(added(case, ours), added(case, other))

    yield Target("read and write, to the floor", against(READ_WRITE, tools.OURS, tools.FLOOR), 1.25)
    yield Target("openat and close, to the floor", against(OPEN_CLOSE, tools.OURS, tools.FLOOR), 1.25)
    yield Target("all syscalls of the dd loop, to the floor", against(ALL, tools.OURS, tools.FLOOR), 1.5)
    yield Target("all syscalls of mixed calls, to the floor", against(MIXED, tools.OURS, tools.FLOOR), 1.5)
    for case, most in ((READ_WRITE, 1.25), (OPEN_CLOSE, 1.25), (ALL, 1.5)):
        yield Target(f"{case}, to the floor that reads memory", against(case, tools.OURS, tools.FLOOR_PATH), most)
    for case in (READ_WRITE, OPEN_CLOSE):
        yield Target(f"{case}, JSON, to strace", against(case, tools.OURS_JSON, tools.STRACE), 1 / 50)
        yield Target(f"{case}, JSON, to bpftrace", against(case, tools.OURS_JSON, tools.BPFTRACE), 1 / 5)
        yield Target(f"{case}, JSON, to perf trace", against(case, tools.OURS_JSON, tools.PERF_TRACE), 1.0)
    yield Target("openat, JSON, to opensnoop", against(OPEN, tools.OURS_JSON, tools.OPENSNOOP), 1 / 5)
    for case in (READ_WRITE, OPEN_CLOSE, ALL):
        yield Target(f"-c of {case}, to bpftrace's count()", against(case, tools.OURS_COUNT, tools.BPFTRACE_COUNT), 1.3)


def bystander_targets(figures: Figures) -> Iterator[Target]:
    """What it costs processes that are not traced."""
    floor = look_up(figures, "tools", tools.FLOOR.name, "added_ns")
    ours = look_up(figures, "tools", tools.OURS.name, "added_ns")
    yield Target("bystander, to the floor", ratio(ours, floor), 1.0)


def storm_targets(figures: Figures) -> Iterator[Target]:
    """What is lost in a storm, and what memory it takes."""

    def one(tool: tools.Tool, made: int, busy: int, key: str) -> float | None:
        for found in figures.get("storms", ()):
            if (found["tool"], found["made"], found["busy"]) == (tool.name, made, busy):
                value: float | None = found.get(key)
                return value
        return None

    for busy, where in ((0, "idle"), (storm.BUSY_LOOPS, "beside busy loops")):
        yield Target(f"storm, batches, {where}: lost", one(tools.OURS, storm.OPENS, busy, "lost"), 0, "events")
    yield Target("burst of 600,000, JSON: lost", one(tools.OURS_JSON, 2 * storm.BURST, 0, "lost"), 0, "events")
    for busy, where in ((0, "idle"), (storm.BUSY_LOOPS, "beside busy loops")):
        unaccounted = one(tools.OURS_JSON, storm.OPENS, busy, "unaccounted")
        yield Target(f"storm, JSON, {where}: unaccounted", unaccounted, 0, "events")
    peak = one(tools.OURS_JSON, storm.OPENS, 0, "peak_bytes")
    yield Target("storm, JSON: peak RssAnon", None if peak is None else peak / 1e6, 100, "MB")
    ring = one(tools.OURS, storm.OPENS, 0, "ring_bytes")
    yield Target("ring memory, counted once", None if ring is None else ring / (1 << 20), 32, "MiB")


def decoding_targets(figures: Figures) -> Iterator[Target]:
    """What one core reads."""
    limits = {"numpy columns": 5.0, "callback for each event, lazy": 1.0, "JSON lines": 0.3}
    for way, limit in limits.items():
        found = look_up(figures, "per_second", way)
        yield Target(f"decode, {way}", None if found is None else found / 1e6, limit, "M/s", is_least=True)


def start_targets(figures: Figures) -> Iterator[Target]:
    """What a start takes."""

    def best(name: str) -> float | None:
        found: float | None = look_up(figures, name, "best_ms")
        return found

    ours, bpftrace = best("traceleft trace -e openat -- true"), best("bpftrace -e … -c /bin/true")
    yield Target("trace -e openat -- true, to bpftrace", ratio(ours, bpftrace), 0.5)
    bare, imported = best("python -c pass"), best("import traceleft")
    yield Target("import traceleft, to python -c pass", ratio(imported, bare), 1.5)


def build_targets(figures: Figures) -> Iterator[Target]:
    """What generate and build take together."""
    for name, limit in {"cold": 30, "unchanged": 1}.items():
        yield Target(f"generate and build, {name}", look_up(figures, name, "seconds"), limit, "s")
    compiled = look_up(figures, "one format changed", "said")
    count = int(compiled.split()[0]) if compiled else None
    yield Target("objects compiled when one format changed", count, 1, "objects")
