"""Boxes, arrows and words as SVG: what the drawings of the documentation are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

INK: Final = "#1f2933"
SOFT: Final = "#616e7c"
FILLS: Final = {
    "blue": ("#e3edfb", "#5b8def"),
    "green": ("#e2f4ea", "#4caf7d"),
    "yellow": ("#fdf3d7", "#d9a514"),
    "red": ("#fbe4e2", "#d9635b"),
    "grey": ("#f0f2f5", "#9aa5b1"),
    "violet": ("#ece6fa", "#8b6fd6"),
}
LINE_PX: Final = 17


@dataclass
class Drawing:
    """A drawing of some size; each method adds a shape."""

    width: int
    height: int
    title: str
    shapes: list[str] = field(default_factory=list)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = 13,
        colour: str = INK,
        anchor: str = "middle",
        bold: bool = False,
    ) -> None:
        """Add a line of text whose baseline is at y."""
        weight = ' font-weight="600"' if bold else ""
        self.shapes.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}>'
            f"{escape(words)}</text>"
        )

    def box(self, x: float, y: float, width: float, height: float, lines: Sequence[str], *, fill: str = "grey") -> None:
        """Add a box whose first line is its name, and the others what it holds."""
        inside, edge = FILLS[fill]
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{inside}" stroke="{edge}"/>'
        )
        top = y + (height - LINE_PX * len(lines)) / 2 + 13
        for place, line in enumerate(lines):
            is_name = place == 0
            self.text(
                x + width / 2,
                top + place * LINE_PX,
                line,
                size=13 if is_name else 11,
                colour=INK if is_name else SOFT,
                bold=is_name,
            )

    def frame(self, x: float, y: float, width: float, height: float, name: str) -> None:
        """Add a dashed frame around what belongs together, with its name at the upper left."""
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="none" stroke="#9aa5b1" '
            'stroke-dasharray="5 4"/>'
        )
        self.text(x + 10, y + 18, name, size=12, colour=SOFT, anchor="start")

    def arrow(self, *points: tuple[float, float], words: str = "", dashed: bool = False, colour: str = SOFT) -> None:
        """Add a line through points, with a head at its end and words above its first piece's middle."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        dashes = ' stroke-dasharray="4 3"' if dashed else ""
        self.shapes.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4" marker-end="url(#head)"{dashes}/>'
        )
        if words:
            (x1, y1), (x2, y2) = points[:2]
            self.text((x1 + x2) / 2, (y1 + y2) / 2 - 6, words, size=11, colour=SOFT)

    def curve(self, start: tuple[float, float], end: tuple[float, float], *, head: bool = True) -> None:
        """Add a line that leaves downwards and arrives downwards, with or without a head."""
        (x1, y1), (x2, y2) = start, end
        bend = (y2 - y1) / 2
        marker = ' marker-end="url(#head)"' if head else ""
        self.shapes.append(
            f'<path d="M{x1:g} {y1:g} C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}" fill="none" '
            f'stroke="{SOFT}" stroke-width="1.3"{marker}/>'
        )

    def line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Add a piece of a line that goes on."""
        (x1, y1), (x2, y2) = start, end
        self.shapes.append(f'<path d="M{x1:g} {y1:g} L{x2:g} {y2:g}" fill="none" stroke="{SOFT}" stroke-width="1.3"/>')

    def render(self) -> str:
        """Return the document."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" font-family="system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif" '
            'role="img">'
        )
        marker = (
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z" fill="{SOFT}"/></marker></defs>'
        )
        background = f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>'
        return "\n".join([head, f"<title>{escape(self.title)}</title>", marker, background, *self.shapes, "</svg>", ""])
