"""The ``traceleft`` command: the group, and the one place where errors end."""

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import StringIO

import click
from click.exceptions import NoArgsIsHelpError
from click.shell_completion import shell_complete

from traceleft.cli.signals import unwinding_on_signals
from traceleft.errors import TraceleftError
from traceleft.terminal import notice
from traceleft.version import __version__

INTERRUPTED = 130
COMPLETION = "_TRACELEFT_COMPLETE"
# Command name -> module that defines it, in the order in which help shows them.
COMMANDS = {
    "doctor": "traceleft.cli.commands.doctor",
    "snapshot": "traceleft.cli.commands.snapshot",
    "list": "traceleft.cli.commands.list",
    "generate": "traceleft.cli.commands.generate",
    "build": "traceleft.cli.commands.build",
    "trace": "traceleft.cli.commands.trace",
    "stat": "traceleft.cli.commands.stat",
    "top": "traceleft.cli.commands.top",
    "record": "traceleft.cli.commands.record",
    "replay": "traceleft.cli.commands.replay",
    "export": "traceleft.cli.commands.export",
    "report": "traceleft.cli.commands.report",
    "battery": "traceleft.cli.commands.battery",
}

# Third party -> the extra that installs it; all others come with [build].
EXTRAS = {
    "pyarrow": "arrow",
    **dict.fromkeys(("duckdb", "ibis", "plotly"), "report"),
    **dict.fromkeys(("prometheus_client", "opentelemetry"), "metrics"),
    "pyspark": "fleet",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name]), f"{cmd_name}_command")
        return command if isinstance(command, click.Command) else None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Trace any syscall with prebuilt eBPF programs.

    \b
    traceleft trace -- cat /etc/hostname     trace a command
    traceleft trace -f -e %network -p 4321   trace a process and its children
    traceleft doctor                         what this kernel offers, what is missing
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; every error ends here as one line on stderr.

    Without arguments it takes those of the process, which is its own then: a trace gives up privileges in it.
    """
    guard_streams()
    warnings.showwarning = tell_warning
    try:
        with unwinding_on_signals():
            chosen = sys.argv[1:] if arguments is None else list(arguments)
            status = invoke(chosen, owns_process=arguments is None)
            flush_output()
    except NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        return fail(usage_line(error), error.exit_code)
    except click.ClickException as error:
        return fail(error.format_message(), error.exit_code)
    except TraceleftError as error:
        return fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        silence_output()
        return 0
    except ModuleNotFoundError as error:
        return fail(missing_line(error))
    except OSError as error:
        silence_output()
        return fail(system_line(error))
    except MemoryError:
        return fail("out of memory; choose fewer events, or allow more memory (ulimit -v)")
    except Exception as error:
        if os.environ.get("TRACELEFT_DEBUG"):
            raise
        return fail(f"internal: {type(error).__name__}: {error} (TRACELEFT_DEBUG=1 shows where)")
    return status


def invoke(arguments: list[str], *, owns_process: bool) -> int:
    """Run a command, or answer the shell's request for completion, and return the status.

    click's own main ends the process by itself when stdout is closed; here that is an error like others.
    """
    if instruction := os.environ.get(COMPLETION):
        return shell_complete(cli, {}, "traceleft", COMPLETION, instruction)
    try:
        with cli.make_context("traceleft", arguments, obj=owns_process) as context:
            status = cli.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    return status if isinstance(status, int) else 0


def guard_streams() -> None:
    """Fill the places of closed standard streams, so that no file that we open becomes one.

    What fills them fails as a closed one does, and a traced command does not inherit it.
    """
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stderr is None:
        # print() would take stdout instead.
        sys.stderr = StringIO()


def tell_warning(message: Warning | str, *where: object, **more: object) -> None:
    """Print a warning of a library as our other lines are, without the place in its code."""
    with suppress(OSError):
        notice(f"warning: {message}")


def usage_line(error: click.UsageError) -> str:
    """Return a usage error as one line that says where help is."""
    path = error.ctx.command_path if error.ctx else "traceleft"
    words = path.split(" ", 1)[1:]
    message = error.format_message().rstrip(".")
    return f"{': '.join([*words, message])} (see: {path} --help)"


def missing_line(error: ModuleNotFoundError) -> str:
    """Return which package is missing, and the extra that installs it."""
    package = (error.name or "").split(".")[0]
    extra = EXTRAS.get(package, "build")
    return f"the Python package {package} is missing; install it with: pip install 'traceleft[{extra}]'"


def system_line(error: OSError) -> str:
    """Return what the system refused as ``file: reason``."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def fail(message: str, status: int = 1) -> int:
    """Print one line on stderr and return the status."""
    with suppress(OSError):
        notice(message)
    return status


def flush_output() -> None:
    """Flush stdout now, so that a closed pipe or a full disk is met here and not at exit."""
    if sys.stdout is not None:
        sys.stdout.flush()


def silence_output() -> None:
    """Give up what stdout still holds if it cannot be written, so that the interpreter's last flush is quiet."""
    try:
        flush_output()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
