"""The elements of a report page, and the page itself: one file that needs nothing else. Values in, text out.

What is in it comes from traced programs: all of it is text and never markup, and a content security policy lets no
script run but the two that this module puts there, and no request go out.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from traceleft.aggregator.pages.charts import Chart

TEXT_MAX: Final = 300
"""Characters of a text that are shown; a path has up to 4,096."""

# Controls, marks that turn the direction of text around, and halves of surrogate pairs.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_RESOURCES: Final = "traceleft.aggregator.pages"


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table: its head, and whether it holds numbers, which stand to the right."""

    name: str
    is_number: bool = False
    title: str = ""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A line of a table: its cells as text, and what it is: a row, ``other``, or the ``total``.

    ``wrong`` are the places of cells that tell of something that should not be.
    """

    cells: Sequence[str]
    kind: str = ""
    wrong: frozenset[int] = frozenset()


def escape(text: str) -> str:
    """Return text as it stands in markup, also in an attribute; what cannot be seen as its code."""
    return html.escape(visible(text))


def visible(text: str) -> str:
    """Return text with what cannot be seen as its code, cut where it is long."""
    shown = text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
    return _UNSEEN.sub(_code_of, shown)


def _code_of(found: re.Match[str]) -> str:
    code = ord(found[0])
    code = code & 0xFF if code >> 8 == 0xDC else code  # a byte that is not UTF-8
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def table(caption: str, columns: Sequence[TableColumn], lines: Iterable[TableRow]) -> str:
    """Return a table, its first cells heads of their rows, that scrolls sideways where there is little room."""
    heads = "".join(f"<th{_class(column)}{_title(column)} scope=col>{escape(column.name)}</th>" for column in columns)
    body = "".join(_line(line, columns) for line in lines)
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _line(line: TableRow, columns: Sequence[TableColumn]) -> str:
    cells = []
    for place, (cell, column) in enumerate(zip(line.cells, columns, strict=True)):
        tag, scope = ("td", "") if place else ("th", " scope=row")
        name = "number" if column.is_number else "text"
        wrong = " wrong" if place in line.wrong else ""
        cells.append(f'<{tag} class="{name}{wrong}"{scope}>{escape(cell)}</{tag}>')
    kind = f' class="{line.kind}"' if line.kind else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _class(column: TableColumn) -> str:
    return " class=number" if column.is_number else ""


def _title(column: TableColumn) -> str:
    return f' title="{escape(column.title)}"' if column.title else ""


def section(title: str, *parts: str) -> str:
    """Return a part of the page under its heading; ``parts`` are markup."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>\n"


def paragraph(text: str, kind: str = "soft") -> str:
    """Return a paragraph of text."""
    return f'<p class="{kind}">{escape(text)}</p>'


def details(title: str, body: str, *, is_open: bool = False) -> str:
    """Return markup that opens and closes."""
    return f"<details{' open' if is_open else ''}><summary>{escape(title)}</summary>{body}</details>"


def cards(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a row of names and what is most to be known of each."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f"<dl class=cards>{items}</dl>\n"


def chart(drawn: Chart) -> str:
    """Return a figure: the element that it is drawn in, its data, and what to pick from, where it has several parts."""
    name = drawn.name
    picks = ""
    if drawn.picks:
        options = "".join(f"<option>{escape(each)}</option>" for each in drawn.picks)
        picks = f'<label class=pick>{escape(drawn.pick_label)} <select id="{name}-pick">{options}</select></label>'
    return (
        f'{picks}<div class=chart id="{name}" role=img aria-label="{escape(drawn.summary)}" '
        f'style="height:{drawn.height}px"></div>'
        f'<script type="application/json" id="{name}-data">{_json(_checked(drawn))}</script>'
    )


def page(title: str, subtitle: str, body: Iterable[str]) -> str:
    """Return the page; ``body`` is markup. The same values give the same text."""
    main = "".join(body)
    scripts = (_plotly(), _read("page.js")) if "<div class=chart" in main else ()
    tags = "".join(f"<script>{script}</script>\n" for script in scripts)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {_hashes(scripts)}"
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
        f'<meta http-equiv=Content-Security-Policy content="{policy}">\n'
        '<meta name=viewport content="width=device-width, initial-scale=1">\n'
        '<meta name=color-scheme content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{_read('page.css')}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1>{paragraph(subtitle)}</header>\n<main>\n"
        f"<noscript>{paragraph('Without JavaScript there are tables, and no figures.', 'notice')}</noscript>\n"
        f"{main}</main>\n<footer>{_footer()}</footer>\n{tags}</body></html>\n"
    )


def _footer() -> str:
    from traceleft.version import __version__

    return escape(f"Made by traceleft {__version__}. Times are UTC; nothing is loaded from elsewhere.")


def _hashes(scripts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


def _json(value: object) -> str:
    """Return JSON that cannot end the element that it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _read(name: str) -> str:
    return (files(_RESOURCES) / "static" / name).read_text("utf-8")


@cache
def _plotly() -> str:
    """Return the library that draws; an element holds it as it is."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    # A parser of markup makes one line end of these, and the policy goes by what is parsed.
    script = script.replace("\r\n", "\n").replace("\r", "\n")
    if re.search(r"</script|<!--", script, re.IGNORECASE):
        raise AssertionError("plotly.js cannot stand in a page as it is")
    return script


def _checked(drawn: Chart) -> dict[str, Any]:
    """Return a figure's data and layout, once plotly has found them to be some; ``ValueError`` where not."""
    from plotly.graph_objects import Figure

    Figure(data=drawn.data, layout=drawn.layout)
    return {"data": drawn.data, "layout": drawn.layout}
