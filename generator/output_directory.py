"""Writes what was generated into a directory: only what changed, nothing foreign."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from traceleft.document import read_regular
from traceleft.errors import FormatError, TraceleftError

RECORD: Final = ".traceleft-generated"
"""The file that lists what an earlier run wrote, with digests."""

RECORD_BYTES_MAX: Final = 16 << 20
TEMPORARY: Final = ".traceleft-new-"


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a run did to the directory: paths relative to it, sorted."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int


def write_output(directory: Path, files: Mapping[str, str]) -> WriteResult:
    """Make the directory hold exactly these files.

    Rewrites a file only if its bytes changed, and removes what an earlier run
    wrote and this one does not. A directory that holds other files is refused
    before anything is written.
    """
    try:
        earlier = _read_record(directory)
        _refuse_foreign(directory, earlier)
        return _write(directory, files, earlier)
    except OSError as exc:
        raise TraceleftError(f"{directory}: cannot write what was generated: {exc.strerror}") from exc


def _read_record(directory: Path) -> frozenset[str]:
    path = directory / RECORD
    if not os.path.lexists(path):
        return frozenset()
    try:
        listed = json.loads(read_regular(path, RECORD_BYTES_MAX))
    except (ValueError, RecursionError, FormatError) as exc:
        raise TraceleftError(f"{path}: unreadable; remove the directory and generate again") from exc
    if not isinstance(listed, dict) or not all(_is_inside(name) for name in listed):
        raise TraceleftError(f"{path}: names files elsewhere; remove the directory and generate again")
    return frozenset(listed)


def _is_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and name not in ("", ".")


def _refuse_foreign(directory: Path, earlier: frozenset[str]) -> None:
    if directory.exists() and not directory.is_dir():
        raise TraceleftError(f"{directory}: not a directory; give another with -o")
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        is_ours = name in earlier or name == RECORD or _is_debris(path)
        if not is_ours and (path.is_symlink() or not path.is_dir()):
            raise TraceleftError(f"{path}: not written by traceleft generate; give an empty directory with -o")


def _is_debris(path: Path) -> bool:
    return "__pycache__" in path.parts or path.name.startswith(TEMPORARY)


def _write(directory: Path, files: Mapping[str, str], earlier: frozenset[str]) -> WriteResult:
    stale = sorted(earlier - set(files))
    # The record covers old and new first, so that an interrupted run is not foreign to the next one.
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    added = set(files) - earlier
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if stale or added:
            _write_record(directory, digests | dict.fromkeys(stale, ""))
        written = [name for name, text in sorted(files.items()) if _write_changed(directory / name, text.encode())]
    except BaseException:
        _take_back(directory, added if earlier else {*added, RECORD}, made)
        raise
    for name in stale:
        _remove(directory, directory / name)
    _write_record(directory, digests)
    return WriteResult(tuple(written), tuple(stale), len(files) - len(written))


def _write_record(directory: Path, digests: Mapping[str, str]) -> None:
    _write_changed(directory / RECORD, (json.dumps(digests, sort_keys=True, indent=0) + "\n").encode())


def _write_changed(path: Path, data: bytes) -> bool:
    if path.is_file() and not path.is_symlink() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return True


def _take_back(directory: Path, added: Iterable[str], made: Iterable[Path]) -> None:
    """Remove what a run that failed has added: files, and the directories that it made for them."""
    for name in added:
        with suppress(OSError):
            _remove(directory, directory / name)
    for path in made:
        with suppress(OSError):
            path.rmdir()


def _remove(directory: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent != directory and path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()
