"""How a trace runs: what its user chooses, in groups, and what a session makes of them."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from traceleft.errors import TraceleftError, UnsupportedError
from traceleft.tracer.kernel.features import check_hook
from traceleft.tracer.kernel.levels import check_level
from traceleft.tracer.kernel.memory import choose_ring_pages, choose_stack_entries
from traceleft.tracer.session import filters

if TYPE_CHECKING:
    from traceleft.tracer.session.kernel_rollup import KernelRollup


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """Where programs are attached, and which objects of the battery are loaded.

    The defaults fit nearly every trace::

        Tracer(battery, events=["openat"], probes=ProbeOptions(hook="tracepoint", level="4.18"))

    - ``hook``: ``raw_tracepoint``, ``tracepoint``, ``kprobe`` or ``auto``, which takes the cheapest one that works.
    - ``level``: ``5.8``, ``4.18``, ``4.11`` or ``4.4``. By default the highest one that the battery holds and the
      kernel offers.
    - ``required``: names of events that must be traced. Others are left out, with a notice, where the kernel lacks
      them. By default the events that are named one by one are required, not the members of a class such as ``%file``.
    - ``brief``: the trace is short, so that ``auto`` does not spend a tenth of a second on measuring what hooks cost.

    Raises UnsupportedError for an unknown hook or level.
    """

    hook: str = "auto"
    level: str | None = None
    required: Collection[str] | None = None
    brief: bool = False

    def __post_init__(self) -> None:
        check_hook(self.hook)
        if self.level is not None:
            check_level(self.level)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailOptions:
    """How much an event tells.

    More details cost more::

        Tracer(battery, events=["read"], details=DetailOptions(durations=True, text_limit=256))

    - ``durations``: measure how long calls take (``event.duration_ns``).
    - ``text_limit``: capture at most so many bytes of a text or buffer.
    - ``environment``: capture the strings of environments that execs pass, not only their number.
    - ``unfinished``: at the end, report calls that have not returned. By default this is done where processes or a
      command are traced and calls are not filtered by result.

    Raises UnsupportedError for a negative limit.
    """

    durations: bool = False
    text_limit: int = 32
    environment: bool = False
    unfinished: bool | None = None

    def __post_init__(self) -> None:
        filters.require_text_limit(self.text_limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountOptions:
    """What the kernel adds up by itself.

    Counting alone is the cheapest trace, since no event leaves the kernel::

        with Tracer(battery, command=["make"], follow=True, counts=CountOptions(counting="only")) as tracer:
            tracer.run()
        print(tracer.counts["openat"].calls)

    - ``counting``: ``only`` counts calls, errors and time of each event and emits no events; ``too`` also emits events.
      ``Tracer.counts`` has the figures.
    - ``rollup``: a rollup that the kernel fills, as ``plan_in_kernel`` makes it. ``Tracer.rolled_up`` has the groups.
      Needs the hook ``raw_tracepoint`` and level 4.18 or later.

    Raises TraceleftError where both are given, or for another word.
    """

    counting: Literal["only", "too"] | None = None
    rollup: "KernelRollup | None" = None

    def __post_init__(self) -> None:
        if self.counting not in (None, "only", "too"):
            raise TraceleftError(f"counting {self.counting!r}: choose only or too")
        if self.rollup is not None and self.counting is not None:
            raise TraceleftError("a trace counts calls or rolls them up: choose one of counting and rollup")


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferOptions:
    """How much memory a trace takes.

    A larger buffer loses fewer events in a burst::

        Tracer(battery, buffers=BufferOptions(pages=16384))

    - ``pages``: the kernel's buffer, of all CPUs together, in pages of memory (4 KiB on x86_64). It is rounded up to a
      power of two. By default 8 MiB a CPU, at most 32 MiB and a 64th of memory.
    - ``queue_bytes``: what may wait in this process for its reader, in bytes. By default 32 MiB at most.

    Raises UnsupportedError for a size that is too small or too large.
    """

    pages: int | None = None
    queue_bytes: int | None = None

    def __post_init__(self) -> None:
        choose_ring_pages(self.pages)
        if self.queue_bytes is not None and self.queue_bytes <= 0:
            raise UnsupportedError(f"a queue of {self.queue_bytes} bytes", "choose 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """Stacks of events, in the kernel and in the process; ``event.stack`` has them.

    ::

        Tracer(battery, events=["fsync"], stacks=StackOptions())

    - ``entries``: how many different stacks are kept, at most 1,048,576. It is rounded up to a power of two. By
      default between 4,096 and 65,536, by the size of memory.

    Needs level 4.11 or later. Raises UnsupportedError for a number that is too small or too large.
    """

    entries: int | None = None

    def __post_init__(self) -> None:
        choose_stack_entries(self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """What a trace may cost and what it may do.

    ::

        Tracer(battery, limits=LimitOptions(max_overhead_pct=2))

    - ``max_overhead_pct``: while the trace costs more than so many percent of the machine's CPU time, it drops its most
      expensive event, one each second. The last event stays.
    - ``kill``: end a command that still runs when the tracer is closed. Otherwise the command goes on, unless a signal
      ended the trace.
    - ``sandbox``: prepare for giving up privileges after the start, as ``traceleft trace`` does.

    Raises UnsupportedError for a share that is not more than 0 and at most 100.
    """

    max_overhead_pct: float | None = None
    kill: bool = True
    sandbox: bool = False

    def __post_init__(self) -> None:
        if self.max_overhead_pct is not None and not 0 < self.max_overhead_pct <= 100:
            raise UnsupportedError(f"a limit of {self.max_overhead_pct:g} %", "choose more than 0 and at most 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a session runs, apart from its filters.

    `counting`: None, "only" (no records at all) or "too". `rollup`: what the kernel adds up of the calls.
    `loads_only`: nothing is attached, to see what the kernel takes.
    """

    tasks_only: bool = False
    unfinished: bool = False
    counting: str | None = None
    rollup: "KernelRollup | None" = None
    loads_only: bool = False
    details: DetailOptions = field(default_factory=DetailOptions)
    buffers: BufferOptions = field(default_factory=BufferOptions)
    stacks: StackOptions | None = None

    @property
    def flags(self) -> int:
        """The bits of `config.flags` that these options set."""
        chosen = {
            filters.TASKS_ONLY: self.tasks_only,
            filters.TIMES: self.details.durations
            or self.counting is not None
            or (self.rollup is not None and self.rollup.durations),
            filters.COUNT: self.counting is not None,
            filters.COUNT_ONLY: self.counting == "only",
            filters.STACKS: self.stacks is not None,
            filters.ENVIRONMENT: self.details.environment,
        }
        return sum(flag for flag, is_set in chosen.items() if is_set)

    @property
    def is_only_counting(self) -> bool:
        """Whether calls that a dispatcher sees return become no records."""
        return self.counting == "only" or (self.rollup is not None and self.rollup.only)


def make_options(
    counts: CountOptions,
    details: DetailOptions,
    buffers: BufferOptions,
    stacks: StackOptions | None,
    *,
    follows: bool,
    asks_result: bool,
    sheds: bool,
) -> Options:
    """Return what a session makes of its user's choices.

    ``follows``: processes or a command are traced. ``asks_result``: calls are filtered by what they returned.
    ``sheds``: events may be dropped while the trace runs.
    """
    made = Options(
        tasks_only=follows,
        counting=counts.counting,
        rollup=counts.rollup,
        details=details,
        buffers=buffers,
        stacks=stacks,
    )
    is_alone = made.is_only_counting
    wants_unfinished = follows if details.unfinished is None else details.unfinished
    return replace(
        made,
        unfinished=wants_unfinished and not is_alone and not asks_result,
        # What is shed is known by how often it was called.
        counting="too" if sheds and is_alone and counts.rollup is not None else counts.counting,
    )
