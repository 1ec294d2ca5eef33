"""How sound inputs are made into hostile ones: of bytes, of text, of documents; all by a generator with a seed."""

import copy
import json
import re
import string
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

NUMBERS: Final = (0, 1, -1, 2, 7, 8, 255, 256, 4095, 4096, 65535, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, 1 << 64)
MARKS: Final = (
    *("\x1b[2J", "\x07", "\r", "\n", "\0", "\x85", "\x9b31m", "\u202e", "\u2066", "\u2028", "\u200f", "\ud800", "ÿ"),
    *("(" * 60, "[" * 60, "{" * 60, "." * 60, "-" * 60, "not " * 60, "9" * 5000, "0x" + "f" * 4000, "1e999", "nan"),
    *("../" * 9, "/" * 300, "%s%n", "{0}", "{a.__class__}", '"', "'", "\\", "#", "=", "*/", "//", "${x}", "A" * 5000),
)
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 1 << 31, 1 << 63, 1 << 64, -(1 << 63), 10**400, 0.5, 1e308),
    *("", "x", "\0", "x" * 5000, "\u202e", [], {}, [[]], [None], {"": 0}, [0] * 5000, "int", "fd", "struct"),
)
_TOKEN: Final = re.compile(r"\w{1,80}|\"[^\"\n]{0,80}\"")
MAX_NODES: Final = 20_000
# One edit, mostly: what is wrong in two places is refused at the first.
EDITS: Final = (1, 1, 1, 2, 4)


def mutate_bytes(random: Random, data: bytes) -> bytes:
    """Return bytes with some edits."""
    found = bytearray(data)
    for _ in range(random.choice(EDITS)):
        random.choice(_BYTE_EDITS)(random, found)
    return bytes(found)


def _flip(random: Random, data: bytearray) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _put_number(random: Random, data: bytearray) -> None:
    form = random.choice("BHIQ")
    size = struct.calcsize(form)
    at = random.randrange(max(len(data) - size, 0) + 1)
    data[at : at + size] = (random.choice(NUMBERS) & ((1 << 8 * size) - 1)).to_bytes(size, random.choice(ENDS))


def _put_random(random: Random, data: bytearray) -> None:
    at, size = _span(random, data, 40)
    data[at : at + size] = random.randbytes(random.randint(0, 40))


def _cut(random: Random, data: bytearray) -> None:
    at, size = _span(random, data, 300)
    del data[at : at + size]


def _cut_end(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data) + 1) :]


def _repeat(random: Random, data: bytearray) -> None:
    at, size = _span(random, data, 300)
    data[at:at] = data[at : at + size] * random.choice((1, 1, 2, 30))


def _move(random: Random, data: bytearray) -> None:
    at, size = _span(random, data, 100)
    taken = data[at : at + size]
    to = random.randrange(len(data) + 1)
    data[to : to + size] = taken


def _span(random: Random, data: bytearray, longest: int) -> tuple[int, int]:
    return random.randrange(len(data) + 1), random.randint(0, longest)


ENDS: Final[tuple[Any, ...]] = ("little", "big")
_BYTE_EDITS: Final[Sequence[Callable[[Random, bytearray], None]]] = (
    *(_flip, _flip, _put_number, _put_number, _put_random, _cut, _cut_end, _repeat, _move),
)


def mutate_text(random: Random, text: str, *, words: Sequence[str] = ()) -> str:
    """Return a text with some edits; ``words`` are those of its language."""
    for _ in range(random.choice(EDITS)):
        tokens = [*_TOKEN.finditer(text)]
        if tokens and random.random() < 0.5:
            start, end = random.choice(tokens).span()
            other = random.choice((random.choice(tokens)[0], random.choice(tokens)[0], str(random.choice(NUMBERS))))
            text = text[:start] + other + text[end:]
            continue
        at = random.randrange(len(text) + 1)
        end = min(len(text), at + random.choice((0, 0, 1, 3, 20, 200)))
        text = text[:at] + _piece(random, text, words) + text[end:]
    return text


def _piece(random: Random, text: str, words: Sequence[str]) -> str:
    """Return what is put into a text: a mark, a word, a number, a part of itself, or nothing."""
    at = random.randrange(len(text) + 1)
    return random.choice(
        (
            "",
            random.choice(MARKS),
            random.choice(words or MARKS),
            random.choice(words or MARKS),
            str(random.choice(NUMBERS)),
            text[at : at + random.randint(0, 80)],
            random.choice(string.printable),
            chr(random.randrange(0x110000)),
        )
    )


def mutate_document(random: Random, document: Any) -> Any:
    """Return a document of JSON's types with some of its parts replaced, removed, repeated, or exchanged."""
    top = {"": copy.deepcopy(document)}
    for _ in range(random.choice(EDITS)):
        top.setdefault("", None)
        places = _places(top)
        container, key = random.choice(places)
        if random.random() < 0.15:
            _remove(random, container, key)
        else:
            container[key] = _other(random, container[key], places)
    return top.get("")


def _places(top: Any) -> list[tuple[Any, Any]]:
    """Return where each part of a document is."""
    found: list[tuple[Any, Any]] = []
    waiting = [top]
    while waiting and len(found) < MAX_NODES:
        each = waiting.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        found += [(each, key) for key in keys]
        waiting += [each[key] for key in keys]
    return found


def _remove(random: Random, container: Any, key: Any) -> None:
    if isinstance(container, dict) and random.random() < 0.5:
        container[random.choice((random.choice(MARKS), mutate_text(random, str(key))))] = container.pop(key)
    else:
        del container[key]


def _other(random: Random, value: Any, places: list[tuple[Any, Any]]) -> Any:
    """Return what stands in place of a part."""
    if isinstance(value, str) and random.random() < 0.5:
        return mutate_text(random, value)
    if type(value) is int and random.random() < 0.5:
        return value + random.choice((-1, 1, 8, -8, *NUMBERS))
    if random.random() < 0.3:
        container, key = random.choice(places)
        return copy.deepcopy(container[key]) if container is not value else None
    return copy.deepcopy(random.choice(VALUES))


def encode_document(random: Random, document: Any) -> bytes:
    """Return a document as JSON; of some that hold an empty list it becomes one in very many others."""
    text = json.dumps(document)
    if random.random() < 0.02:
        depth = random.choice((100, 1_000, 100_000))
        text = text.replace("[]", "[" * depth + "]" * depth, 1)
    return text.encode()


def words_of(text: str) -> list[str]:
    """Return the words of a language, which ``~`` separates."""
    return text.split("~")
