"""The perf buffer: rings made up for the parser, which runs under sanitizers, and real ones of the live kernel."""

import itertools
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.paths import TESTS
from tests.tracer.test_native import (
    FIXED,
    LAYOUTS,
    QUEUE_BYTES,
    SIZE,
    ZERO,
    counters,
    emit,
    events_of,
    finish,
    own_tgid,
)
from traceleft.record_layout import HEADER, HEADER_BYTES
from traceleft.tracer import _native

SAMPLE, LOST = 9, 2
RING = 4096


@dataclass(frozen=True, slots=True)
class Seen:
    """What the parser made of a ring."""

    records: list[bytes]
    lost: int
    tail: int


Parse = Callable[..., Seen]


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Parse:
    """Return what reads a ring of some bytes from tail to head, and fails where memory is misused."""
    program = tmp_path_factory.mktemp("perf") / "perf_ring"
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    native = TESTS.parent / "tracer/native"
    sources = (TESTS / "data/perf_ring.c", native / "perf.c", native / "libbpf.c")
    subprocess.run(["gcc", "-g", "-O1", *sanitizers, f"-I{native}", *sources, "-o", program], check=True)

    def run(data: bytes, *, head: int, tail: int = 0) -> Seen:
        positions = struct.pack("=QQQ", len(data), head, tail)
        done = subprocess.run([program], input=positions + data, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        *lines, lost, end = done.stdout.decode().splitlines()
        records = [bytes.fromhex(line.partition(":")[2]) for line in lines]
        return Seen(records, int(lost.split()[1]), int(end.split()[1]))

    return run


def sample(data: bytes) -> bytes:
    """Return a record as the kernel lays it: header, the data's size with its padding, the data."""
    padded = data + bytes(-(len(data) + 4) % 8)
    return struct.pack("=IHHI", SAMPLE, 0, 12 + len(padded), len(padded)) + padded


def lost(number: int) -> bytes:
    return struct.pack("=IHHQQ", LOST, 0, 24, 1, number)


def ring_of(stream: bytes, *, start: int = 0) -> bytes:
    """Lay a stream into a ring from a position on, around its end."""
    ring = bytearray(b"\xee" * RING)
    for at, byte in enumerate(stream):
        ring[(start + at) % RING] = byte
    return bytes(ring)


def test_samples_come_in_order_with_their_padding(parse: Parse) -> None:
    stream = sample(b"one") + sample(b"four") + sample(b"")

    seen = parse(ring_of(stream), head=len(stream))

    assert seen.records == [b"one\0", b"four", b"\0\0\0\0"]
    assert seen.tail == len(stream)


@pytest.mark.parametrize("back", range(0, 41, 8), ids=lambda back: f"{back} before the end")
def test_record_that_goes_around_the_end_is_whole(parse: Parse, back: int) -> None:
    start = 7 * RING - back
    stream = sample(bytes(range(20))) + sample(b"next")

    seen = parse(ring_of(stream, start=start), head=start + len(stream), tail=start)

    assert seen.records == [bytes(range(20)), b"next"]


def test_positions_may_wrap_at_64_bits(parse: Parse) -> None:
    start = (1 << 64) - 16
    stream = sample(b"over")

    seen = parse(ring_of(stream, start=start), head=(start + len(stream)) % (1 << 64), tail=start)

    assert (seen.records, seen.tail) == ([b"over"], 0)


def test_lost_records_add_up(parse: Parse) -> None:
    stream = lost(3) + sample(b"then") + lost(1 << 40)

    seen = parse(ring_of(stream), head=len(stream))

    assert (seen.records, seen.lost) == ([b"then"], 3 + (1 << 40))


def test_other_records_are_passed_over(parse: Parse) -> None:
    stream = struct.pack("=IHHQ", 5, 0, 16, 0) + sample(b"here")

    assert parse(ring_of(stream), head=len(stream)).records == [b"here"]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(struct.pack("=IHHI", SAMPLE, 0, 16, 5) + bytes(4), id="data longer than its record"),
        pytest.param(struct.pack("=IHHI", SAMPLE, 0, 16, 0xFFFFFFFF) + bytes(4), id="data as long as can be"),
        pytest.param(struct.pack("=IHH", SAMPLE, 0, 8), id="no size"),
    ],
)
def test_broken_sample_is_told_and_the_next_is_read(parse: Parse, broken: bytes) -> None:
    stream = broken + sample(b"next")

    assert parse(ring_of(stream), head=len(stream)).records == [b"", b"next"]


@pytest.mark.parametrize("size", [0, 7, 4096, 65535], ids=lambda size: f"size {size}")
def test_record_of_impossible_size_ends_the_pass(parse: Parse, size: int) -> None:
    stream = sample(b"good") + struct.pack("=IHH", SAMPLE, 0, size) + sample(b"gone")

    seen = parse(ring_of(stream), head=len(stream))

    assert seen.records == [b"good", b""]
    assert seen.tail == len(stream)


@pytest.mark.parametrize(("head", "tail"), [(RING + 8, 0), (0, 8), (1 << 63, 0)], ids=["full", "behind", "far"])
def test_impossible_positions_end_the_pass(parse: Parse, head: int, tail: int) -> None:
    seen = parse(ring_of(sample(b"none")), head=head, tail=tail)

    assert seen.records == [b""]
    assert seen.tail == head


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.binary(min_size=64, max_size=64),
    head=st.integers(0, 1 << 64).map(lambda n: n % (1 << 64)),
    size=st.integers(0, 64),
)
def test_any_bytes_are_read_within_bounds(parse: Parse, data: bytes, head: int, size: int) -> None:
    seen = parse(data * 64, head=head, tail=(head - size) % (1 << 64))

    assert seen.tail == head
    assert sum(map(len, seen.records)) <= size


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("tiny") / "tiny.o"
    options = ("-target", "bpf", "-mcpu=v1", "-O2", "-g", "-Wall", "-Werror", "-DPERF")
    subprocess.run(["clang", *options, "-c", TESTS / "data/tiny.bpf.c", "-o", output], check=True)
    return output.read_bytes()


def open_perf(tiny: bytes, *, pages: int = 64, queue_bytes: int = QUEUE_BYTES) -> SimpleNamespace:
    loaded = _native.Object(tiny, role="core", sizes={"events": _native.possible_cpus()}, programs=["on_enter"])
    _native.map_update(loaded.map_fd("owner"), ZERO, own_tgid())
    drain = _native.Drain(loaded.map_fd("events"), LAYOUTS, queue_bytes, pages)
    return SimpleNamespace(object=loaded, drain=drain, link=loaded.attach_raw_tracepoint("on_enter", "sys_enter"))


@pytest.fixture
def live(tiny: bytes) -> Iterator[SimpleNamespace]:
    opened = open_perf(tiny)
    yield opened
    opened.link.detach()
    opened.drain.stop()
    opened.object.close()


def emit_on(cpu: int, times: int) -> None:
    os.sched_setaffinity(0, {cpu})
    for _ in range(times):
        emit()


def stamps_of(batches: list[_native.Records]) -> list[int]:
    return [
        HEADER.picker("timestamp").unpack_from(batch.data, start)[0]
        for batch in batches
        for (start,) in struct.iter_unpack("=I", batch.offsets)
    ]


@pytest.mark.kernel
def test_records_arrive_without_the_padding(live: SimpleNamespace) -> None:
    emit(7, length=SIZE - 3, slot=FIXED | 13 << 16, arg=42)

    (batch,) = finish(live)

    assert struct.unpack_from("=IH", batch.data) == (SIZE - 3, 7)
    assert struct.unpack_from("=Q", batch.data, HEADER_BYTES) == (42,)
    assert len(batch.data) == SIZE


@pytest.mark.kernel
def test_broken_records_of_a_perf_buffer_are_counted(live: SimpleNamespace) -> None:
    for fault in ({"event": 9}, {"length": 79}, {"length": SIZE + 8}, {"slot": 0xFFFF | 0xFFFF << 16}):
        emit(**fault)
    emit(7)

    assert events_of(finish(live)) == [7]
    assert sum(live.drain.account()["undecodable"].values()) == 4


@pytest.mark.kernel
def test_records_of_all_cpus_come_in_order_of_time(live: SimpleNamespace) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    threads = [threading.Thread(target=emit_on, args=(cpu, 20_000)) for cpu in cpus]
    for thread in threads:
        thread.start()
    batches = []
    while any(thread.is_alive() for thread in threads):
        batches.append(live.drain.take(20))
    batches += finish(live)

    stamps = stamps_of(batches)
    emitted, lost_ = counters(live.object)
    assert emitted == 20_000 * len(cpus)
    assert len(stamps) + lost_ == emitted
    assert sum(a > b for a, b in itertools.pairwise(stamps)) <= live.drain.account()["late"]
    assert {cpu for cpu, _ in live.drain.account()["sequences"]} == set(cpus)


@pytest.mark.kernel
def test_backlog_of_two_cpus_is_merged(tiny: bytes) -> None:
    opened = open_perf(tiny, pages=4096)
    cpus = sorted(os.sched_getaffinity(0))[:2]
    threads = [threading.Thread(target=emit_on, args=(cpu, 40_000)) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batches = finish(opened)

    stamps = stamps_of(batches)
    assert len(stamps) == 40_000 * len(cpus)
    assert stamps == sorted(stamps)
    assert opened.drain.account()["late"] == 0


@pytest.mark.kernel
def test_a_full_perf_buffer_loses_exactly_what_is_not_delivered(tiny: bytes) -> None:
    opened = open_perf(tiny, pages=1)
    for _ in range(200):
        for _ in range(100):
            emit()
    batches = finish(opened)

    account = opened.drain.account()
    delivered = sum(map(len, batches))
    gaps = 20_000 - sum(received for received, _ in account["sequences"].values())
    assert account["lost"] is not None
    assert 0 < gaps == 20_000 - delivered
    assert sum(account["lost"].values()) == gaps if account["lost_is_final"] else sum(account["lost"].values()) <= gaps


@pytest.mark.kernel
def test_what_a_full_queue_has_no_room_for_waits_in_the_perf_buffer(tiny: bytes) -> None:
    opened = open_perf(tiny, queue_bytes=10 * SIZE)
    for _ in range(100):
        emit()
    time.sleep(0.1)
    delivered = sum(map(len, finish(opened)))

    assert delivered == 100
    assert opened.drain.account()["dropped"] == {}


@pytest.mark.kernel
@pytest.mark.parametrize("pages", [3, 1 << 19], ids=["no power of two", "too many"])
def test_impossible_perf_buffer_is_refused(tiny: bytes, pages: int) -> None:
    with pytest.raises(_native.Error) as refused:
        open_perf(tiny, pages=pages)

    assert refused.value.args[1] == "open perf buffer"


@pytest.mark.kernel
def test_perf_buffer_of_another_map_is_refused(tiny: bytes) -> None:
    loaded = _native.Object(tiny, role="core", sizes={"events": _native.possible_cpus()}, programs=["on_enter"])

    with pytest.raises(_native.Error):
        _native.Drain(loaded.map_fd("counters"), LAYOUTS, QUEUE_BYTES, 1)
