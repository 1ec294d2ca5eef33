"""``python -m traceleft`` is the ``traceleft`` command."""

import signal
import sys


def run() -> int:
    """Run the command; before and after it Ctrl-C ends us without a word, and not with a traceback."""
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from traceleft.cli import main

    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return main()
    finally:
        # The interpreter's own end would tell of it with a traceback.
        if is_ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(run())
