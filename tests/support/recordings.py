"""Recordings for tests, made of records that tests make."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.records import OPENAT, SETS, STRUCTS, Capture, Record, document, encode, event_document
from traceleft.tracer.account.ledger import Figures, Ledger
from traceleft.tracer.recording import Head, Recorder, make_head
from traceleft.tracer.schema.load import load_schema

EPOCH = 1_790_000_000_000_000_000
CLOSE: tuple[dict[str, Any], ...] = ({"name": "fd", "type": "unsigned int", "width": 4, "kind": "fd"},)
DOCUMENT: dict[str, Any] = document(
    {
        "openat": event_document(OPENAT, ret="fd", classes=["file", "desc"]),
        "close": event_document(CLOSE, id=3, number=3, classes=["desc"]),
    },
    sets=SETS,
    structs=STRUCTS,
)
SCHEMA = load_schema(DOCUMENT)
LEDGER = Ledger(
    Figures(emitted=9, delivered=8, lost=1), {"openat": Figures(emitted=9, delivered=8, lost=1)}, {}, gaps=1
)


class Kept:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = b""
        self.taken = 0

    def write(self, data: bytes) -> None:
        self.taken = len(data)
        self.data += data


def head(**keys: Any) -> Head:
    """Return the head of a recording of ``DOCUMENT``."""
    return make_head(DOCUMENT, **{"host": "box", "offset_ns": EPOCH, **keys})


def padded(record: bytes) -> bytes:
    """Return a record as it lies in a batch."""
    return record + bytes(-len(record) % 8)


def opened(number: int, **keys: Any) -> bytes:
    """Return an openat of one of many paths; its time is its number of microseconds."""
    capture = {0: Capture(b"/etc/%d" % number)}
    record = Record(args=(3, 0x1000), captures=capture, ret=number % 7 - 2, ts=1000 * number, seq=number, **keys)
    return padded(encode(SCHEMA.events["openat"], record))


def closed(number: int, **keys: Any) -> bytes:
    """Return a close."""
    return padded(encode(SCHEMA.events["close"], Record(args=(number,), ts=1000 * number, seq=number, **keys)))


def calls(count: int, first: int = 0) -> list[bytes]:
    """Return records of opens and closes in turn."""
    return [(closed if number % 2 else opened)(number) for number in range(first, first + count)]


def write_recording(path: Path, *batches: Sequence[bytes], ledger: Ledger | None = LEDGER, **keys: Any) -> Path:
    """Write a recording, a block of each batch; return its path."""
    with Recorder(path, **keys) as recorder:
        recorder.begin(head())
        for batch in batches:
            recorder.write(b"".join(batch))
            recorder.flush()
        recorder.close(ledger)
    return path


def write_document(path: Path, schema: dict[str, Any], event: str, records: Sequence[Record]) -> Path:
    """Write a recording of one event of any schema document; return its path."""
    spec = load_schema(schema).events[event]
    with Recorder(path) as recorder:
        recorder.begin(make_head(schema, host="box", offset_ns=EPOCH))
        recorder.write(b"".join(padded(encode(spec, record)) for record in records))
        recorder.close(LEDGER)
    return path
