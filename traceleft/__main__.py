"""``python -m traceleft`` is the ``traceleft`` command."""

import signal
import sys


def run() -> int:
    """Run the command; until it is there, Ctrl-C ends us without a word and not with a traceback of imports."""
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from traceleft.cli import main

    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return main()


if __name__ == "__main__":
    sys.exit(run())
