"""What resolves the file descriptors and directories of a running trace's processes."""

import os
from functools import partial
from typing import TYPE_CHECKING

from traceleft.cli.batteries import catalogue_of

if TYPE_CHECKING:
    from traceleft.battery import Battery
    from traceleft.tracer import Tracer
    from traceleft.tracer.output.fdnames import FdNames


def live_names(tracer: "Tracer", battery: "Battery") -> "FdNames":
    """Return what knows the file descriptors and directories of a tracer's processes."""
    from traceleft.tracer.output.fdnames import FdNames
    from traceleft.tracer.output.socket_names import describe_fd
    from traceleft.tracer.output.unix_peers import UnixPeers

    describe = partial(describe_fd, peer_of=UnixPeers().find)
    tracer.asks_files = True
    directory = own_directory() if tracer.has_command else None
    return FdNames(tracer.specs, catalogue_of(battery).names, describe=describe, directory=directory)


def own_directory() -> str | None:
    """Return where a command begins; None where that directory is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None
