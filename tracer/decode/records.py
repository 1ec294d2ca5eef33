"""Records of several events, decoded one after another."""

from collections.abc import Iterable, Iterator
from typing import Final

from traceleft.record_layout import HEADER
from traceleft.tracer import _native
from traceleft.tracer.decode.decoder import Decoder, UndecodableError
from traceleft.tracer.decode.event import Event

CUT_RECORDS: Final = 1024
_CPU: Final = HEADER.picker("cpu")


def iter_events(
    records: _native.Records,
    wanted: int,
    decoders: Iterable[Decoder],
    offset_ns: int,
    refused: list[tuple[int, int]],
) -> Iterator[tuple[int, Event]]:
    """Yield the events that there are decoders for among the first records, with their rows.

    Those whose bytes do not fit are listed in ``refused``, as (event, cpu).
    """
    # Records of an event with nothing to check them by are each left to the decoder.
    table = {decoder.spec.id: (decoder, *(decoder.layout or (0, 0, 0))) for decoder in decoders}
    for first in range(0, wanted if table else 0, CUT_RECORDS):
        for row, decoder, record, is_checked in records.cut(first, min(first + CUT_RECORDS, wanted), table):
            if is_checked:
                yield row, Event(decoder, record, offset_ns)
                continue
            try:
                yield row, decoder.decode(record, offset_ns=offset_ns)
            except UndecodableError:
                refused.append((decoder.spec.id, _CPU.unpack_from(record)[0]))


def cut_records(records: _native.Records, count: int) -> _native.Records:
    """Return the first of some records."""
    starts = memoryview(records.offsets).cast("I")
    return _native.Records(records.data[: starts[count]])
