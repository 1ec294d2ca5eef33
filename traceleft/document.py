"""Files that people write by hand: read within bounds, TOML with the line that a mistake is on."""

import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from traceleft.errors import FormatError
from traceleft.expression import suggest

MAX_TOML_BYTES: Final = 1 << 18
# tomllib takes time and memory that grow with the square of a key's parts.
MAX_DOTS: Final = 64

_QUOTED = re.compile(r"\"(?:\\.|[^\"\\])*\"|'[^']*'")
_AT_LINE = re.compile(r"\(at line (\d{1,9}), column \d{1,9}\)|\(at end of document\)")


def read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; a FIFO or a device is not waited for."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FormatError("is not a regular file", file=str(path))
            data = file.read(limit + 1)
    except (OSError, ValueError) as exc:
        raise FormatError(f"cannot be read: {reason(exc)}", file=str(path)) from exc
    if len(data) > limit:
        raise FormatError(f"is longer than {limit} bytes", file=str(path))
    return data


def reason(exc: BaseException) -> str:
    """Return what an exception says, without the number and the name of a file."""
    return (getattr(exc, "strerror", None) or str(exc) or type(exc).__name__).lower()


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML document, the file that errors name, and its text, which lines are found in."""

    file: str
    text: str = ""
    table: Mapping[str, object] = field(default_factory=dict)

    def line_of(self, name: str, *, after: int = 0) -> int | None:
        """Return the first line beyond `after` that has `name` as a word, the place that an error is shown at."""
        word = re.compile(rf"(?<![\w:]){re.escape(name)}(?![\w:])")
        lines = [(number, line) for number, line in enumerate(self.text.split("\n"), 1) if number > after]
        code = [(number, line) for number, line in lines if not line.lstrip().startswith("#")]
        return next((number for number, line in code if word.search(line)), None)

    def error(self, message: str, line: int | None = None) -> FormatError:
        """Return the error for a line."""
        return FormatError(message, file=self.file, line=line)

    def check_keys(self, table: Mapping[str, object], known: Sequence[str], *, after: int = 0) -> None:
        """Raise FormatError for a key that is not known, with the nearest ones; its line is beyond `after`."""
        for key in table:
            if key not in known:
                hint = suggest(key, known) or f"; known: {', '.join(known)}"
                raise self.error(f"unknown key {key!r}{hint}", self.line_of(key, after=after) or after or None)


def read_toml(path: Path) -> Document:
    """Read a TOML file; FormatError whatever its bytes."""
    data = read_regular(path, MAX_TOML_BYTES)
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise FormatError("is not text", file=str(path), line=data.count(b"\n", 0, exc.start) + 1) from exc
    return parse_toml(text, file=str(path))


def parse_toml(text: str, *, file: str) -> Document:
    """Parse the text of a TOML file; FormatError names the line where it is invalid."""
    for number, row in enumerate(text.split("\n"), 1):
        if row.count(".") > MAX_DOTS and _QUOTED.sub("", row).count(".") > MAX_DOTS:
            raise FormatError(f"has a key of more than {MAX_DOTS} parts", file=file, line=number)
    try:
        return Document(file, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as exc:
        place = _AT_LINE.search(str(exc))
        line = int(place[1]) if place and place[1] else text.count("\n") + 1
        message = _AT_LINE.sub("", str(exc)).strip()
        raise FormatError(f"is not TOML: {message[:1].lower()}{message[1:]}", file=file, line=line) from exc
    except (RecursionError, ValueError) as exc:
        raise FormatError("is nested too deeply or has a number too long", file=file) from exc
