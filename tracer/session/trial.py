"""What a trace of every syscall comes to on the running kernel: loaded, not attached, and let go of."""

from dataclasses import dataclass

from traceleft.battery import Battery
from traceleft.tracer.session.choice import choose
from traceleft.tracer.session.fallback import open_session
from traceleft.tracer.session.filters import Filters
from traceleft.tracer.session.options import Options


@dataclass(frozen=True, slots=True)
class Trial:
    """The level and hook at which the kernel took the core and so many handlers; ``notices`` tell what it refused."""

    level: str
    hook: str
    handlers: int
    notices: tuple[str, ...]


def try_battery(battery: Battery) -> Trial:
    """Load what a trace without ``-e`` would; UnsupportedError or ProbeError where that could not begin."""
    notices: list[str] = []
    choice = choose(battery, (), hook="auto", uses_pids=False, required=())
    with open_session(choice, choice.best(), Filters(), Options(loads_only=True), tell=notices.append) as session:
        return Trial(session.plan.level.name, session.plan.hook, len(session.plan.parts), tuple(notices))
