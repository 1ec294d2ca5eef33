"""Folded stacks: counted, as lines for the tools that take them, and as the tree of a flame graph. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from traceleft.aggregator.pages.charts import Chart
    from traceleft.tracer.decode.event import Event

NODES_MAX: Final = 5000
"""Nodes of a flame graph: the smallest are left out, which would be a line wide where there are so many."""
STACKS_MAX: Final = 1 << 20
OTHER: Final = "[other stacks]"


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree of frames, parents before children: of each node its id, name, parent's id ("" of the root), samples."""

    ids: tuple[str, ...]
    names: tuple[str, ...]
    parents: tuple[str, ...]
    values: tuple[int, ...]


class Folded:
    """Counts events by the name of their thread and their stack; beyond a million stacks as ``OTHER``."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.without = 0
        """Events that carry no stack."""

    def add(self, event: "Event") -> None:
        """Count an event."""
        stack = event.stack
        if stack is None:
            self.without += 1
            return
        comm = event.comm.replace(";", ":")
        frames = stack.folded()
        text = f"{comm};{frames}" if frames else comm
        self.counts[text if text in self.counts or len(self.counts) < STACKS_MAX else OTHER] += 1

    def lines(self) -> Iterator[str]:
        """Yield a line a stack, ``comm;outermost;…;innermost count``, in the order of the text."""
        for text, count in sorted(self.counts.items()):
            yield f"{text} {count}"


def make_tree(counts: Mapping[str, int], *, root: str, limit: int = NODES_MAX) -> Tree:
    """Return the tree of folded stacks, with no more nodes than ``limit``; the smallest are left out."""
    sizes: Counter[tuple[str, ...]] = Counter()
    for text, count in counts.items():
        frames = tuple(text.split(";"))
        for depth in range(len(frames) + 1):
            sizes[frames[:depth]] += count
    # A node is never larger than its parent, and comes after it where they are equal.
    kept = sorted(sizes, key=lambda path: (-sizes[path], len(path), path))[:limit]
    places = {path: str(place) for place, path in enumerate(kept)}
    return Tree(
        ids=tuple(places[path] for path in kept),
        names=tuple(path[-1] if path else root for path in kept),
        parents=tuple(places[path[:-1]] if path else "" for path in kept),
        values=tuple(sizes[path] for path in kept),
    )


def flame_chart(counts: Mapping[str, int]) -> "Chart":
    """Return the figure of folded stacks."""
    from traceleft.aggregator.pages.charts import flame

    tree = make_tree(counts, root="all")
    return flame("flame", tree.ids, tree.names, tree.parents, tree.values)
