"""The command ``generate``: handlers, decoders and a schema from event formats."""

from pathlib import Path

import click

from traceleft.cli.option_types import expression_option
from traceleft.terminal import tell


@click.command("generate")
@click.option(
    "--formats",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Directory laid out as tracefs events/, or a snapshot; default: the running kernel.",
)
@expression_option
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML file that chooses events and arguments."
)
@click.option("-o", "output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Directory to write.")
def generate_command(formats: Path | None, expressions: tuple[str, ...], config: Path | None, output: Path) -> None:
    """Render handlers, decoders and a schema from the kernel's event formats.

    Without -e it renders every syscall of the input, and no other tracepoint.
    """
    from traceleft.generator import generate

    generated = generate(formats, expressions=expressions, config=config, output=output)
    for notice in generated.notices:
        tell(f"notice: {notice}")
    tell(f"{output}: {len(generated.events)} events of {generated.release}")
