"""Signals that end the command: what was begun is taken back first."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

SIGNAL_BASE = 128
UNWINDING = (signal.SIGTERM, signal.SIGHUP)
ENDING = (signal.SIGINT, *UNWINDING)
Handler = Callable[[int, Any], None] | signal.Handlers


@contextmanager
def unwinding_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise, as Ctrl-C does. One that is ignored (``nohup``) stays so."""
    ours = [number for number in UNWINDING if _is_main() and signal.getsignal(number) is signal.SIG_DFL]
    with _handled(dict.fromkeys(ours, unwind)):
        yield


def unwind(number: int, frame: object) -> None:
    """Raise what ends us with the status of a process that a signal has killed."""
    raise SystemExit(SIGNAL_BASE + number)


# A trace may replace it while it runs (tracer/session/ending.py).
unwind.gives_way = True  # type: ignore[attr-defined]


@contextmanager
def signals_held() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Let no signal interrupt the block; one that came ends us after it.

    Yields what makes a block within, in which signals do as they did before. A signal that is ignored stays so.
    """
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)

    before = {number: signal.getsignal(number) for number in ENDING if _is_main()}
    ours = {number: each for number, each in before.items() if each in (unwind, signal.default_int_handler)}

    @contextmanager
    def released() -> Iterator[None]:
        with _handled(ours):
            if came:
                _raise_for(came[0])
            yield

    with _handled(dict.fromkeys(ours, note)):
        yield released
    if came:
        _raise_for(came[0])


def _raise_for(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(SIGNAL_BASE + number)


def _is_main() -> bool:
    """Whether this thread is the one that alone may set handlers."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _handled(handlers: Mapping[Any, Any]) -> Iterator[None]:
    """Set some handlers for a while."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
