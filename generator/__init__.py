"""From the kernel's event formats to sources: parse, give meaning, lay out, render.

`generate` does it all; the modules do one step each, on plain values.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceleft.generator.run import Generated as Generated
    from traceleft.generator.run import describe as describe
    from traceleft.generator.run import generate as generate

__all__ = ["Generated", "describe", "generate"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: `snapshot` needs neither jinja2 nor pycparser."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from traceleft.generator import run

    value: object = getattr(run, name)
    globals()[name] = value
    return value
