"""The command ``export``: recordings as files that other tools read."""

from pathlib import Path

import click

from traceleft.cli.option_types import expression_option

FORMS = ["arrow", "parquet", "csv", "ndjson"]


@click.command("export")
@click.option(
    "-o",
    "output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    required=True,
    help="File to write; for parquet, a directory.",
)
@click.option("--format", "form", type=click.Choice(FORMS), default="parquet", show_default=True, help="Output format.")
@expression_option
@click.argument("recordings", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RECORDING...")
def export_command(recordings: tuple[Path, ...], output: Path, form: str, expressions: tuple[str, ...]) -> None:
    """Write the events of recordings as columns, the same in each form; docs/reference/columns.md lists them.

    \b
    traceleft export make.rec -o events --format parquet
    traceleft export -e %file make.rec -o make.csv --format csv

    Parquet files are written into a directory, as host=.../day=YYYY-MM-DD/*.parquet. Files of other recordings stay;
    exporting a recording again replaces its own files.
    """
    from traceleft.aggregator.stored.export import export
    from traceleft.terminal import notice

    written = export(recordings, output, form, expressions=expressions)
    notice(f"{written:,} events written to {output}")
