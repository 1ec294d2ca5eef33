"""How a session runs, apart from its filters."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from traceleft.tracer.session import filters

if TYPE_CHECKING:
    from traceleft.tracer.session.rollup import KernelRollup


@dataclass(frozen=True, slots=True)
class Options:
    """How a session runs, apart from its filters.

    `counting`: None, "only" (no records at all) or "too" (counts and records).
    `rollup`: what the kernel adds up of the calls. `loads_only`: nothing is attached, to see what the kernel takes.
    `environment`: take the strings of environments, not only their number.
    """

    tasks_only: bool = False
    times: bool = False
    unfinished: bool = False
    counting: str | None = None
    buffer_pages: int | None = None
    queue_bytes: int | None = None
    rollup: "KernelRollup | None" = None
    stacks: bool = False
    stack_entries: int | None = None
    loads_only: bool = False
    environment: bool = False

    @property
    def flags(self) -> int:
        """The bits of `config.flags` that these options set."""
        chosen = {
            filters.TASKS_ONLY: self.tasks_only,
            filters.TIMES: self.times
            or self.counting is not None
            or (self.rollup is not None and self.rollup.durations),
            filters.COUNT: self.counting is not None,
            filters.COUNT_ONLY: self.counting == "only",
            filters.STACKS: self.stacks,
            filters.ENVIRONMENT: self.environment,
        }
        return sum(flag for flag, is_set in chosen.items() if is_set)

    @property
    def is_only_counting(self) -> bool:
        """Whether calls that a dispatcher sees return become no records."""
        return self.counting == "only" or (self.rollup is not None and self.rollup.only)
