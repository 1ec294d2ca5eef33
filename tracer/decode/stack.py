"""Where calls were made from: the ids that a record carries, and the stacks behind them.

A stack's frames begin with the innermost, as the kernel gives them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

# By this name symbols have it.
from traceleft.tracer.decode.value import Value

if TYPE_CHECKING:
    from traceleft.tracer import _native


@dataclass(frozen=True, slots=True)
class Frame:
    """One place in a stack.

    ``name`` is the function, and ``offset`` counts bytes from its start. Where the function is not known, ``offset``
    counts from the start of the file ``module``. Where the module is not known either, only ``address`` is.
    """

    address: int
    name: str | None = None
    offset: int = 0
    module: str | None = None

    def __str__(self) -> str:
        if self.name is not None:
            place = f"{self.name}+0x{self.offset:x}"
            return f"{place} ({self.module})" if self.module else place
        if self.module is not None:
            return f"0x{self.address:x} ({self.module}+0x{self.offset:x})"
        return f"0x{self.address:x}"

    @property
    def text(self) -> str:
        """The frame as a line of text, as strace prints it."""
        if self.module is not None:
            return f"{self.module}({self.name or ''}+0x{self.offset:x}) [0x{self.address:x}]"
        place = "" if self.name is None else f"{self.name}+0x{self.offset:x} "
        return f"{place}[0x{self.address:x}]"

    @property
    def folded(self) -> str:
        """The frame in a folded stack, where all places of one function are the same."""
        text = self.name or (f"[{os.path.basename(self.module).strip('[]')}]" if self.module else "[unknown]")
        return text.replace(";", ":")


Frames = tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """The stacks from which a call was made: of the kernel and of the process.

    Each is a tuple of ``Frame`` with the innermost first, None where the kernel could not keep it, and empty where
    there is no such stack.
    """

    kernel: Frames | None = None
    user: Frames | None = None

    def to_json(self) -> dict[str, Value]:
        """Return the stacks as JSON shows them."""
        return {"kernel": _shown(self.kernel), "user": _shown(self.user)}

    def lines(self) -> Iterator[str]:
        """Yield the frames as lines of text, the innermost first."""
        for name, frames in (("kernel", self.kernel), ("user", self.user)):
            if frames is None:
                yield f"{name} stack unreadable"
            else:
                yield from (frame.text for frame in frames)

    def folded(self) -> str:
        """Return both stacks as one text, the outermost frame first. Frames of the kernel end with ``_[k]``."""
        user = [frame.folded for frame in reversed(self.user)] if self.user is not None else ["[user lost]"]
        kernel = (
            [f"{frame.folded}_[k]" for frame in reversed(self.kernel)]
            if self.kernel is not None
            else ["[kernel lost]_[k]"]
        )
        return ";".join(user + kernel)


def _shown(frames: Frames | None) -> list[Value] | None:
    return None if frames is None else [str(frame) for frame in frames]


class StackSource(Protocol):
    """What leads from a record's ids to its stacks."""

    def take(self, records: "_native.Records") -> None:
        """Take note of records that have just come."""
        ...

    def find(self, pid: int, kernel: int, user: int, at_ns: int) -> Stack:
        """Return the stack of a record of a process, made at a time of its own clock."""
        ...
