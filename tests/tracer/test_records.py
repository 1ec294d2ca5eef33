"""Records cut out and checked by the native module, as the decoder would check them."""

import copy
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import POINTERS, pointer_schema, records
from tests.support.records import OPENED, encode, openat
from traceleft.tracer import _native
from traceleft.tracer.decode.decoder import Decoder, UndecodableError
from traceleft.tracer.decode.event import Event

UNCHECKED = {"strings", "iovec", "msghdr"}


def kept(*encoded: bytes) -> _native.Records:
    return _native.Records(b"".join(record + bytes(-len(record) % 8) for record in encoded))


@pytest.mark.parametrize("kind", sorted(POINTERS))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_records_are_checked_as_the_decoder_checks_them(kind: str, data: st.DataObject) -> None:
    schema = pointer_schema(kind)
    (spec,) = schema.events.values()
    decoder = Decoder(spec, schema.tables)
    bent = bytearray(encode(spec, data.draw(records(spec))))
    for place in data.draw(st.lists(st.sampled_from([15, *range(spec.fixed_size - 16, spec.fixed_size)]), max_size=2)):
        bent[place] = data.draw(st.integers(0, 255))
    try:
        event = decoder.decode(bytes(bent))
    except UndecodableError:
        event = None

    assert (decoder.layout is None) == (kind in UNCHECKED)
    layout = decoder.layout or (spec.fixed_size, spec.args_count, len(spec.slots))
    ((row, name, record, is_checked),) = kept(bytes(bent)).cut(0, 1, {spec.id: (kind, *layout)})

    assert (row, name, record) == (0, kind, bytes(bent))
    if decoder.layout:
        assert is_checked == (event is not None)
    if event is not None and is_checked:
        assert Event(decoder, record, 0).to_dict() == event.to_dict()


def test_only_events_of_the_table_are_cut() -> None:
    spec, _ = openat()
    other = struct.pack("=IH", 80, 7) + bytes(74)

    found = kept(encode(spec, OPENED), other, encode(spec, OPENED)).cut(0, 3, {spec.id: ("x", 136, 6, 1)})

    assert [row for row, *_ in found] == [0, 2]
    assert [is_checked for *_, is_checked in found] == [True, True]


@pytest.mark.parametrize("layout", [(0, 6, 1), (100, 6, 1), (136, 2**32 - 1, 2**32 - 1)], ids=str)
def test_layout_that_does_not_hold_together_checks_nothing(layout: tuple[int, int, int]) -> None:
    spec, _ = openat()

    ((*_, is_checked),) = kept(encode(spec, OPENED)).cut(0, 1, {spec.id: ("x", *layout)})

    assert not is_checked


def test_rows_that_are_not_there_are_refused() -> None:
    spec, _ = openat()

    for rows in ((-1, 1), (0, 2), (1, 0)):
        with pytest.raises(_native.Error):
            kept(encode(spec, OPENED)).cut(*rows, {})
    with pytest.raises(_native.Error):
        kept(encode(spec, OPENED)).record(1)


def test_event_is_unpacked_when_it_is_asked() -> None:
    spec, tables = openat()
    event = Event(Decoder(spec, tables), encode(spec, OPENED), 0)

    assert copy.copy(event).ret == event.ret == 3
    assert event.args.filename == "/etc/passwd"
    with pytest.raises(AttributeError, match="no attribute 'fd'"):
        event.fd  # type: ignore[attr-defined]  # noqa: B018
