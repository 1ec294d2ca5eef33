"""Events as Parquet: ``host=…/day=YYYY-MM-DD/…parquet`` below one directory, which is what engines read.

A file is written under a name that no engine reads, and gets its own when it is complete: what a reader sees is whole.
"""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow
import pyarrow.compute
from pyarrow import parquet

from traceleft.aggregator.rollups.columns import COLUMNS
from traceleft.aggregator.stored.arrow_table import SCHEMA
from traceleft.errors import FormatError

DAY: Final = "day"
"""The partition that is not a column of events."""
NS_A_DAY: Final = 86_400_000_000_000
ROWS_A_GROUP: Final = 1 << 17
ROWS_A_FILE: Final = 1 << 22
UNFINISHED: Final = ".unfinished"
"""How names of files end while they are written; they also begin with a dot, so that no engine reads them."""
_ESCAPED: Final = re.compile(r"(?![A-Za-z0-9_.~-])[\x00-\x7f]")
_EPOCH: Final = date(1970, 1, 1)
# As pyarrow names what the system refused.
_ERRNO: Final = re.compile(r"\[errno ([0-9]{1,4})\]")
_PARTITION: Final = re.compile(rf"host=[^/]+/{DAY}=([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})/[^/]+")


@dataclass(frozen=True, slots=True)
class Days:
    """From one day (UTC) to another, both included; None is without an end."""

    since: date | None = None
    until: date | None = None

    def holds(self, day: str | None) -> bool:
        """Tell whether a day (YYYY-MM-DD) may be one of them; None, an unknown one, may."""
        is_after = day is None or self.since is None or self.since.isoformat() <= day
        return is_after and (day is None or self.until is None or day <= self.until.isoformat())


@dataclass(frozen=True, slots=True)
class Data:
    """A directory of events, and its files; those of a partitioned one lie in ``host=…/day=…``."""

    path: Path
    files: tuple[Path, ...]
    is_partitioned: bool

    def within(self, days: "Days") -> "Data":
        """Return the data without the files of other days; where it is not partitioned, all of it.

        One file is left where all belong to other days: engines read at least one.
        """
        files = tuple(file for file in self.files if days.holds(_day_of(self.path, file)))
        return replace(self, files=files or self.files[:1])


def start_of(day: date) -> int:
    """Return when a day begins (UTC), in nanoseconds since the epoch."""
    return (day - _EPOCH).days * NS_A_DAY


def partition_of(host: str, day: int) -> str:
    """Return the directory of a host's events of a day (since the epoch), below the data's."""
    # Spark takes each escape for a character by itself: only ASCII has one.
    escaped = _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", host)
    return f"host={escaped}/{DAY}={(_EPOCH + timedelta(days=day)).isoformat()}"


class ParquetWriter:
    """Writes tables of events into partitions; ``flush`` completes files, and so does closing.

    Rows wait until they fill a row group. A failed write leaves what was completed before, and no file in part.
    Files are named after their first event and ``stem``, which is random if not given: a file of the same name, which
    the same rows written again have, is replaced.
    """

    def __init__(
        self,
        directory: Path,
        *,
        stem: str | None = None,
        rows_a_group: int = ROWS_A_GROUP,
        rows_a_file: int = ROWS_A_FILE,
    ) -> None:
        self._directory = directory
        self._stem = stem
        self._rows_a_group = rows_a_group
        self._rows_a_file = rows_a_file
        self._open: dict[str, _File] = {}

    def write(self, table: pyarrow.Table) -> None:
        """Take a table of ``table.SCHEMA``."""
        for partition, part in split(table):
            file = self._open.get(partition)
            if file is None:
                file = self._open[partition] = _File(self._directory / partition, self._stem, self._rows_a_group)
            try:
                file.write(part)
            except BaseException:
                self._open.pop(partition).discard()
                raise
            if file.rows >= self._rows_a_file:
                self._open.pop(partition).complete()

    def flush(self) -> None:
        """Complete every file: readers see all that was written. The next row opens another."""
        while self._open:
            self._open.popitem()[1].complete()

    def close(self) -> None:
        """Complete every file."""
        try:
            self.flush()
        finally:
            while self._open:
                self._open.popitem()[1].discard()

    def __enter__(self) -> "ParquetWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _File:
    """One file while it is written."""

    def __init__(self, directory: Path, stem: str | None, rows_a_group: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._stem = stem or secrets.token_hex(8)
        self._rows_a_group = rows_a_group
        self._waiting: list[pyarrow.Table] = []
        self._waiting_rows = 0
        self._first_ts: int | None = None
        self.rows = 0
        self._path = directory / f".{secrets.token_hex(8)}{UNFINISHED}"
        try:
            self._writer: Any = parquet.ParquetWriter(self._path, SCHEMA, compression="zstd")
        except BaseException:
            # A full disk has room for its name, and for nothing in it.
            self._path.unlink(missing_ok=True)
            raise

    def write(self, table: pyarrow.Table) -> None:
        """Take rows; write those that fill a row group."""
        if self._first_ts is None:
            self._first_ts = table["ts"][0].as_py()
        self._waiting.append(table)
        self._waiting_rows += len(table)
        self.rows += len(table)
        if self._waiting_rows >= self._rows_a_group:
            self._write_waiting()

    def _write_waiting(self) -> None:
        if self._waiting:
            self._writer.write_table(pyarrow.concat_tables(self._waiting), row_group_size=self._rows_a_group)
            self._waiting, self._waiting_rows = [], 0

    def complete(self) -> None:
        """Write what waits, and give the file its name once it is on the disk."""
        try:
            self._write_waiting()
            self._writer.close()
            with self._path.open("rb") as file:
                os.fsync(file.fileno())
            self._path.rename(self._directory / f"{self._first_ts}-{self._stem}.parquet")
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the file."""
        with suppress(OSError, pyarrow.ArrowException):
            self._writer.close()
        self._path.unlink(missing_ok=True)


def reason_of(error: Exception) -> str:
    """Return why something could not be written, in one line: the system's word where pyarrow hides it in its own."""
    if number := _ERRNO.search(str(error)):
        return os.strerror(int(number[1]))
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def split(table: pyarrow.Table) -> Iterator[tuple[str, pyarrow.Table]]:
    """Yield a table's rows by partition, in their order."""
    table = table.combine_chunks()
    days = table["ts"].to_numpy() // NS_A_DAY
    table = table.append_column("day", pyarrow.array(days))
    for pair in table.select(["host", "day"]).group_by(["host", "day"], use_threads=False).aggregate([]).to_pylist():
        host, day = pair["host"], pair["day"]
        is_part = pyarrow.compute.and_(
            pyarrow.compute.equal(table["host"], host), pyarrow.compute.equal(table["day"], day)
        )
        yield partition_of(host, day), table.filter(is_part).drop_columns("day")


def open_data(path: Path) -> Data:
    """Find the files of a directory of events, or the one file, and check what they hold.

    A ``FormatError`` names what does not fit.
    """
    if not path.exists():
        raise FormatError("does not exist", file=str(path))
    files = tuple(sorted(path.rglob("[!.]*.parquet"))) if path.is_dir() else (path,)
    if not files:
        raise FormatError("holds no Parquet file; traceleft export -o DIR --format parquet writes some", file=str(path))
    is_partitioned = all(_day_of(path, file) for file in files)
    for file in files:
        _check_file(file, has_host=is_partitioned)
    return Data(path, files, is_partitioned)


def refuse_foreign(directory: Path) -> None:
    """Raise ``FormatError`` where a directory holds Parquet of something else: with it, events could not be read.

    Files that lie in no partition are looked at, and the first that does.
    """
    unsorted = sorted(directory.glob("[!.]*.parquet"))
    for file in unsorted or sorted(islice(directory.rglob("[!.]*.parquet"), 1)):
        _check_file(file, has_host=_day_of(directory, file) is not None)


def _day_of(directory: Path, file: Path) -> str | None:
    """Return the day of a file's partition, None where it lies in none."""
    found = _PARTITION.fullmatch(file.relative_to(directory).as_posix())
    return found[1] if found else None


def _check_file(file: Path, *, has_host: bool) -> None:
    """Raise FormatError where a file cannot be read as events; columns that may be null may be missing.

    So may the host, where the partition has it: other writers leave out what partitions tell.
    """
    if not file.is_file():
        raise FormatError("is not a regular file", file=str(file))
    try:
        schema = parquet.read_schema(file)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        # A name of a column may be no text.
        reason = " ".join(str(error).split())
        raise FormatError(f"is damaged, or no Parquet: {reason}", file=str(file)) from error
    found = dict(zip(schema.names, schema.types, strict=True))
    for column, wanted in zip(COLUMNS, SCHEMA, strict=True):
        is_needed = not column.is_optional and not (has_host and column.name == "host")
        if column.name not in found and is_needed:
            raise FormatError(f"holds no events of traceleft: it lacks the column {column.name}", file=str(file))
        if column.name in found and not _is_same(found[column.name], wanted.type):
            message = f"column {column.name} is {found[column.name]} and not {wanted.type}"
            raise FormatError(f"holds no events of traceleft: {message}", file=str(file))


def _is_same(found: Any, wanted: Any) -> bool:
    """Tell whether a column can be read as the type that it should have."""
    if pyarrow.types.is_map(wanted):
        return bool(pyarrow.types.is_map(found)) and all(map(_is_text, (found.key_type, found.item_type)))
    return _is_text(found) if pyarrow.types.is_string(wanted) else bool(found == wanted)


def _is_text(found: Any) -> bool:
    return bool(pyarrow.types.is_string(found) or pyarrow.types.is_large_string(found))
