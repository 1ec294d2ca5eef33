"""The kernel's event format text → `Format`."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from traceleft.errors import FormatError

MAX_BYTES: Final = 1 << 20
MAX_FIELDS: Final = 512
MAX_LINE: Final = 1024
MAX_OFFSET: Final = 0xFFFF

_EVENT_NAME = re.compile(r"[A-Za-z_]\w{0,127}", re.ASCII)
_FIELD_NAME = re.compile(r"[A-Za-z_]\w{0,127}", re.ASCII)
_NUMBER = re.compile(r"\d{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event: `type` without the name, `array` the text between the brackets after it."""

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    array: str | None
    line: int

    @property
    def is_common(self) -> bool:
        """True for the header fields that all events of a kernel have."""
        return self.name.startswith("common_")

    @property
    def is_data_loc(self) -> bool:
        """True where the field holds the place of the data and not the data."""
        return self.type.startswith(("__data_loc ", "__rel_loc "))


@dataclass(frozen=True, slots=True)
class Format:
    """A format file: `fields` in the order of their offsets, `digest` over the text less its ID line."""

    name: str
    file: str
    fields: tuple[Field, ...]
    print_fmt: str
    digest: str

    @property
    def own_fields(self) -> tuple[Field, ...]:
        """The fields less the common header."""
        return tuple(field for field in self.fields if not field.is_common)


def parse_format(text: str, *, file: str) -> Format:
    """Parse the text of a `format` file; whatever the text, only `FormatError` comes out."""
    if len(text) > MAX_BYTES:
        raise FormatError(f"is longer than {MAX_BYTES} characters; no format file is", file=file)
    if not text.strip():
        raise FormatError("is empty", file=file)
    head, separator, print_fmt = text.partition("\nprint fmt:")
    if "\0" in head:
        raise FormatError("is not text", file=file, line=head.count("\n", 0, head.index("\0")) + 1)
    lines = head.split("\n")
    name = _read_name(lines[0], file)
    fields = _read_fields(lines, file)
    if not separator or not text.endswith("\n"):
        raise FormatError("is cut off: no whole `print fmt:` line", file=file, line=text.count("\n") + 1)
    if not fields:
        raise FormatError("has no fields", file=file)
    return Format(name, file, fields, print_fmt.strip(), digest_formats(text))


def digest_formats(*texts: str) -> str:
    """Digest format texts less their ID lines, which number the events of one boot."""
    digest = hashlib.sha256()
    for text in texts:
        lines = [line for line in text.split("\n") if not line.startswith("ID:")]
        digest.update("\n".join(lines).encode(errors="surrogatepass") + b"\0")
    return f"sha256:{digest.hexdigest()}"


def _read_name(line: str, file: str) -> str:
    key, separator, name = line.partition(":")
    if key != "name" or not separator or not _EVENT_NAME.fullmatch(name.strip()):
        raise FormatError("is not a format file: it does not begin with `name: EVENT`", file=file, line=1)
    return name.strip()


def _read_fields(lines: list[str], file: str) -> tuple[Field, ...]:
    fields = [
        _read_field(line, file, number) for number, line in enumerate(lines, 1) if line.lstrip().startswith("field:")
    ]
    if len(fields) > MAX_FIELDS:
        raise FormatError(f"has more than {MAX_FIELDS} fields", file=file)
    return tuple(sorted(fields, key=lambda field: field.offset))


def _read_field(line: str, file: str, number: int) -> Field:
    if len(line) > MAX_LINE:
        raise FormatError(f"field is longer than {MAX_LINE} characters", file=file, line=number)
    parts = [part.strip() for part in line.split(";")]
    keys = dict(part.split(":", 1) for part in parts[1:] if ":" in part)
    offset, size, signed = (_read_number(keys, key, file, number) for key in ("offset", "size", "signed"))
    if size > MAX_OFFSET - min(offset, MAX_OFFSET):
        raise FormatError(f"field ends beyond {MAX_OFFSET} bytes", file=file, line=number)
    type_, name, array = _split_declaration(parts[0].removeprefix("field:").strip(), file, number)
    return Field(name, type_, offset, size, bool(signed), array, number)


def _read_number(keys: dict[str, str], key: str, file: str, line: int) -> int:
    text = keys.get(key)
    if text is None:
        raise FormatError(f"field has no {key}", file=file, line=line)
    if not _NUMBER.fullmatch(text):
        raise FormatError(f"field has no number as its {key}", file=file, line=line)
    return int(text)


def _split_declaration(declaration: str, file: str, line: int) -> tuple[str, str, str | None]:
    """Split `char comm[16]` into type, name and what stands in the brackets."""
    end = len(declaration)
    while declaration.endswith("]", 0, end) and "[" in declaration[:end]:
        end = declaration.rindex("[", 0, end)
    stem = declaration[:end].rstrip()
    start = max(stem.rfind(mark) for mark in " \t*]") + 1
    type_ = stem[:start].strip()
    if not _FIELD_NAME.fullmatch(stem, start) or not type_ or not type_.isprintable():
        raise FormatError("field has no type and name", file=file, line=line)
    return " ".join(type_.split()), stem[start:], declaration[end + 1 : -1].strip() if end < len(declaration) else None
