"""Signals that end a trace, where nobody else handles them."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEFAULT_HANDLERS: Final = (signal.default_int_handler, signal.SIG_DFL)
# A trace ends within two seconds of a signal, unless a callback does not come back.
STUCK_S: Final = 3.0
# A handler with this attribute may be replaced while a trace runs.
_GIVES_WAY: Final = "gives_way"


class Patience:
    """A time after which what is left is dropped; it is not over before it has begun."""

    def __init__(self) -> None:
        self._end_s: float | None = None

    def begin(self, seconds: float) -> None:
        """Let it be over after some seconds."""
        self._end_s = time.monotonic() + seconds

    def is_over(self) -> bool:
        """Whether it has begun and is over."""
        return self._end_s is not None and time.monotonic() >= self._end_s


@contextlib.contextmanager
def ended_by_signals(end: Callable[[int], object]) -> Iterator[None]:
    """Call `end` with the number of a signal that came; one that comes ``STUCK_S`` later interrupts whatever goes on.

    Before that it would only spoil the account.

    In the main thread alone: others get no signals. Handlers are as they were afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came_s: list[float] = []

    def handle(number: int, frame: object) -> None:
        if not came_s:
            came_s.append(time.monotonic())
            end(number)
        elif time.monotonic() - came_s[0] >= STUCK_S:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    ours = [number for number in ENDING if _may_replace(signal.getsignal(number))]
    before = [signal.signal(number, handle) for number in ours]
    try:
        yield
    finally:
        for number, handler in zip(ours, before, strict=True):
            signal.signal(number, handler)


def _may_replace(handler: object) -> bool:
    return handler in _DEFAULT_HANDLERS or getattr(handler, _GIVES_WAY, False)
