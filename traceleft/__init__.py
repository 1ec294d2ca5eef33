"""Trace any syscall with eBPF programs that were built before, elsewhere.

``Battery`` opens what ``traceleft build`` made, ``Tracer`` loads it and yields events.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceleft.battery import Battery as Battery
    from traceleft.tracer import Tracer as Tracer

__all__ = ["Battery", "Tracer", "__version__"]
__version__ = "0.1.0"

# Found on first use: `import traceleft` costs neither numpy nor libbpf.
_HOMES = {"Battery": "traceleft.battery", "Tracer": "traceleft.tracer"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
