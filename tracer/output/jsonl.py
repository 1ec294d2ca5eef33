"""One event as one line of JSON.

Keys and their order are those of ``Event.to_dict``. ``raw`` adds ``"raw"``, the arguments as unsigned integers;
``paths`` (of ``fdnames``) adds ``"paths"``, the names of the file descriptors by argument, ``ret`` among them. Texts
that are not UTF-8 add ``"bytes"`` (see ``traceleft.tracer.decode.texts``).
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from traceleft.tracer.decode.event import Event
from traceleft.tracer.decode.texts import mark_bytes

_encode: Final = msgspec.json.Encoder().encode


def to_json_line(event: Event, *, raw: bool = False, paths: Mapping[str, str] | None = None) -> bytes:
    """Return the event's line, its newline included."""
    shown = event.to_dict()
    if raw:
        shown["raw"] = [*event.raw]
    if paths:
        shown["paths"] = {**paths}
    try:
        return _encode(shown) + b"\n"
    except UnicodeEncodeError:
        return _encode(mark_bytes(shown)) + b"\n"
