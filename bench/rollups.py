"""What a rollup costs: the same one in the kernel and over columns, next to ``-c`` and ``perf trace -s``."""

from typing import Any, Final

from bench import tools
from bench.costs import BURSTS, MIXED, READ_WRITE, measure_case
from bench.session import Loop, alternate
from bench.tools import Place, Tool

CHOSEN: Final[tuple[Tool, ...]] = (
    tools.OURS_COUNT,
    tools.ROLLUP_KERNEL,
    tools.ROLLUP_KERNEL_P99,
    tools.ROLLUP_COLUMNS,
    tools.ROLLUP_COLUMNS_P99,
    tools.PERF_SUMMARY,
)
CASES: Final[dict[str, Loop]] = {"read and write": READ_WRITE, "all syscalls of eight mixed calls": MIXED}


def measure_rollups(place: Place, rounds: int) -> dict[str, Any]:
    """Return, by case and tool, what a call costs more than untraced (ns), and what the tool counted and used."""
    program = [str(place.programs / "calls")]
    return {
        title: measure_case(place, program, loop, alternate(rounds, CHOSEN), bursts=BURSTS)
        for title, loop in CASES.items()
    }
