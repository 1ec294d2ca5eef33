"""Signals that end the command: what was begun is taken back first."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNAL_BASE = 128
UNWINDING = (signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, Any], None] | signal.Handlers


@contextmanager
def unwinding_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise, as Ctrl-C does. One that is ignored (``nohup``) stays so."""
    with exchanged(signal.SIG_DFL, unwind):
        yield


@contextmanager
def signals_left_alone() -> Iterator[None]:
    """Give these signals their default meanings again, for a tracer to take them over."""
    with exchanged(unwind, signal.SIG_DFL):
        yield


def unwind(number: int, frame: object) -> None:
    """Raise what ends us with the status of a process that a signal has killed."""
    raise SystemExit(SIGNAL_BASE + number)


@contextmanager
def exchanged(before: Handler, after: Handler) -> Iterator[None]:
    """Put one handler in the other's place for a while, in the main thread, where alone that can be done."""
    is_main = threading.current_thread() is threading.main_thread()
    ours = [number for number in UNWINDING if is_main and signal.getsignal(number) is before]
    for number in ours:
        signal.signal(number, after)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before)
