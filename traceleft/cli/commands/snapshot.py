"""The command ``snapshot``: a kernel's event formats as one file."""

from pathlib import Path

import click

from traceleft.terminal import tell


@click.command("snapshot")
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, metavar="FILE", help="File to write.")
def snapshot_command(output: Path) -> None:
    """Save the kernel's event formats as one portable file, for generate --formats."""
    from traceleft.generator.format_source import read_source, write_snapshot

    source = read_source(None)
    write_snapshot(source, output)
    tell(f"{output}: {len(source.formats)} formats of {source.release}")
