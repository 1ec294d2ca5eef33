"""The live side: programs loaded and attached, records drained and decoded.

``Tracer`` is the way in; the modules that decode need neither libbpf nor a kernel.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceleft.tracer.tracer import Tracer as Tracer

__all__ = ["Tracer"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: decoding a recording needs no libbpf."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from traceleft.tracer import tracer

    value: object = getattr(tracer, name)
    globals()[name] = value
    return value
