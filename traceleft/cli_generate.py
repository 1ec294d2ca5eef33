"""The commands that need no battery: ``snapshot``, ``list`` and ``generate``."""

from pathlib import Path

import click

from traceleft.cli_types import expression_option

OUTPUT_DIRECTORY = click.Path(file_okay=False, path_type=Path)
OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("snapshot")
@click.option("-o", "output", type=OUTPUT_FILE, required=True, metavar="FILE", help="File to write.")
def snapshot_command(output: Path) -> None:
    """Save the kernel's event formats as one portable file, for generate --formats."""
    from traceleft.generator.source import read_source, write_snapshot

    source = read_source(None)
    write_snapshot(source, output)
    click.echo(f"{output}: {len(source.formats)} formats of {source.release}", err=True)


@click.command("generate")
@click.option(
    "--formats",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Directory laid out as tracefs events/, or a snapshot; default: the running kernel.",
)
@expression_option
@click.option("--config", type=OUTPUT_FILE, metavar="FILE", help="TOML file that chooses events and arguments.")
@click.option("-o", "output", type=OUTPUT_DIRECTORY, required=True, metavar="DIR", help="Directory to write.")
def generate_command(formats: Path | None, expressions: tuple[str, ...], config: Path | None, output: Path) -> None:
    """Render handlers, decoders and a schema from the kernel's event formats.

    Without -e: every syscall of the input, and no other tracepoint.
    """
    from traceleft.generator import generate

    generated = generate(formats, expressions=expressions, config=config, output=output)
    for notice in generated.notices:
        click.echo(f"notice: {notice}", err=True)
    click.echo(f"{output}: {len(generated.events)} events of {generated.release}", err=True)
