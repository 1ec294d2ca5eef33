"""Limits of this process that a trace raises while it loads."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def more_open_files() -> Iterator[None]:
    """Allow as many open files as the hard limit does: each link is one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
