"""Draw docs/reference/top.svg: what ``top`` shows at 80 columns while a small C project is built here, as root."""

import sys
import tempfile
import time
from io import StringIO
from pathlib import Path

from rich.console import Console

from traceleft import Battery, CountOptions, DetailOptions, Tracer
from traceleft.aggregator.rollups.words import LIVE_FIGURES, make_stat_rollup
from traceleft.aggregator.streaming.kernel import groups_of, plan_in_kernel
from traceleft.aggregator.streaming.live import Live, LiveView
from traceleft.cli.top_view import Screen

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 80, 18
SECONDS = 6.0
KEYS = ("comm", "event")
MAKE = "while [ -e Makefile ]; do make -s -j2; rm -f *.o program; done 2>/dev/null"


def watch(battery: Path, directory: Path) -> LiveView:
    """Return what ``top`` would show after some seconds of builds in a directory; rates cover the last second."""
    rollup = make_stat_rollup(by=KEYS, defaults=LIVE_FIGURES)
    command = ["sh", "-c", f"cd {directory} && {MAKE}"]
    plan = plan_in_kernel(rollup)
    tracer = Tracer(
        Battery.open(battery),
        command=command,
        follow=True,
        details=DetailOptions(durations=True),
        counts=CountOptions(rollup=plan),
    )
    live = Live(rollup, begin_s=time.monotonic())
    views = [LiveView()]

    def look() -> None:
        if time.monotonic() >= due[0]:
            due[0] += 1.0
            views.append(live.update(groups_of(rollup, tracer.rolled_up), time.monotonic()))

    due = [time.monotonic() + 1.0]
    tracer.on_tick(look)
    with tracer:
        tracer.run(duration_s=SECONDS)
    return views[-1]


def main() -> None:
    """Draw it."""
    battery = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "battery"
    sys.path.insert(0, str(ROOT))
    from tests.support.c_project import write_project

    with tempfile.TemporaryDirectory() as directory:
        view = watch(battery, write_project(Path(directory) / "project"))
    console = Console(
        width=WIDTH, height=HEIGHT, record=True, file=StringIO(), force_terminal=True, color_system="standard"
    )
    console.print(Screen(view, "rate", list(KEYS)).render(WIDTH, HEIGHT))
    svg = console.export_svg(title="traceleft top -f --by comm --by event -- make -j2", unique_id="top")
    (ROOT / "docs" / "reference" / "top.svg").write_text(svg)


if __name__ == "__main__":
    main()
