"""What a tracer tells of its plan, of its command and of what was counted."""

import os
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from traceleft.tracer import _native
from traceleft.tracer.callbacks import Callbacks
from traceleft.tracer.sandbox import privileges as sandbox
from traceleft.tracer.schema.spec import EventSpec, Tables
from traceleft.tracer.session.choice import Choice
from traceleft.tracer.session.command import Command
from traceleft.tracer.session.maps import Count
from traceleft.tracer.session.options import Options
from traceleft.tracer.session.plan import Plan
from traceleft.tracer.session.session import Session
from traceleft.tracer.session.trace_reader import Reader

if TYPE_CHECKING:
    from traceleft.tracer.output.fdnames import FdNames

# How long a command may take to end, in its own way by Ctrl-C, and by SIGTERM: a signal ends all within two seconds.
OWN_WAY_S: Final = 0.7


class Facts(Callbacks):
    """The part of a tracer that changes nothing of a trace; `Tracer` sets the attributes."""

    _choice: Choice
    _plan: Plan
    _tables: Tables
    _reader: Reader | None
    _command: Command | None
    _command_line: Sequence[str] | None
    _session: Session | None
    _options: Options
    # Whether files, directories and sockets of traced processes are looked up in /proc.
    asks_files = False
    kill: bool
    signal: int | None

    @property
    def hook(self) -> str:
        """The hook in use: ``raw_tracepoint``, ``tracepoint`` or ``kprobe``."""
        return self._plan.hook

    @property
    def offered_hooks(self) -> tuple[str, ...]:
        """The hooks that the level in use has on this kernel."""
        return self._choice.hooks(self._plan.level)

    @property
    def level(self) -> str:
        """The name of the level in use, such as ``5.8``."""
        return self._plan.level.name

    @property
    def notices(self) -> tuple[str, ...]:
        """Lines that a user should read: which events were left out, which formats differ on this kernel."""
        return self._plan.notices

    @property
    def specs(self) -> Mapping[str, EventSpec]:
        """The events that are traced, by name."""
        return {part.spec.name: part.spec for part in self._plan.parts}

    @property
    def tables(self) -> Tables:
        """The sets, structs and names of errors that go with ``specs``."""
        return self._tables

    @property
    def counts(self) -> Mapping[str, Count]:
        """What the kernel counted of each event (``CountOptions(counting=…)``), by name, once the trace has ended."""
        return {} if self._reader is None else self._reader.counts

    @property
    def buffer_pages(self) -> int | None:
        """The size of the kernel's buffer in pages, of all CPUs together; None before the start."""
        return None if self._session is None else self._session.buffer_pages

    @property
    def status(self) -> int | None:
        """The command's exit status, 128 + N for signal N; None without a command or while it runs."""
        return None if self._command is None else self._command.poll()

    @property
    def has_command(self) -> bool:
        """Whether a command is traced."""
        return self._command_line is not None

    @property
    def is_command_running(self) -> bool:
        """Whether there is a command that has not ended."""
        return self._command is not None and self.status is None

    def foresee(self, names: "FdNames") -> None:
        """Let ``names`` look at events before their turn, to find the forks among them."""
        self._dispatcher.foresee(names)

    def needed_capabilities(self) -> set[int]:
        """Return the numbers of the capabilities that the rest of the trace needs. To be called after the start.

        They are for reading what belongs to a traced process's owner, and for reading maps where this kernel requires
        it.
        """
        assert self._session is not None
        keep: set[int] = set()
        if self.asks_files or self._options.stacks is not None or self._options.tasks_only:
            keep.add(sandbox.CAP_SYS_PTRACE)
        if self.asks_files:
            keep.add(sandbox.CAP_DAC_READ_SEARCH)
        if self.hook == "kprobe" and os.geteuid():
            # Return probes are removed by files of root's.
            keep.add(sandbox.CAP_DAC_OVERRIDE)
        config = self._session.maps.fds["config"]
        return keep.union(sandbox.find_map_capability(lambda: _native.map_keys(config, 4, 1), keep))

    @property
    def unended(self) -> int | None:
        """The pid of a command that was sent SIGTERM and still runs, else None."""
        command = self._command
        return command.pid if command is not None and command.was_sent_sigterm and self.is_command_running else None

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for the end of the command, at most ``seconds`` where given, and return its ``status``."""
        if self._command is not None:
            self._command.wait(seconds)
        return self.status

    def _end_command(self, command: Command) -> None:
        try:
            if not self.kill and self.signal is None:
                command.leave()
                return
            # A terminal's Ctrl-C reaches the command as well: let it end in its own way.
            command.close(patience_s=OWN_WAY_S if self.signal == signal.SIGINT else 0.0, grace_s=OWN_WAY_S)
        finally:
            command.close_ender()
