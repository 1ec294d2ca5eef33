"""How often calls are made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """Calls a second, of all processes: all calls, and those of the chosen events."""

    calls: float
    chosen: float
