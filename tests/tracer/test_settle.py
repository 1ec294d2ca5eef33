"""Unsettled records of level 4.4: the C that makes ordinary ones of them, under sanitizers, against a model of it."""

import struct
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.paths import TESTS
from traceleft.tracer import _native

UNSETTLED = 32
TEXT, CHUNKS, MASK = 0x4000, 0x8000, 0x3FFF
LONGER = 0x7FFFFFFF
SLOTS_AT = 88
FIXED = SLOTS_AT + 8

Settle = Callable[[bytes], bytes | None]


@pytest.fixture(scope="module")
def settle(tmp_path_factory: pytest.TempPathFactory) -> Settle:
    """Return what settles a record of one slot, None where it is not sound, and fails where memory is misused."""
    program = tmp_path_factory.mktemp("settle") / "settle"
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    sources = (TESTS / "data/settle.c", TESTS.parent / "tracer/native/settle.c")
    subprocess.run(
        ["gcc", "-g", "-O1", *sanitizers, f"-I{TESTS.parent / 'tracer/native'}", *sources, "-o", program], check=True
    )

    def run(record: bytes) -> bytes | None:
        numbers = struct.pack("=III", len(record), SLOTS_AT, 1)
        done = subprocess.run([program], input=numbers + record, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        is_sound, data = done.stdout.decode().split()
        return bytes.fromhex(data) if is_sound == "1" else None

    return run


def record_of(tail: bytes, *, offset: int = FIXED, length: int, status: int) -> bytes:
    header = struct.pack("=IHH", FIXED + len(tail), 7, UNSETTLED) + bytes(SLOTS_AT - 8)
    return header + struct.pack("=HHi", offset, length, status) + tail


def chunk(head: bytes, data: bytes, *, shift: int = 0, flag: int = 0) -> bytes:
    body = head + b"\xee" * shift + data
    stride = 8 + len(body) + -len(body) % 8
    return (struct.pack("=HHHH", stride, len(head), shift, flag | len(data)) + body).ljust(stride, b"\xee")


def measured(text: bytes, limit: int) -> tuple[bytes, int]:
    """Return a text up to its NUL or the limit, and its status."""
    found = text.split(b"\0", 1)[0]
    ends = b"\0" in text and len(found) <= limit
    return (found if limit < 0 else found[:limit]), len(found) if ends else LONGER


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def slot_of(record: bytes) -> tuple[int, int, int]:
    offset, length, status = struct.unpack_from("=HHi", record, SLOTS_AT)
    return offset, length, status


texts = st.lists(st.sampled_from(b"\0ab\xff"), max_size=24).map(bytes)
limits = st.integers(-2, 30)


def same(settle: Settle, record: bytes) -> bytes | None:
    """Settle it here and in the native module, which has to agree."""
    found = settle(record)
    assert _native.settle(record, SLOTS_AT, 1) == found
    return found


many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(texts, limits)
def test_texts_are_measured(settle: Settle, text: bytes, limit: int) -> None:
    found = same(settle, record_of(text, length=TEXT | len(text), status=limit))

    expected, status = measured(text, limit)
    assert found is not None
    assert slot_of(found) == (FIXED, len(expected), status)
    assert found[FIXED:] == text
    assert struct.unpack_from("=H", found, 6) == (0,)


@many
@given(st.lists(st.tuples(texts, limits, st.integers(0, 20), st.booleans()), max_size=4))
def test_chunks_are_packed(settle: Settle, parts: list[tuple[bytes, int, int, bool]]) -> None:
    tail, expected = b"", b""
    for data, limit, shift, is_text in parts:
        tail += chunk(struct.pack("=Ii", 0, limit), data, shift=shift, flag=TEXT if is_text else 0)
        kept, status = measured(data, limit) if is_text else (data, limit)
        expected += struct.pack("=Ii", len(kept) if is_text else 0, status) + padded(kept)

    found = same(settle, record_of(tail, length=CHUNKS | len(tail), status=len(parts)))

    assert found is not None
    assert slot_of(found) == (FIXED, len(expected), len(parts))
    assert found[FIXED : FIXED + len(expected)] == expected


@pytest.mark.parametrize(
    "header",
    [(0, 0, 0, 0), (12, 0, 0, 0), (40, 0, 0, 0), (32, 4, 0, 0), (32, 32, 0, 0), (32, 8, 17, 0), (32, 8, 65535, 0),
     (32, 8, 0, 17), (32, 16, 0, TEXT), (32, 0, 0, TEXT)],
    ids=["no stride", "odd stride", "stride beyond", "odd head", "head beyond", "shift beyond", "shift far beyond",
         "length beyond", "text of another head", "text without a head"],
)  # fmt: skip
def test_hostile_chunk_is_refused(settle: Settle, header: tuple[int, int, int, int]) -> None:
    tail = struct.pack("=HHHH", *header).ljust(32, b"\0")

    assert same(settle, record_of(tail, length=CHUNKS | len(tail), status=1)) is None


@pytest.mark.parametrize("flag", [TEXT, CHUNKS])
@pytest.mark.parametrize(("offset", "length"), [(0, 8), (FIXED - 1, 1), (FIXED, 17), (FIXED + 9, 8), (65535, 1)])
def test_slot_outside_the_tail_is_refused(settle: Settle, flag: int, offset: int, length: int) -> None:
    assert same(settle, record_of(bytes(16), offset=offset, length=flag | length, status=1)) is None


@many
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(-5, LONGER), st.binary(max_size=96))
def test_anything_stays_within_the_record(settle: Settle, offset: int, length: int, status: int, tail: bytes) -> None:
    record = record_of(tail, offset=offset, length=length, status=status)

    found = same(settle, record)

    if found is not None:
        assert found[:6] + found[8:SLOTS_AT] == record[:6] + record[8:SLOTS_AT]
