"""``python -m traceleft`` is the ``traceleft`` command."""

# Not `signal`, whose import takes a millisecond in which Ctrl-C ends us with a traceback.
import _signal  # type: ignore[import-not-found]
import sys
from types import TracebackType


def run() -> int:
    """Run the command; before and after it Ctrl-C ends us without a word, and not with a traceback."""
    is_ours = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if is_ours:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        sys.excepthook = _tell
    from traceleft.cli.main import main

    if is_ours:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    try:
        return main()
    finally:
        # The interpreter's own end would tell of it with a traceback.
        if is_ours:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception that ends us, except Ctrl-C between two instructions of `run`."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    sys.exit(run())
