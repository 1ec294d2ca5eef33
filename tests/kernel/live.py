"""What the tests on the live kernel share: running a command under the tracer, and looking at what came out."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.tracing import grouped
from traceleft.battery import Battery
from traceleft.tracer import Tracer
from traceleft.tracer.decode.event import Event
from traceleft.tracer.kernel import kernel_btf
from traceleft.tracer.kernel.task_loads import find_task_offsets

HOOKS: Final = ("raw_tracepoint", "tracepoint")
ADDRESS: Final = re.compile(r"0x[0-9a-f]{6,12}")


@dataclass(frozen=True, slots=True)
class Traced:
    """The events of a trace that has ended, and its tracer."""

    events: list[Event]
    tracer: Tracer

    def named(self, *names: str) -> list[Event]:
        """Return the events of these names."""
        return [event for event in self.events if event.event in names]


def trace(battery: Battery, command: Sequence[object], events: str = "", **options: Any) -> Traced:
    """Trace a command to its end; the account has to add up."""
    words = [str(word) for word in command]
    with Tracer(battery, command=words, events=[events] if events else [], **grouped(**options)) as tracer:
        found = list(tracer)
    assert_adds_up(tracer)
    return Traced(found, tracer)


@contextlib.contextmanager
def without_btf() -> Iterator[None]:
    """Trace as on a kernel without BTF."""
    caches = (kernel_btf.task_offsets, find_task_offsets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_btf, "VMLINUX", Path("/nosuch"))
        for cached in caches:
            cached.cache_clear()
        try:
            yield
        finally:
            for cached in caches:
                cached.cache_clear()


def assert_adds_up(tracer: Tracer) -> None:
    """Hold the accounts of the kernel and of the reader against each other."""
    ledger = tracer.ledger
    total = ledger.total
    assert (total.unaccounted, total.undecodable, total.missed) == (0, 0, 0), total
    assert ledger.gaps == total.lost
    for parts in (ledger.by_event, ledger.by_cpu):
        assert sum(each.emitted for each in parts.values()) == total.emitted
        assert sum(each.delivered for each in parts.values()) == total.delivered
        assert sum(each.lost for each in parts.values()) == total.lost


def args_of(event: Event) -> dict[str, Any]:
    """Return the arguments, to be looked into without asking for types."""
    return {**event.args}


def hide_addresses(value: Any) -> Any:
    """Replace what differs from run to run: addresses of memory."""
    match value:
        case dict():
            return {key: hide_addresses(each) for key, each in value.items()}
        case list():
            return [hide_addresses(each) for each in value]
        case str() if ADDRESS.fullmatch(value):
            return "address"
    return value


def result(event: Event) -> int | str | None:
    """Return the error's name, or what the call returned."""
    return event.error or event.ret
