"""Texts that traced programs wrote, byte for byte, and what each format makes of them.

In Python a text is what ``os.fsdecode`` gives: UTF-8, and each other byte as a lone surrogate (U+DC80 to U+DCFF), so
that ``os.fsencode`` gives the bytes back. No lone surrogate may stand in UTF-8: JSON has U+FFFD there, and the bytes
under a key of their own (``mark_bytes``); columns of Arrow, Parquet and CSV have private characters (``to_column``).
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

ARGS: Final = "args"
BYTES: Final = "bytes"
_REPLACEMENT: Final = "\ufffd"
# Plane 16's last private characters stand for bytes 0x80 to 0xff.
_PRIVATE: Final = 0x10FF00
_LONE: Final = re.compile("[\ud800-\udfff]")
_NO_COLUMN: Final = re.compile("[\ud800-\udfff\U0010ff80-\U0010ffff]")
_STANDS_FOR_BYTES: Final = re.compile("[\U0010ff80-\U0010ffff]+")


def to_text(data: bytes) -> str:
    """Return bytes as ``os.fsdecode`` does: any bytes, and ``to_bytes`` gives them back."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Return the bytes of a text."""
    return text.encode("utf-8", "surrogateescape")


def mark_bytes(document: Mapping[str, Any], *, key: str = BYTES) -> dict[str, Any]:
    """Return a JSON object with U+FFFD for each byte that is not UTF-8.

    The exact bytes of those texts are added as base64 under ``key``, by their place: ``filename``, ``argv[1]``,
    ``msg.iov[0].data``. Members of ``args`` go by their own names, unless another member has such a name.
    """
    found: dict[str, str] = {}
    marked = {}
    for name, value in document.items():
        if name == ARGS and isinstance(value, Mapping):
            marked[name] = {
                each: _mark(item, f"{ARGS}.{each}" if each in document else each, found) for each, item in value.items()
            }
        else:
            marked[name] = _mark(value, name, found)
    return {**marked, key: found} if found else marked


def _mark(value: Any, place: str, found: dict[str, str]) -> Any:
    match value:
        case str():
            if not _LONE.search(value):
                return value
            found[place] = b64encode(to_bytes(value)).decode()
            return _LONE.sub(_REPLACEMENT, value)
        case list() | tuple():
            return [_mark(item, f"{place}[{rank}]", found) for rank, item in enumerate(value)]
        case Mapping():
            return {name: _mark(item, f"{place}.{name}", found) for name, item in value.items()}
    return value


def to_column(text: str) -> str:
    """Return a text as a column of UTF-8 has it: U+10FFNN for each byte 0xNN that is not UTF-8.

    A text that has such a character itself has four of them in its place, so that ``from_column`` undoes it.
    """
    return _NO_COLUMN.sub(_to_private, text) if _NO_COLUMN.search(text) else text


def _to_private(found: re.Match[str]) -> str:
    return "".join(chr(_PRIVATE + byte) for byte in to_bytes(found[0]))


def from_column(text: str) -> str:
    """Return the text that ``to_column`` made a column's of."""
    if not _STANDS_FOR_BYTES.search(text):
        return text
    parts = _STANDS_FOR_BYTES.split(text)
    runs = _STANDS_FOR_BYTES.findall(text)
    data = to_bytes(parts[0])
    for run, part in zip(runs, parts[1:], strict=True):
        data += bytes(ord(each) - _PRIVATE for each in run) + to_bytes(part)
    return to_text(data)


def value_to_column(value: Any) -> Any:
    """Return a value with each text in it as ``to_column`` has it."""
    return _map_texts(to_column, value)


def value_from_column(value: Any) -> Any:
    """Return a value with each text in it as ``from_column`` has it."""
    return _map_texts(from_column, value)


def _map_texts(change: Callable[[str], str], value: Any) -> Any:
    match value:
        case str():
            return change(value)
        case list():
            return [_map_texts(change, item) for item in value]
        case dict():
            return {name: _map_texts(change, item) for name, item in value.items()}
    return value
