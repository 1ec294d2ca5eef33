"""Make docs/traceleft.1 from the command line's own definitions.

usage: python scripts/make_man.py [FILE]
"""

import sys
from inspect import cleandoc
from pathlib import Path

import click

from traceleft.cli.main import cli
from traceleft.version import __version__

MAN = Path(__file__).resolve().parent.parent / "docs" / "traceleft.1"

EXPRESSIONS = """\
.SH EXPRESSIONS
.B \\-e
takes event names in a comma list, classes
.RB ( %file
.B %process %network %desc %memory %signal %ipc %creds
.BR %clock ),
and regular expressions between slashes
.RB ( /^open/ ).
A leading
.B !
negates. A name is the kernel's or strace's
.RB ( newuname ,
.BR uname );
a tracepoint is
.IR category : name .
Repeated expressions add up, negated ones take away. Without
.B \\-e
every syscall is traced.
"""

EXITS = """\
.SH EXIT STATUS
.TP
.I status
that of the traced command; 128 plus the number of the signal that killed it
.TP
.B 0
success
.TP
.B 1
the request could not be met; one line on stderr says why and what to do
.TP
.B 2
wrong usage, or an event expression that names nothing
.TP
.B 3
events were lost and
.B \\-\\-fail\\-on\\-loss
was given
.TP
.B 130
interrupted; what was in the buffer has been written
.SH ENVIRONMENT
.TP
.B TRACELEFT_BATTERY
the battery to use when
.B \\-\\-battery
is not given
.TP
.B XDG_CACHE_HOME
where a battery made on the fly is kept (in
.IR traceleft/ ;
.I ~/.cache
when unset)
.TP
.B TRACELEFT_PASSPHRASE
the passphrase of the key of
.BR "battery sign" ,
which is asked for on the terminal when unset
.TP
.B TRACELEFT_DEBUG
show the traceback of an internal error
.TP
.B NO_COLOR
colour nothing
.SH COMPLETION
For bash, add this to
.IR ~/.bashrc
(zsh and fish: the same with zsh_source, fish_source):
.PP
.nf
eval "$(_TRACELEFT_COMPLETE=bash_source traceleft)"
.fi
.SH SEE ALSO
.BR strace (1)
"""


def escape(text: str) -> str:
    """Return text with what roff would interpret made literal."""
    literal = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in literal.splitlines())


def usage(command: click.Command, name: str) -> str:
    """Return a command's synopsis line."""
    context = click.Context(command, info_name=name)
    return " ".join(command.collect_usage_pieces(context))


def paragraphs(help_text: str) -> str:
    """Return help text as roff paragraphs; what click keeps unwrapped stays unfilled."""
    blocks = [block.strip("\n") for block in cleandoc(help_text).split("\n\n")]
    return "\n.PP\n".join(
        f".nf\n{escape(block.removeprefix(chr(8)).strip(chr(10)))}\n.fi" if block.startswith("\b") else escape(block)
        for block in blocks
    )


def options(command: click.Command, name: str) -> str:
    """Return a command's options, one tagged paragraph each."""
    context = click.Context(command, info_name=name)
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    return "\n".join(f".TP\n.B {escape(flags)}\n{escape(text)}" for flags, text in records)


def section(group: click.Group, name: str, *, within: str = "traceleft") -> str:
    """Return the section of one command, or those of a group's commands."""
    command = group.get_command(click.Context(group), name)
    if command is None:
        raise LookupError(name)
    if isinstance(command, click.Group):
        path = f"{within} {name}"
        return "\n".join(section(command, each, within=path) for each in command.list_commands(click.Context(command)))
    head = f".SS {within} {escape(name)} {escape(usage(command, name))}"
    return "\n".join(part for part in (head, paragraphs(command.help or ""), options(command, name)) if part)


def man_page() -> str:
    """Return the whole page; the same on every machine."""
    names = cli.list_commands(click.Context(cli))
    head = [
        f'.TH TRACELEFT 1 "" "traceleft {__version__}" "User Commands"',
        ".SH NAME",
        "traceleft \\- trace any syscall with eBPF programs that were built before",
        ".SH SYNOPSIS",
        ".B traceleft",
        ".I command",
        "[options]",
        ".SH DESCRIPTION",
        paragraphs(cli.help or ""),
        ".SH COMMANDS",
    ]
    return "\n".join([*head, *(section(cli, name) for name in names), EXPRESSIONS + EXITS])


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else MAN
    target.write_text(man_page())
