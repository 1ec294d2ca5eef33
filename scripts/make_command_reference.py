"""Make docs/reference/command-line.md from the command line's own definitions.

usage: python scripts/make_command_reference.py [FILE]
"""

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Final

import click

from traceleft.cli.main import cli

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "reference" / "command-line.md"
HEAD: Final = """\
# Command line

Written by `scripts/make_command_reference.py` from the commands' own definitions; do not edit.

`traceleft COMMAND --help` shows the same in a terminal, and `traceleft.1` is the manual page.
What an expression of `-e` may be is in [Choose events](../guides/choose-events.md), what an exit
status means in [Exit status](exit-status.md).
"""
ENVIRONMENT: Final = """\
## Environment

| variable | meaning |
|---|---|
| `TRACELEFT_BATTERY` | the battery to use when `--battery` is not given |
| `XDG_CACHE_HOME` | where a battery made on the fly is kept, in `traceleft/`; `~/.cache` when unset |
| `TRACELEFT_PASSPHRASE` | the passphrase of the key of `battery sign`, asked for on the terminal when unset |
| `TRACELEFT_CLANG` | the clang to build with |
| `TRACELEFT_DEBUG` | show the traceback of an internal error |
| `NO_COLOR` | print no colours |
"""


def commands(group: click.Group, within: str) -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its whole name, those of groups among them."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{within} {name}")
        elif command is not None:
            yield f"{within} {name}", command


def literal(text: str) -> str:
    """Return help text with what Markdown would take for markup made literal."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|" else letter for letter in text)


def paragraphs(help_text: str) -> Iterator[str]:
    """Yield the paragraphs of help; what click keeps unwrapped is code."""
    for block in cleandoc(help_text).split("\n\n"):
        if block.startswith("\b"):
            yield f"```\n{block.removeprefix(chr(8)).strip(chr(10))}\n```"
        else:
            yield literal(block)


def section(name: str, command: click.Command) -> str:
    """Return the section of one command."""
    context = click.Context(command, info_name=name)
    usage = " ".join((name, *command.collect_usage_pieces(context)))
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    options = [f"- `{flags}`: {literal(text)}" if text else f"- `{flags}`" for flags, text in records]
    parts = [f"## {name}", f"```\n{usage}\n```", *paragraphs(command.help or ""), "\n".join(options)]
    return "\n\n".join(part for part in parts if part)


def page() -> str:
    """Return the whole page; the same on every machine."""
    sections = [section(name, command) for name, command in commands(cli, "traceleft")]
    return "\n\n".join([HEAD.rstrip(), *sections, ENVIRONMENT])


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.write_text(page())
