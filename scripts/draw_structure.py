"""Draw docs/project/structure.svg: the layers and rooms of the source, and which imports which, from the imports.

usage: python scripts/draw_structure.py [FILE]

A layer imports the layers below it: one arrow stands for all of these. Between the rooms of a layer an arrow is left
out where others lead to the same room.
"""

import ast
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from pathlib import Path
from textwrap import wrap
from typing import Final

from svg import SOFT, Drawing

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.imports import LAYERS, SHIPPED, import_graph, module_name  # noqa: E402

PICTURE: Final = ROOT / "docs" / "project" / "structure.svg"
BANDS: Final = ("command line", *reversed(LAYERS))
FILLS: Final = ("violet", "yellow", "blue", "green", "red", "grey")
BOX_WIDTH: Final = 176
BOX_HEIGHT: Final = 56
DUMMY_WIDTH: Final = 24
GAP_X: Final = 22
GAP_Y: Final = 32
WIDTH: Final = 860
MARGIN: Final = 20
Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Room:
    """A box: what it is called, and what it is for."""

    name: str
    words: tuple[str, ...]


def band_of(module: str) -> str | None:
    """Return the layer that a module belongs to, None for the base."""
    parts = module.split(".")
    if len(parts) > 1 and parts[1] in LAYERS:
        return parts[1]
    return "command line" if parts[1:2] == ["cli"] or len(parts) == 1 else None


def room_of(module: str, graph: Graph, packages: set[str]) -> str:
    """Return the room of a module. What lies in no room is above those of its layer, or below them."""
    parts = module.split(".")
    if parts[1:2] in ([], ["cli"]):
        return "traceleft" if len(parts) == 1 else "cli"
    if ".".join(parts[:3]) in packages:
        return parts[2]
    rooms = {each for each in packages if each.startswith(f"traceleft.{parts[1]}.")}
    seen, waiting = set[str](), [module]
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += [each for each in graph[name] if each.split(".")[1] == parts[1]]
    reaches = any(name.startswith(f"{room}.") for name in seen for room in rooms)
    return "above" if reaches else "below"


def reduced(edges: Graph) -> dict[str, set[str]]:
    """Return a graph without the edges that longer ways stand for."""

    def reach(start: str) -> set[str]:
        found = set[str]()
        for name in edges[start]:
            found |= {name} | reach(name)
        return found

    return {
        name: {each for each in below if not any(each in reach(other) for other in below - {each})}
        for name, below in edges.items()
    }


def ranks_of(edges: Graph) -> dict[str, int]:
    """Return how many rooms lie below each, on the longest way down."""
    ranks: dict[str, int] = {}

    def rank(name: str) -> int:
        if name not in ranks:
            ranks[name] = max((rank(each) + 1 for each in edges[name]), default=0)
        return ranks[name]

    for name in edges:
        rank(name)
    return ranks


def rows_of(edges: Graph) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rooms row by row, from above, and the ways of arrows, with a place of their own in each row."""
    ranks = ranks_of(edges)
    rows: list[list[str]] = [[] for _ in range(max(ranks.values()) + 1)]
    for name in sorted(edges):
        rows[-1 - ranks[name]].append(name)
    ways = []
    for name in sorted(edges):
        for goal in sorted(edges[name]):
            between = [f"{name}>{goal}>{rank}" for rank in range(ranks[name] - 1, ranks[goal], -1)]
            for rank, place in zip(range(ranks[name] - 1, ranks[goal], -1), between, strict=True):
                rows[-1 - rank].append(place)
            ways.append([name, *between, goal])
    return rows, ways


def places_of(row: Sequence[str]) -> dict[str, float]:
    """Return the middles of a row's boxes."""
    widths = [DUMMY_WIDTH if ">" in name else BOX_WIDTH for name in row]
    left = (WIDTH - sum(widths) - GAP_X * (len(row) - 1)) / 2
    places = {}
    for name, width in zip(row, widths, strict=True):
        places[name] = left + width / 2
        left += width + GAP_X
    return places


def cost(rows: Sequence[Sequence[str]], pieces: Iterable[tuple[str, str]]) -> tuple[int, float]:
    """Return how many arrows cross, and how far they lead sideways."""
    places = {name: place for row in rows for name, place in places_of(row).items()}
    levels = {name: level for level, row in enumerate(rows) for name in row}
    lines = sorted((levels[a], places[a], places[b]) for a, b in pieces)
    crossings = sum(
        one[0] == other[0] and (one[1] - other[1]) * (one[2] - other[2]) < 0
        for place, one in enumerate(lines)
        for other in lines[place + 1 :]
    )
    return crossings, sum(abs(start - end) for _, start, end in lines)


def ordered(rows: list[list[str]], ways: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the rows, each in the order in which the fewest arrows cross."""
    pieces = [piece for way in ways for piece in pairwise(way)]
    for _ in range(3):
        for level in range(len(rows)):
            around = range(max(level - 1, 0), min(level + 2, len(rows)))
            names = {name for each in around for name in rows[each]}
            near = [piece for piece in pieces if names.issuperset(piece)]
            choices = ([*rows[:level], list(order), *rows[level + 1 :]] for order in permutations(rows[level]))
            rows = min(choices, key=lambda choice: cost([choice[each] for each in around], near))
    return rows


def lines_of(words: str) -> tuple[str, ...]:
    """Return words in the two lines that a box has below its name."""
    return tuple(wrap(words, 28, max_lines=2, placeholder=" …"))


def purpose_of(file: Path) -> tuple[str, ...]:
    """Return the first words of a module's docstring."""
    return lines_of(re.split(r"[:;.]", ast.get_docstring(ast.parse(file.read_text())) or "")[0])


def describe(band: str, room: str, modules: Sequence[str]) -> Room:
    """Return what is written into a room's box."""
    folder = ROOT / ("traceleft" if band == "command line" else band)
    if room == "traceleft":
        return Room("traceleft", ("the public names",))
    if room not in ("above", "below"):
        return Room(room, purpose_of(folder / room / "__init__.py"))
    names = sorted(module.split(".")[2] for module in modules if module.count(".") == 2)
    if len(names) == 1:
        return Room(names[0], purpose_of(folder / f"{names[0]}.py"))
    return Room(band, lines_of(", ".join(names)) or purpose_of(folder / "__init__.py"))


def draw() -> Drawing:
    """Return the drawing."""
    graph = import_graph({module_name(path): (ROOT / path).read_text() for path in SHIPPED})
    packages = {module_name(path) for path in SHIPPED if path.name == "__init__.py"}
    packages = {name for name in packages if name.count(".") == 2}
    drawing = Drawing(WIDTH, 0, "The layers and rooms of traceleft, and what each imports")
    top: float = MARGIN
    for band, fill in zip(BANDS, FILLS, strict=True):
        rooms = {module: room_of(module, graph, packages) for module in sorted(graph) if band_of(module) == band}
        edges = {room: set[str]() for room in rooms.values()}
        for module, room in rooms.items():
            edges[room] |= {rooms[each] for each in graph[module] if each in rooms} - {room}
        top = draw_band(drawing, top, band, fill, edges, rooms) + GAP_Y
    base = sorted(path.stem for path in SHIPPED if len(path.parts) == 2 and path.parts[0] == "traceleft")
    names = ", ".join(name for name in base if not name.startswith("__"))
    drawing.box(MARGIN, top, WIDTH - 2 * MARGIN, 44, ["base, which every layer imports", names])
    drawing.height = int(top + 44 + MARGIN)
    return drawing


def draw_band(drawing: Drawing, top: float, band: str, fill: str, edges: Graph, rooms: Mapping[str, str]) -> float:
    """Draw a layer from this height on, and return where it ends; an arrow leads on to the next."""
    rows, ways = rows_of(reduced(edges))
    rows = ordered(rows, ways)
    height = len(rows) * (BOX_HEIGHT + GAP_Y) - GAP_Y + 48
    drawing.frame(MARGIN, top, WIDTH - 2 * MARGIN, height, band)
    levels = {name: top + 32 + level * (BOX_HEIGHT + GAP_Y) for level, row in enumerate(rows) for name in row}
    middles = {name: place for row in rows for name, place in places_of(row).items()}
    for way in ways:
        points = [(middles[name], levels[name]) for name in way]
        for place, ((x1, y1), (x2, y2)) in enumerate(pairwise(points)):
            is_last = place == len(points) - 2
            start = (x1, y1 + BOX_HEIGHT)
            drawing.curve(start, (x2, y2), head=is_last)
            if not is_last:
                drawing.line((x2, y2), (x2, y2 + BOX_HEIGHT))
    for name in (name for row in rows for name in row if ">" not in name):
        room = describe(band, name, [module for module, where in rooms.items() if where == name])
        left = middles[name] - BOX_WIDTH / 2
        drawing.box(left, levels[name], BOX_WIDTH, BOX_HEIGHT, [room.name, *room.words], fill=fill)
    end = top + height
    drawing.arrow((WIDTH / 2, end), (WIDTH / 2, end + GAP_Y - 2))
    if band == BANDS[0]:
        drawing.text(WIDTH / 2 + 12, end + GAP_Y / 2 + 4, "imports", size=11, colour=SOFT, anchor="start")
    return end


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    target.write_text(draw().render())
