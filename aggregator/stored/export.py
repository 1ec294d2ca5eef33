"""Recordings as Arrow, Parquet, CSV and NDJSON: the columns of ``columns.COLUMNS``, the same in each."""

import errno
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import pyarrow
from pyarrow import csv, ipc

from traceleft.aggregator.stored.arrow_table import SCHEMA, batch_to_table
from traceleft.aggregator.stored.parquet import ParquetWriter, reason_of, refuse_foreign
from traceleft.errors import FormatError
from traceleft.expression import select
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.texts import mark_bytes, value_from_column
from traceleft.tracer.recording import Recording
from traceleft.tracer.schema.spec import make_catalogue

_ARGS: Final = SCHEMA.get_field_index("args")
_CSV_SCHEMA: Final[Any] = SCHEMA.set(_ARGS, pyarrow.field("args", pyarrow.string(), nullable=False))
TEXT_BYTES: Final = "text_bytes"
"""What lines of NDJSON call the bytes of texts that are not UTF-8: a column is called ``bytes``."""
_ENCODE: Final = msgspec.json.Encoder().encode


class Writer(Protocol):
    """What takes tables of ``table.SCHEMA``."""

    def write(self, table: Any) -> None:
        """Take a table."""
        ...


def recording_tables(recording: Recording, expressions: Sequence[str] = ()) -> Iterator[pyarrow.Table]:
    """Yield the events of a recording that expressions choose, some megabytes at a time, each part in order of time.

    Raise ``RecordingError`` at damage, once all before it was yielded.
    """
    names = select(expressions, make_catalogue(recording.specs), default=recording.specs)
    for batches in recording.rounds(names, resolves_paths=True):
        tables = [_to_table(recording, batch) for batch in batches]
        if tables:
            yield pyarrow.concat_tables(tables).sort_by([(name, "ascending") for name in ("ts", "cpu", "seq")])


def _to_table(recording: Recording, batch: Batch) -> pyarrow.Table:
    return batch_to_table(batch, recording.schema.tables, host=recording.host, cgroups=recording.cgroups.get)


def export(paths: Sequence[Path], output: Path, form: str, *, expressions: Sequence[str] = ()) -> int:
    """Write the events of recordings to a file, or below a directory (``parquet``); return how many.

    ``RecordingError`` at damage, once all before it was written; OSError where a file cannot be written.
    """
    try:
        return _export(paths, output, form, expressions)
    except OSError as error:
        if error.filename is not None:
            raise
        # pyarrow's have no number.
        number = error.errno or errno.EIO
        raise OSError(number, f"{reason_of(error)}; it is incomplete", str(output)) from error


def _export(paths: Sequence[Path], output: Path, form: str, expressions: Sequence[str]) -> int:
    written = 0
    with ExitStack() as stack:
        recordings = [stack.enter_context(Recording.open(path)) for path in paths]
        for recording in recordings:
            select(expressions, make_catalogue(recording.specs), default=recording.specs)
        if form == "parquet":
            for recording in recordings:
                written += export_parquet(recording, output, expressions=expressions)
            return written
        writer = stack.enter_context(WRITERS[form](output))
        for recording in recordings:
            written += _write_all(writer, recording, expressions)
    return written


def export_parquet(recording: Recording, directory: Path, *, expressions: Sequence[str] = ()) -> int:
    """Write a recording's events as partitions below a directory; return how many.

    Files are named after the recording: when it is exported again, in the same way, its files are replaced.
    """
    if directory.exists() and not directory.is_dir():
        raise FormatError("is not a directory: Parquet is written as files in one", file=str(directory))
    refuse_foreign(directory)
    with ParquetWriter(directory, stem=_identify(recording)) as writer:
        return _write_all(writer, recording, expressions)


def _write_all(writer: Writer, recording: Recording, expressions: Sequence[str]) -> int:
    written = 0
    for table in recording_tables(recording, expressions):
        writer.write(table)
        written += len(table)
    return written


def _identify(recording: Recording) -> str:
    """Return a short text that another recording does not have, unless it begins with the same event."""
    head = recording.head
    parts = (head.host, head.kernel, head.offset_ns, head.layouts, head.hook, head.part)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class _Lines:
    """Writes a line of JSON for each event."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, table: pyarrow.Table) -> None:
        """Write a table's events."""
        columns = [dict_columns(table) if name == "args" else table[name].to_pylist() for name in SCHEMA.names]
        names = SCHEMA.names
        rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
        lines = [_ENCODE(mark_bytes(value_from_column(row), key=TEXT_BYTES)) for row in rows]
        self._file.write(b"\n".join(lines) + b"\n")


class _Csv:
    """Writes a table as CSV: arguments as JSON, what is null as nothing, text in quotes."""

    def __init__(self, file: Any) -> None:
        self._writer = csv.CSVWriter(file, _CSV_SCHEMA)

    def write(self, table: pyarrow.Table) -> None:
        """Write a table's events."""
        args = [_ENCODE(each).decode() for each in dict_columns(table)]
        self._writer.write(table.set_column(_ARGS, _CSV_SCHEMA.field(_ARGS), pyarrow.array(args, pyarrow.string())))

    def close(self) -> None:
        """Write what waits."""
        self._writer.close()


def dict_columns(table: pyarrow.Table) -> list[dict[str, str]]:
    """Return the arguments of a table's events."""
    return [dict(pairs) for pairs in table["args"].to_pylist()]


@contextmanager
def _open_lines(output: Path) -> Iterator[Writer]:
    with output.open("wb") as file:
        yield _Lines(file)


@contextmanager
def _open_csv(output: Path) -> Iterator[Writer]:
    with output.open("wb") as file:
        writer = _Csv(file)
        try:
            yield writer
        finally:
            writer.close()


@contextmanager
def _open_arrow(output: Path) -> Iterator[Writer]:
    with output.open("wb") as file, ipc.new_file(file, SCHEMA) as writer:
        yield writer


WRITERS: Final[dict[str, Callable[[Path], AbstractContextManager[Writer]]]] = {
    "arrow": _open_arrow,
    "csv": _open_csv,
    "ndjson": _open_lines,
}
FORMS: Final = ("arrow", "parquet", "csv", "ndjson")
