"""Where format texts come from: tracefs, a directory laid out like its `events/`, or a snapshot."""

import gzip
import io
import json
import lzma
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from traceleft.document import read_regular, reason
from traceleft.errors import FormatError, UnsupportedError
from traceleft.generator.format import MAX_BYTES
from traceleft.tracefs import find_tracefs

SNAPSHOT_VERSION: Final = 1
DEFAULT_MACHINE: Final = "x86_64"
UNNAMED_RELEASE: Final = "unnamed"
MAX_SNAPSHOT_BYTES: Final = 64 << 20
MAX_UNPACKER_BYTES: Final = 256 << 20
MAX_EVENTS: Final = 20_000
MAX_CATEGORIES: Final = 1_000

_NAME = re.compile(r"\w{1,128}", re.ASCII)
_RELEASE = re.compile(r"[A-Za-z0-9._+~-]{1,128}", re.ASCII)
_MACHINE = re.compile(r"\w{1,32}", re.ASCII)
_CAPTURE = re.compile(r"(\d[A-Za-z0-9._+~-]{0,120})-(x86_64|i[3-6]86|aarch64|arm\w*|riscv64|s390x|ppc64le)", re.ASCII)
_MAGIC: Final = ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\x00", "xz"))


@dataclass(frozen=True, slots=True)
class FormatSource:
    """The formats of one kernel: `formats` maps `category/event` to text; `place` is what error messages put before."""

    release: str
    machine: str
    formats: Mapping[str, str]
    place: str = ""


def read_source(path: Path | None) -> FormatSource:
    """Open the running kernel's formats, or those of a directory or a snapshot.

    Texts of a directory are read when they are asked for. FormatError or UnsupportedError, whatever the input.
    """
    if path is None:
        uname = os.uname()
        events = find_tracefs() / "events"
        return FormatSource(uname.release, uname.machine, DirectoryFormats(events), f"{events}/")
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as exc:
        raise FormatError(f"cannot be read: {reason(exc)}", file=str(path)) from exc
    if stat.S_ISDIR(mode):
        return _open_directory(path)
    return parse_snapshot(read_regular(path, MAX_SNAPSHOT_BYTES), file=str(path))


def parse_snapshot(data: bytes, *, file: str) -> FormatSource:
    """Read the bytes of a snapshot: one JSON document, by gzip, by xz, or as it is."""
    document = _load_json(_decompress(data, file), file)
    match document:
        case {"snapshot": 1, "release": str(release), "machine": str(machine), "formats": dict(formats)}:
            pass
        case {"snapshot": int(version)} if version != SNAPSHOT_VERSION:
            raise FormatError(f"is a snapshot of version {version}, this traceleft reads {SNAPSHOT_VERSION}", file=file)
        case _:
            raise FormatError("is not a snapshot: make one with `traceleft snapshot -o FILE`", file=file)
    if not _RELEASE.fullmatch(release) or not _MACHINE.fullmatch(machine):
        raise FormatError("names no kernel release and machine", file=file)
    if len(formats) > MAX_EVENTS:
        raise FormatError(f"has more than {MAX_EVENTS} events", file=file)
    for key, text in formats.items():
        if not _is_key(key) or not isinstance(text, str):
            raise FormatError(f"has a format whose key is not category/event: {key[:64]!r}", file=file)
    if not formats:
        raise FormatError("has no event formats in it", file=file)
    return FormatSource(release, machine, MappingProxyType(formats), f"{file}: ")


def write_snapshot(source: FormatSource, path: Path) -> None:
    """Write all formats of `source` as one compressed document, by xz if the name ends in `.xz`.

    The same source gives the same bytes. A file is replaced whole or left as it was.
    """
    formats = dict(sorted(source.formats.items()))
    document = {
        "snapshot": SNAPSHOT_VERSION,
        "release": source.release,
        "machine": source.machine,
        "formats": formats,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    data = lzma.compress(text) if path.suffix == ".xz" else gzip.compress(text, mtime=0)
    try:
        _replace(path, data)
    except OSError as exc:
        raise FormatError(f"cannot be written: {reason(exc)}", file=str(path)) from exc


class DirectoryFormats(Mapping[str, str]):
    """The formats below a directory: names are listed at once, texts read when asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys = dict.fromkeys(_list_events(directory))

    def __getitem__(self, key: str) -> str:
        if key not in self._keys:
            raise KeyError(key)
        path = self._directory / key / "format"
        data = read_regular(path, MAX_BYTES)
        try:
            return data.decode()
        except UnicodeDecodeError as exc:
            line = data.count(b"\n", 0, exc.start) + 1
            raise FormatError("is not text", file=str(path), line=line) from exc

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _open_directory(path: Path) -> FormatSource:
    events = path / "events" if (path / "events" / "syscalls").is_dir() else path
    formats = DirectoryFormats(events)
    if not formats:
        raise FormatError(
            "has no event formats in it; a directory laid out like tracefs events/ is wanted", file=str(path)
        )
    name = _CAPTURE.fullmatch(path.absolute().name)
    release, machine = (name[1], name[2]) if name else (UNNAMED_RELEASE, DEFAULT_MACHINE)
    return FormatSource(release, machine, formats, f"{events}/")


def _list_events(directory: Path) -> list[str]:
    categories = _list_directories(directory)
    if len(categories) > MAX_CATEGORIES:
        raise FormatError(f"has more than {MAX_CATEGORIES} categories of events", file=str(directory))
    keys = [
        f"{category}/{event}"
        for category in categories
        for event in _list_directories(directory / category)
        if os.path.lexists(directory / category / event / "format")
    ]
    if len(keys) > MAX_EVENTS:
        raise FormatError(f"has more than {MAX_EVENTS} events", file=str(directory))
    return keys


def _list_directories(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if _NAME.fullmatch(entry.name) and _is_directory(entry))
    except PermissionError as exc:
        raise UnsupportedError(str(directory), "cannot be read; run as root, or pass formats with --formats") from exc
    except OSError as exc:
        raise FormatError(f"cannot be read: {reason(exc)}", file=str(directory)) from exc


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _decompress(data: bytes, file: str) -> bytes:
    method = next((method for magic, method in _MAGIC if data.startswith(magic)), "")
    try:
        match method:
            case "gzip":
                with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
                    text = unpacked.read(MAX_SNAPSHOT_BYTES + 1)
            case "xz":
                unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_UNPACKER_BYTES)
                text = unpacker.decompress(data, MAX_SNAPSHOT_BYTES + 1)
                if not unpacker.eof and len(text) <= MAX_SNAPSHOT_BYTES:
                    raise EOFError("compressed file ended too early")
            case _:
                text = data
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as exc:
        raise FormatError(f"cannot be decompressed: {reason(exc)}", file=file) from exc
    if len(text) > MAX_SNAPSHOT_BYTES:
        raise FormatError(f"is longer than {MAX_SNAPSHOT_BYTES} bytes when decompressed", file=file)
    return text


def _load_json(text: bytes, file: str) -> object:
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise FormatError("is not a snapshot: make one with `traceleft snapshot -o FILE`", file=file) from exc
    return document


def _is_key(key: str) -> bool:
    category, separator, event = key.partition("/")
    return bool(separator and _NAME.fullmatch(category) and _NAME.fullmatch(event))


def _replace(path: Path, data: bytes) -> None:
    """Replace a file in one step; what is not a regular file (`/dev/null`, a FIFO) is written into."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(data)
            file.flush()
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(file.fileno(), 0o666 & ~mask)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
