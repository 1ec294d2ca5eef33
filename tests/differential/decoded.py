"""What strace decodes and we show otherwise: directory entries, masks, addresses, control messages."""

import socket

from tests.differential.numbers import NUMBERS, literal, number
from tests.differential.strace_text import Items, Struct, Text, Value, Word


def holds(data: bytes, theirs: Value) -> bool:
    """Tell whether bytes hold what strace decodes: directory entries, integers (socket options), a mask of CPUs."""
    if not isinstance(theirs, Items):
        return False
    if all(isinstance(value, Struct) for value in theirs.values):
        return _read_entries(data) == [_show_entry(value) for value in theirs.values][: len(_read_entries(data))]
    words = [value.text for value in theirs.values if isinstance(value, Word)]
    numbers = [value for value in (number(word, NUMBERS) for word in words) if value is not None]
    if len(numbers) != len(theirs.values):
        return False
    mask = sum(1 << bit for bit in set(numbers) if 0 <= bit < 1024)
    return data == b"".join((n & 0xFFFFFFFF).to_bytes(4, "little") for n in numbers) or (
        len(data) % 8 == 0 and int.from_bytes(data, "little") == mask
    )


def _read_entries(data: bytes) -> list[tuple[int, str]]:
    """Return length and name of the directory entries that lie whole in the bytes."""
    entries, at = [], 0
    while at + 19 <= len(data):
        length = int.from_bytes(data[at + 16 : at + 18], "little")
        if at + length > len(data):
            break
        entries.append((length, data[at + 19 : at + length].partition(b"\0")[0].decode()))
        at += max(length, 19)
    return entries


def _show_entry(entry: Value) -> tuple[int | None, str]:
    length, name = (entry.get("d_reclen"), entry.get("d_name")) if isinstance(entry, Struct) else (None, None)
    shown = name.data.decode() if isinstance(name, Text) else ""
    return (literal(length.text) if isinstance(length, Word) else None), shown


def show_sockaddr(theirs: Struct) -> dict[str, object]:
    """Return strace's socket address in the form of ours."""
    shown: dict[str, object] = {}
    for name, value in theirs.members:
        text = value.text if isinstance(value, Word) else ""
        quoted = text.split('"')[1] if text.count('"') == 2 else ""
        if name == "sa_family":
            shown["family"] = text
        elif name in ("sin_port", "sin6_port"):
            shown["port"] = number(text, {})
        elif name == "sin_addr":
            shown["addr"] = quoted
        elif name == "" and text.startswith("inet_pton(AF_INET6"):
            shown["addr"] = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, quoted))
        elif name == "sun_path" and isinstance(value, Text):
            shown["path"] = value.data.replace(b"\0", b"@").decode()
    return shown


def control_agrees(ours: list[dict[str, object]], theirs: Items) -> bool:
    """Tell whether control messages are the same."""
    if len(ours) != len(theirs.values):
        return False
    for one, other in zip(ours, theirs.values, strict=True):
        data = other.get("cmsg_data") if isinstance(other, Struct) else None
        kind = other.get("cmsg_type") if isinstance(other, Struct) else None
        if not isinstance(kind, Word) or kind.text != one["type"]:
            return False
        if isinstance(data, Items) and [literal(v.text) for v in data.values if isinstance(v, Word)] != one.get("fds"):
            return False
    return True
