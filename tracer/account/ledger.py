"""The account of a trace: what was emitted, and what became of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

from traceleft.tracer.account.remedy import buffer_remedy, busiest, reader_remedy

Tally = Mapping[tuple[int, int], int]
"""(event id, cpu) → number."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the account, in numbers of events.

    ``emitted`` by the kernel; of these ``delivered`` to callbacks, ``lost`` as the kernel's buffer was full,
    ``dropped`` in this process, and ``undecodable``. ``compat`` are 32-bit calls that were counted and not decoded,
    ``missed`` calls that no program saw.
    """

    emitted: int = 0
    delivered: int = 0
    lost: int = 0
    dropped: int = 0
    undecodable: int = 0
    compat: int = 0
    missed: int = 0

    @property
    def unaccounted(self) -> int:
        """The difference of the accounts.

        Events vanished where it is positive, and came from nowhere where it is negative.
        """
        return self.emitted - self.delivered - self.lost - self.dropped - self.undecodable

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(Figures)))

    def to_json(self) -> dict[str, int]:
        """Return the figures by name."""
        return {
            "emitted": self.emitted,
            "delivered": self.delivered,
            "lost": self.lost,
            "dropped": self.dropped,
            "undecodable": self.undecodable,
            "unaccounted": self.unaccounted,
            "compat": self.compat,
            "missed": self.missed,
        }


@dataclass(frozen=True, slots=True)
class KernelCounts:
    """What the kernel's own counters say; `sequences` holds (cpu, class) → numbers given out.

    `skipped` are runs of our programs, for calls of any process, that the kernel skipped. `bypassed` are operations of
    io_uring by opcode.
    """

    emitted: Tally = field(default_factory=dict)
    lost: Tally = field(default_factory=dict)
    missed: Tally = field(default_factory=dict)
    missed_by_cpu: Mapping[int, int] = field(default_factory=dict)
    compat_by_cpu: Mapping[int, int] = field(default_factory=dict)
    sequences: Mapping[tuple[int, int], int] = field(default_factory=dict)
    skipped: int = 0
    bypassed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReaderCounts:
    """What the reader saw; `received` holds (cpu, class) → records that came out of the buffer.

    `surplus` of `dropped` was thrown away because the trace was over before it was read. `buffer_lost` is what a perf
    buffer says that it lost by CPU, at least that where it is not final; None for a ring buffer. `waits` is how often
    the buffer was not read, as too much waited for the reader.
    """

    delivered: Tally = field(default_factory=dict)
    dropped: Tally = field(default_factory=dict)
    undecodable: Tally = field(default_factory=dict)
    received: Mapping[tuple[int, int], int] = field(default_factory=dict)
    late: int = 0
    surplus: int = 0
    buffer_lost: Mapping[int, int] | None = None
    is_final: bool = True
    waits: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of a trace: what was emitted, and what became of it.

    ::

        print(tracer.ledger)  # 1,204 emitted, 1,204 delivered, 0 lost, 0 dropped, 0 undecodable, 0 unaccounted
        assert not tracer.ledger.has_loss

    ``total``, ``by_event`` (by name) and ``by_cpu`` hold ``Figures``.

    - ``gaps``: events that are missing by their sequence numbers; should be ``total.lost``.
    - ``late``: events that were delivered out of order.
    - ``surplus``: events that were left when the trace ended and were not read.
    - ``overfull``: what a perf buffer counted as lost, where its count differs; else None.
    - ``shed``: events that were dropped for their cost (``LimitOptions``), and after how many seconds.
    - ``waits``: how often the buffer was left unread because the reader was behind.
    - ``stacks_lost``: events whose stacks could not be kept, None where no stacks were asked for.
    - ``skipped``: runs of programs that the kernel skipped; at most so many calls are missing.
    - ``bypassed``: operations of io_uring by opcode, which are not syscalls.
    """

    total: Figures
    by_event: Mapping[str, Figures]
    by_cpu: Mapping[int, Figures]
    gaps: int = 0
    late: int = 0
    surplus: int = 0
    overfull: int | None = None
    shed: Mapping[str, float] = field(default_factory=dict)
    waits: int = 0
    stacks_lost: int | None = None
    skipped: int = 0
    bypassed: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_loss(self) -> bool:
        """Whether an event is missing. What was left in the buffer when the reader ended does not count."""
        total = self.total
        lost = total.lost or self._dropped or total.undecodable or total.unaccounted
        return bool(lost or total.missed or self.skipped)

    @property
    def _dropped(self) -> int:
        return self.total.dropped - self.surplus

    def to_json(self) -> dict[str, object]:
        """Return the account as the document that ``--ledger`` writes."""
        return {
            **self.total.to_json(),
            "by_event": {name: figures.to_json() for name, figures in sorted(self.by_event.items())},
            "by_cpu": {str(cpu): figures.to_json() for cpu, figures in sorted(self.by_cpu.items())},
            **({"shed": {name: {"after_s": round(at_s, 3)} for name, at_s in self.shed.items()}} if self.shed else {}),
            **({} if self.stacks_lost is None else {"stacks_lost": self.stacks_lost}),
            **({"skipped": self.skipped} if self.skipped else {}),
            **({"bypassed": dict(self.bypassed)} if self.bypassed else {}),
        }

    def __str__(self) -> str:
        figures = self.total.to_json()
        always = ("emitted", "delivered", "lost", "dropped", "undecodable", "unaccounted")
        shown = [name for name in figures if name in always or figures[name]]
        bypassed = sum(self.bypassed.values())
        more = [f"{bypassed:,} operation{'s' * (bypassed != 1)} bypassed syscalls"] if bypassed else []
        return ", ".join([*(f"{figures[name]:,} {name}" for name in shown), *more])

    def warnings(self, *, buffer_pages: int, missed: str = "follow fewer processes") -> tuple[str, ...]:
        """Return one line for each thing that went missing, with its remedy.

        ``buffer_pages`` is the size of the buffer, and ``missed`` the remedy for missed calls.
        """
        total = self.total
        emitted = {name: figures.emitted for name, figures in self.by_event.items()}
        larger, faster = buffer_remedy(buffer_pages, emitted), reader_remedy(busiest(emitted))
        full = f", as their reader was too slow: {faster}" if self.waits else f": {larger}"
        texts = {
            f"{total.lost:,} records lost, the buffer was full{full}": total.lost,
            f"{self._dropped:,} records dropped, their reader was too slow: {faster}": self._dropped,
            f"{total.undecodable:,} records undecodable: build the battery again": total.undecodable,
            f"{total.unaccounted:,} records unaccounted: the kernel's counters and the reader's differ": (
                total.unaccounted
            ),
            f"{self.gaps:,} records lost by their sequence numbers, {total.lost:,} by the kernel's count": (
                self.gaps - total.lost
            ),
            f"{self.overfull or 0:,} records lost by the perf buffer's own count, {total.lost:,} by what came out": (
                self.overfull is not None
            ),
            f"{self.stacks_lost or 0:,} events without a stack, another had its place in the map: choose fewer "
            "events or processes": self.stacks_lost or 0,
            f"{total.compat:,} calls of 32-bit code were counted and not decoded": total.compat,
            f"{total.missed:,} calls or threads missed, {missed}": total.missed,
            f"{self.skipped:,} runs of programs skipped by the kernel, for calls of any process: up to as many calls "
            "are missing; choose another hook with --attach": self.skipped,
        }
        shed = (f"{name} was shed after {at_s:.1f} s: later calls are not traced" for name, at_s in self.shed.items())
        return (*(text for text, number in texts.items() if number), *shed)


def make_ledger(kernel: KernelCounts, reader: ReaderCounts, names: Mapping[int, str]) -> Ledger:
    """Return the ledger of both accounts; `names` maps event ids, an unknown one appears as its number."""
    if reader.buffer_lost is not None:
        kernel = replace(kernel, lost=_infer_lost(kernel, reader))
    cells = _cells(kernel, reader)
    by_event: dict[str, Figures] = {}
    by_cpu: dict[int, Figures] = {}
    for (event, cpu), figures in sorted(cells.items()):
        name = names.get(event, str(event))
        by_event[name] = by_event.get(name, Figures()) + figures
        by_cpu[cpu] = by_cpu.get(cpu, Figures()) + figures
    for cpu in sorted({*kernel.compat_by_cpu, *kernel.missed_by_cpu}):
        extra = Figures(compat=kernel.compat_by_cpu.get(cpu, 0), missed=kernel.missed_by_cpu.get(cpu, 0))
        if extra != Figures():
            by_cpu[cpu] = by_cpu.get(cpu, Figures()) + extra
    total = _sum(by_cpu.values())
    return Ledger(
        total,
        by_event,
        by_cpu,
        gaps=_count_gaps(kernel, reader),
        late=reader.late,
        surplus=reader.surplus,
        overfull=_contradiction(reader, total.lost),
        waits=reader.waits,
        skipped=kernel.skipped,
        bypassed=kernel.bypassed,
    )


def add_tallies(*tallies: Tally) -> dict[tuple[int, int], int]:
    """Return the sum of some tallies."""
    total: Counter[tuple[int, int]] = Counter()
    for tally in tallies:
        total.update(tally)
    return dict(total)


def _cells(kernel: KernelCounts, reader: ReaderCounts) -> dict[tuple[int, int], Figures]:
    columns: dict[str, Tally] = {
        "emitted": kernel.emitted,
        "lost": kernel.lost,
        "missed": kernel.missed,
        "delivered": reader.delivered,
        "dropped": reader.dropped,
        "undecodable": reader.undecodable,
    }
    keys = {key for tally in columns.values() for key, number in tally.items() if number}
    return {key: Figures(**{name: tally.get(key, 0) for name, tally in columns.items()}) for key in keys}


def _sum(lines: Iterable[Figures]) -> Figures:
    return sum(lines, Figures())


def _count_gaps(kernel: KernelCounts, reader: ReaderCounts) -> int:
    return sum(_gaps_by_cpu(kernel, reader).values())


def _gaps_by_cpu(kernel: KernelCounts, reader: ReaderCounts) -> Counter[int]:
    gaps: Counter[int] = Counter()
    for (cpu, kind), given in kernel.sequences.items():
        # Sequence numbers have 32 bits and wrap.
        gaps[cpu] += (given - reader.received.get((cpu, kind), 0)) & 0xFFFFFFFF
    return gaps


def _infer_lost(kernel: KernelCounts, reader: ReaderCounts) -> Tally:
    """Return what a perf buffer lost: what was emitted and never came out.

    Below 5.1 the kernel's own count misses it, as the output helper returns 0 all the same. A CPU lost no more than
    its sequence numbers miss: what vanished beyond that came out of the buffer, and stays unaccounted.
    """
    left = _gaps_by_cpu(kernel, reader)
    came_out = add_tallies(reader.delivered, reader.dropped, reader.undecodable)
    lost = {}
    for key, emitted in sorted(kernel.emitted.items()):
        lost[key] = min(max(emitted - came_out.get(key, 0), 0), left[key[1]])
        left[key[1]] -= lost[key]
    return lost


def _contradiction(reader: ReaderCounts, lost: int) -> int | None:
    if reader.buffer_lost is None:
        return None
    said = sum(reader.buffer_lost.values())
    return said if said > lost or (reader.is_final and said != lost) else None
