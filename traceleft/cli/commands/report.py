"""The command ``report``: answers out of stored events, as rows or as a page."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from traceleft.cli.recorded import known_events
from traceleft.errors import RecordingError, UnsupportedError

if TYPE_CHECKING:
    from traceleft.aggregator.stored.parquet import Data

# Engine -> the extra that installs it.
ENGINES = {"duckdb": "report", "spark": "fleet"}
PARQUET_MAGIC = b"PAR1"
DAY = click.DateTime(["%Y-%m-%d"])


@click.command("report")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write recordings, or the rows of a rollup, to FILE as a self-contained page.",
)
@click.option("--rollup", "rollup", metavar="R", help="A file of rollups, or the name of a built-in one.")
@click.option("--name", metavar="N", help="Name of the rollup to run, if the file holds several.")
@click.option(
    "--data",
    metavar="PATH",
    help="A directory of Parquet, a recording, or an address that Spark reads (s3a://...).",
)
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    default="duckdb",
    show_default=True,
    help="Engine that runs the rollup.",
)
@click.option(
    "--master",
    metavar="URL",
    help="Address of the Spark master; by default that of Spark's own settings, or this machine.",
)
@click.option("--since", type=DAY, metavar="DAY", help="First day to include (UTC, YYYY-MM-DD).")
@click.option("--until", type=DAY, metavar="DAY", help="Last day to include (UTC, YYYY-MM-DD).")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
@click.option("-o", "output", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE instead of stdout.")
@click.argument("recordings", nargs=-1, type=click.Path(path_type=Path), metavar="[RECORDING]...")
def report_command(page: Path | None, recordings: tuple[Path, ...], **values: Any) -> None:
    """Show what recordings hold as a page, or run a rollup over stored events, on this machine or on a fleet's Spark.

    \b
    traceleft report --html make.html make.rec
    traceleft report --rollup syscalls --data make.rec
    traceleft report --rollup slow.toml --data /srv/events --engine spark --since 2026-11-22
    """
    if recordings:
        from traceleft.cli.pages import write_recordings_page

        write_recordings_page(refuse_rollup_options(page), recordings)
    elif values["rollup"] and values["data"]:
        report_rollup(**values, page=page)
    else:
        raise click.UsageError("name RECORDINGs for --html, or --rollup and --data", click.get_current_context())


def refuse_rollup_options(page: Path | None) -> Path:
    """Refuse what a page of recordings cannot take, and return where it is to be."""
    context = click.get_current_context()
    if page is None:
        raise click.UsageError("RECORDINGs are shown as a page: --html FILE", context)
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is click.core.ParameterSource.COMMANDLINE and option.name not in ("page", "recordings"):
            raise click.UsageError(f"{option.opts[0]} applies to --rollup only, not to RECORDINGs", context)
    return page


def report_rollup(
    *,
    rollup: str,
    name: str | None,
    data: str,
    engine: str,
    master: str | None,
    since: datetime | None,
    until: datetime | None,
    form: str,
    output: Path | None,
    page: Path | None,
) -> None:
    """Run a rollup, and print its rows, or write them as a page."""
    if master and engine != "spark":
        raise click.UsageError("--master needs --engine spark", click.get_current_context())
    from traceleft.cli.output import open_output
    from traceleft.cli.pages import write_result_page
    from traceleft.cli.rolling import find_rollup
    from traceleft.cli.rows import RowPrinter

    chosen = find_rollup(f"{rollup}:{name}" if name else rollup)
    try:
        from traceleft.aggregator.stored.engines import open_engine
        from traceleft.aggregator.stored.parquet import Days
        from traceleft.aggregator.stored.query import run_rollup

        days = Days(as_day(since), as_day(until))
        with open_stored(data) as stored:
            with open_engine(engine, within(stored, days), master=master) as opened:
                result = run_rollup(chosen, opened, catalogue=known_events(), days=days)
            if page is not None:
                write_result_page(page, result)
            else:
                with open_output(output) as file:
                    RowPrinter(form, file)(result)
    except ModuleNotFoundError as error:
        remedy = f"pip install 'traceleft[{ENGINES[engine]}]' (package {error.name} is missing)"
        raise UnsupportedError(f"the engine {engine}", remedy) from error


def as_day(moment: datetime | None) -> date | None:
    """Return the day of an option."""
    return moment.date() if moment else None


@contextmanager
def open_stored(text: str) -> Iterator["Data | str"]:
    """Find stored events: a directory of Parquet, an address (left to Spark), or a recording, which becomes Parquet.

    What lies before damage in a recording is there; the error comes when all is done.
    """
    from traceleft.aggregator.stored.parquet import open_data

    path = Path(text)
    if "://" in text:
        yield text
    elif path.is_file() and not is_parquet(path):
        with TemporaryDirectory(prefix="traceleft-") as directory:
            damage = store_recording(path, Path(directory))
            yield open_data(Path(directory))
            if damage:
                raise damage
    else:
        yield open_data(path)


def store_recording(path: Path, directory: Path) -> RecordingError | None:
    """Write a recording's events as Parquet, and return its damage; raise it where no event lies before it."""
    from traceleft.aggregator.stored.export import export_parquet
    from traceleft.tracer.recording import Recording

    with Recording.open(path) as recording:
        try:
            export_parquet(recording, directory)
        except RecordingError as damage:
            if not damage.events_read:
                raise
            return damage
    return None


def is_parquet(path: Path) -> bool:
    """Tell whether a file begins as Parquet does, or is named so."""
    with path.open("rb") as file:
        return file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC or path.suffix == ".parquet"


def within(stored: "Data | str", days: Any) -> "Data | str":
    """Leave out the files of other days."""
    return stored if isinstance(stored, str) else stored.within(days)
