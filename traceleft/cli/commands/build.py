"""The command ``build``, and the progress bar of a build."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from traceleft.terminal import printable, tell

DEFAULT_BATTERY = Path("build/battery")
Report = Callable[[int, int], None]


@click.command("build")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "battery",
    type=click.Path(path_type=Path),
    metavar="BATTERY",
    default=DEFAULT_BATTERY,
    show_default=True,
    help="Battery to create, or to add to.",
)
@click.option("--level", "levels", multiple=True, metavar="L", help="Level to build for; repeatable; default: all.")
@click.option(
    "-j", "jobs", type=click.IntRange(1, 1024), metavar="N", help="Compilers to run at once; default: one per CPU."
)
@click.option(
    "--foreign-sources", is_flag=True, help="Compile the sources in DIR even if they differ from what generate renders."
)
def build_command(
    directory: Path, battery: Path, levels: tuple[str, ...], jobs: int | None, foreign_sources: bool
) -> None:
    """Compile what generate wrote into a battery.

    Adds to BATTERY if it exists; a build that fails leaves it as it was. Compiles
    the sources that generate renders from the schema in DIR, and refuses others.
    """
    from traceleft.battery.builder.build import build

    with progress_bar(f"building {battery}") as progress:
        result = build(
            directory,
            battery,
            levels=levels or None,
            jobs=jobs,
            progress=progress,
            foreign_sources=foreign_sources,
        )
    tell(f"{battery}: {result.compiled} objects compiled, {result.reused} reused")


@contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """Show a progress bar on stderr if that is a terminal; yield what takes (done, total)."""
    if not sys.stderr.isatty():
        yield ignore_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(title), total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report


def ignore_progress(done: int, total: int) -> None:
    """Show nothing."""
