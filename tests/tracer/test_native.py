"""The native module on the live kernel: objects, links, and the drain."""

import ctypes
import itertools
import os
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.paths import TESTS
from tests.support.refusals import assert_kernel_is_clean, kernel_objects
from traceleft.record_layout import HEADER, HEADER_BYTES
from traceleft.tracer import _native

pytestmark = pytest.mark.kernel
SOURCE = TESTS / "data/tiny.bpf.c"
# struct record of tiny.bpf.c: header, six arguments, one slot; 16 bytes of tail.
FIXED = 80 + 6 * 8 + 8
SIZE = FIXED + 16
GETPPID = 110
LAYOUTS = {7: (FIXED, 6, 1), 8: (FIXED, 6, 1)}
QUEUE_BYTES = 64 << 20
ZERO = bytes(4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("tiny") / "tiny.o"
    options = ("-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror")
    subprocess.run(["clang", *options, "-c", SOURCE, "-o", output], check=True)
    return output.read_bytes()


def emit(
    event: int = 7, *, length: int = SIZE, flags: int = 0, age_ns: int = 0, slot: int = FIXED | 16 << 16, arg: int = 0
) -> None:
    """Make the kernel emit one record with these parts."""
    ctypes.CDLL(None).syscall(*(ctypes.c_ulong(value) for value in (GETPPID, event, length, flags, age_ns, arg, slot)))


def own_tgid() -> bytes:
    return os.getpid().to_bytes(4, "little")


def open_tiny(tiny: bytes, *, ring_bytes: int = 1 << 20) -> _native.Object:
    loaded = _native.Object(tiny, role="core", sizes={"events": ring_bytes}, programs=["on_enter"])
    _native.map_update(loaded.map_fd("owner"), ZERO, own_tgid())
    return loaded


@pytest.fixture
def live(tiny: bytes) -> Iterator[SimpleNamespace]:
    loaded = open_tiny(tiny)
    drain = _native.Drain(loaded.map_fd("events"), LAYOUTS, QUEUE_BYTES)
    link = loaded.attach_raw_tracepoint("on_enter", "sys_enter")
    yield SimpleNamespace(object=loaded, drain=drain, link=link)
    link.detach()
    drain.stop()
    loaded.close()


def finish(live: SimpleNamespace) -> list[_native.Records]:
    live.link.detach()
    live.drain.stop()
    batches = []
    while len(batch := live.drain.take(0, final=True)):
        batches.append(batch)
    return batches


def events_of(batches: list[_native.Records]) -> list[int]:
    return [
        struct.unpack_from("=H", batch.data, at)[0]
        for batch in batches
        for (start,) in struct.iter_unpack("=I", batch.offsets)
        for at in [start + 4]
    ]


def counters(loaded: _native.Object) -> tuple[int, int]:
    value = _native.map_lookup(loaded.map_fd("counters"), ZERO, 16 * _native.possible_cpus())
    assert value is not None
    rows = list(struct.iter_unpack("=QQ", value))
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def test_records_arrive_whole(live: SimpleNamespace) -> None:
    emit(7, arg=42)

    (batch,) = finish(live)

    length, event, *_ = struct.unpack_from(f"={HEADER.codes}Q", batch.data)
    assert (len(batch), len(batch.data), length, event) == (1, SIZE, SIZE, 7)
    assert struct.unpack_from("=Q", batch.data, HEADER_BYTES) == (42,)
    assert batch.tally() == {(7, HEADER.picker("cpu").unpack_from(batch.data)[0]): 1}


def test_records_come_in_order_of_time(live: SimpleNamespace) -> None:
    for age_ns in (0, 300_000, 0, 200_000):
        emit(7, age_ns=age_ns)

    stamps = [
        HEADER.picker("timestamp").unpack_from(batch.data, start)[0]
        for batch in finish(live)
        for (start,) in struct.iter_unpack("=I", batch.offsets)
    ]

    assert len(stamps) == 4
    assert stamps == sorted(stamps)
    assert live.drain.account()["late"] == 0


def test_what_comes_too_late_is_delivered_and_counted(live: SimpleNamespace) -> None:
    emit(7)
    first = live.drain.take(500)
    emit(8, age_ns=1_000_000_000)
    rest = finish(live)

    assert events_of([first]) == [7]
    assert events_of(rest) == [8]
    assert live.drain.account()["late"] == 1


def test_young_records_are_held_back(live: SimpleNamespace) -> None:
    emit(7)
    started = time.monotonic_ns()
    batch = live.drain.take(60_000)
    taken = time.monotonic_ns()

    assert len(batch) == 1
    assert 500_000 < taken - started < 30_000_000_000


def test_take_returns_nothing_at_the_timeout(live: SimpleNamespace) -> None:
    started = time.monotonic()
    batch = live.drain.take(30)

    assert len(batch) == 0
    assert 0.02 < time.monotonic() - started < 30


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"event": 9}, id="unknown event"),
        pytest.param({"length": 79}, id="shorter than the header"),
        pytest.param({"length": FIXED - 1}, id="shorter than the fixed part"),
        pytest.param({"length": SIZE + 1}, id="longer than what the kernel wrote"),
        pytest.param({"length": 0xFFFFFFFF}, id="as long as can be"),
        pytest.param({"slot": (FIXED - 1) | 1 << 16}, id="slot before the tail"),
        pytest.param({"slot": FIXED | 17 << 16}, id="slot beyond the record"),
        pytest.param({"slot": 0xFFFF | 0xFFFF << 16}, id="slot far outside"),
    ],
)
def test_broken_record_is_counted_and_not_delivered(live: SimpleNamespace, fault: dict[str, int]) -> None:
    emit(**fault)
    emit(7)

    batches = finish(live)

    assert events_of(batches) == [7]
    undecodable = live.drain.account()["undecodable"]
    assert sum(undecodable.values()) == 1
    assert next(iter(undecodable))[0] == (0x10000 if "event" in fault else 7)


def test_sequence_numbers_are_followed_by_cpu_and_class(live: SimpleNamespace) -> None:
    cpu = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    for flags in (0, 0, 4):
        emit(7, flags=flags)
    os.sched_setaffinity(0, before)
    finish(live)

    assert live.drain.account()["sequences"] == {(cpu, 0): (2, 2), (cpu, 1): (1, 3)}


def test_columns_split_one_event(live: SimpleNamespace) -> None:
    for event, arg in ((7, 1), (8, 2), (7, 3)):
        emit(event, arg=arg)

    (batch,) = finish(live)
    fixed, tails, ends, rows = batch.columns(7, FIXED)

    assert len(fixed) == 2 * FIXED
    assert [struct.unpack_from("=Q", fixed, at + HEADER_BYTES)[0] for at in (0, FIXED)] == [1, 3]
    assert tails == (b"tail" + bytes(12)) * 2
    assert struct.unpack("=3Q", ends) == (0, 16, 32)
    assert struct.unpack("=2I", rows) == (0, 2)


def test_a_full_ring_loses_exactly_what_is_not_delivered(tiny: bytes) -> None:
    loaded = open_tiny(tiny, ring_bytes=4096)
    link = loaded.attach_raw_tracepoint("on_enter", "sys_enter")
    for _ in range(1000):
        emit()
    drain = _native.Drain(loaded.map_fd("events"), LAYOUTS, QUEUE_BYTES)
    delivered = len(finish(SimpleNamespace(link=link, drain=drain))[0])

    emitted, lost = counters(loaded)

    assert emitted == 1000
    assert lost > 900
    assert delivered + lost == emitted


def test_what_a_full_queue_has_no_room_for_waits_in_the_ring(tiny: bytes) -> None:
    loaded = open_tiny(tiny)
    drain = _native.Drain(loaded.map_fd("events"), LAYOUTS, 10 * SIZE)
    link = loaded.attach_raw_tracepoint("on_enter", "sys_enter")
    for _ in range(100):
        emit()
    first = drain.take(60_000)
    delivered = len(first) + sum(map(len, finish(SimpleNamespace(link=link, drain=drain))))

    assert 0 < len(first) < 20
    assert delivered == 100
    assert drain.account()["dropped"] == {}


def test_reader_that_never_takes_loses_exactly_what_the_ring_has_no_room_for(tiny: bytes) -> None:
    loaded = open_tiny(tiny, ring_bytes=4096)
    drain = _native.Drain(loaded.map_fd("events"), LAYOUTS, 10 * SIZE)
    link = loaded.attach_raw_tracepoint("on_enter", "sys_enter")
    for _ in range(1000):
        emit()
    delivered = sum(map(len, finish(SimpleNamespace(link=link, drain=drain))))

    emitted, lost = counters(loaded)

    assert emitted == 1000
    assert lost > 900
    assert delivered + lost == emitted


def test_small_queue_goes_on_as_it_is_taken_from(tiny: bytes) -> None:
    loaded = open_tiny(tiny)
    drain = _native.Drain(loaded.map_fd("events"), LAYOUTS, 10 * SIZE)
    link = loaded.attach_raw_tracepoint("on_enter", "sys_enter")
    for _ in range(500):
        emit()
    taken, deadline = 0, time.monotonic() + 60
    while taken < 500 and time.monotonic() < deadline:
        taken += len(drain.take(20))
    finish(SimpleNamespace(link=link, drain=drain))

    assert taken == 500


def test_nothing_is_lost_of_many_records_from_all_cpus(live: SimpleNamespace) -> None:
    def emit_many() -> None:
        for _ in range(20_000):
            emit()

    threads = [threading.Thread(target=emit_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    batches = []
    while any(thread.is_alive() for thread in threads):
        batches.append(live.drain.take(20))
    batches += finish(live)
    stamps = [
        HEADER.picker("timestamp").unpack_from(batch.data, start)[0]
        for batch in batches
        for (start,) in struct.iter_unpack("=I", batch.offsets)
    ]

    emitted, lost = counters(live.object)
    assert emitted == 80_000
    assert len(stamps) + lost == emitted
    assert sum(a > b for a, b in itertools.pairwise(stamps)) <= live.drain.account()["late"]


def test_stop_releases_a_blocked_reader(live: SimpleNamespace) -> None:
    sizes: list[int] = []
    reader = threading.Thread(target=lambda: sizes.append(len(live.drain.take(60_000))))
    reader.start()
    time.sleep(0.05)
    live.drain.stop()
    reader.join(60)

    assert sizes == [0]


def test_two_readers_at_once_are_refused(live: SimpleNamespace) -> None:
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            with suppress(_native.Error):
                live.drain.take(100)

    def read_until_refused() -> None:
        for _ in range(6000):
            live.drain.take(10)

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.raises(_native.Error) as refused:
        read_until_refused()
    ended.set()
    reader.join()

    assert os.strerror(refused.value.args[0]) == "Device or resource busy"


def test_everything_can_be_closed_twice_and_leaves_nothing(tiny: bytes) -> None:
    before = kernel_objects()
    loaded = open_tiny(tiny)
    link = loaded.attach_raw_tracepoint("on_enter", "sys_enter")
    drain = _native.Drain(loaded.map_fd("events"), LAYOUTS, QUEUE_BYTES)
    for release in (link.detach, loaded.close):
        release()
        release()
    drain.stop()
    drain.stop()

    assert_kernel_is_clean(before)
    with pytest.raises(_native.Error):
        loaded.map_fd("events")


def test_refused_program_tells_the_verifiers_reason(tiny: bytes) -> None:
    with pytest.raises(_native.Error) as refused:
        _native.Object(tiny, role="core", programs=["refused"])

    number, what, log = refused.value.args
    assert (number, what) == (13, "load")
    assert "invalid mem access" in log


def test_a_long_log_keeps_the_verifiers_reason(tmp_path: Path) -> None:
    source, compiled = tmp_path / "long.c", tmp_path / "long.o"
    many = 'asm volatile("r0 = 0\\n.rept 20000\\nr0 += 1\\n.endr\\nr0 = *(u64 *)(r0 + 0)" ::: "r0");'
    source.write_text(f"""__attribute__((section("tp"), used)) int long_program(void *ctx) {{ {many} return 0; }}
        char LICENSE[] __attribute__((section("license"), used)) = "GPL";""")
    subprocess.run(["clang", "-O2", "-g", "-target", "bpf", "-c", source, "-o", compiled], check=True)

    with pytest.raises(_native.Error) as refused:
        _native.Object(compiled.read_bytes(), role="core", programs=["long_program"])

    log = refused.value.args[2]
    assert len(log) < 300_000
    assert "invalid mem access" in log


def test_log_of_libbpf_stays_off_stderr(tiny: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(_native.Error):
        _native.Object(tiny, role="core", programs=["refused"])
    with pytest.raises(_native.Error):
        _native.Object(b"\x7fELF" + bytes(100))

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", [b"", b"no object", b"\x7fELF" + bytes(60)], ids=["empty", "text", "zeros"])
def test_data_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(_native.Error):
        _native.Object(data)


def test_truncated_object_is_refused(tiny: bytes) -> None:
    for size in range(0, len(tiny), 97):
        with pytest.raises(_native.Error):
            _native.Object(tiny[:size], role="core", programs=["on_enter"]).close()


def test_unknown_program_is_refused(tiny: bytes) -> None:
    with pytest.raises(_native.Error) as refused:
        _native.Object(tiny, role="core", programs=["nonesuch"])

    assert refused.value.args[:2] == (2, "find program")


def test_attaching_where_there_is_nothing_is_refused(tiny: bytes) -> None:
    loaded = _native.Object(tiny, role="core", programs=["on_enter", "on_tracepoint"])

    with pytest.raises(_native.Error):
        loaded.attach_raw_tracepoint("on_enter", "nonesuch")
    with pytest.raises(_native.Error):
        loaded.attach_tracepoint("on_tracepoint", "syscalls", "nonesuch")
    loaded.attach_tracepoint("on_tracepoint", "syscalls", "sys_enter_getppid").detach()


def test_maps_are_shared_by_reuse(tiny: bytes) -> None:
    first = open_tiny(tiny)
    second = _native.Object(tiny, role="core", reuse={"owner": first.map_fd("owner")}, programs=["on_enter"])

    assert _native.map_lookup(second.map_fd("owner"), ZERO, 4) == own_tgid()
    assert _native.map_lookup(second.map_fd("counters"), ZERO, 16 * _native.possible_cpus()) is not None


def test_hash_map_can_be_written_listed_and_emptied() -> None:
    fd = _native.map_create(1, 4, 8, 16)
    for key in (b"\1\0\0\0", b"\2\0\0\0"):
        _native.map_update(fd, key, bytes(8))

    assert sorted(_native.map_keys(fd, 4, 16)) == [b"\1\0\0\0", b"\2\0\0\0"]
    assert len(_native.map_keys(fd, 4, 1)) == 1
    assert _native.map_delete(fd, b"\1\0\0\0")
    assert not _native.map_delete(fd, b"\1\0\0\0")
    assert _native.map_lookup(fd, b"\1\0\0\0", 8) is None
    os.close(fd)


ARRAY, PERCPU_ARRAY, HASH = 2, 6, 1


@pytest.mark.parametrize("kind", [ARRAY, PERCPU_ARRAY], ids=["array", "array by CPU"])
def test_map_whose_values_are_larger_than_what_is_asked_for_is_refused(kind: int) -> None:
    fd = _native.map_create(kind, 4, 16, 1)
    whole = 16 * (_native.possible_cpus() if kind == PERCPU_ARRAY else 1)
    try:
        assert _native.map_lookup(fd, ZERO, whole) == bytes(whole)
        for size in (0, 8, whole - 1):
            with pytest.raises(_native.Error, match="look up in map"):
                _native.map_lookup(fd, ZERO, size)
            with pytest.raises(_native.Error, match="update map"):
                _native.map_update(fd, ZERO, bytes(size))
        with pytest.raises(_native.Error, match="look up in map"):
            _native.map_lookup(fd, b"", whole)
    finally:
        os.close(fd)


def test_map_whose_keys_are_larger_than_what_is_asked_for_is_refused() -> None:
    fd = _native.map_create(HASH, 100, 8, 4)
    try:
        for use in (lambda: _native.map_keys(fd, 4, 9), lambda: _native.map_delete(fd, ZERO)):
            with pytest.raises(_native.Error):
                use()
        with pytest.raises(_native.Error):
            _native.map_lookup(0, ZERO, 8)
    finally:
        os.close(fd)


def test_program_info_follows_a_program_by_id(tiny: bytes) -> None:
    loaded = open_tiny(tiny)
    info = _native.program_info(loaded.program_fd("on_enter"))
    fd = _native.program_fd_by_id(int(info["id"]))

    assert info["name"] == "on_enter"
    assert int(info["instructions"]) > 20
    assert _native.program_info(fd)["id"] == info["id"]
    os.close(fd)


@pytest.mark.parametrize("layout", [(79, 0, 0), (80, 1, 0), (128, 6, 1), (70_000, 6, 1)], ids=str)
def test_layout_that_does_not_fit_is_refused(tiny: bytes, layout: tuple[int, int, int]) -> None:
    loaded = open_tiny(tiny)

    with pytest.raises(ValueError, match="layout of event 7"):
        _native.Drain(loaded.map_fd("events"), {7: layout}, QUEUE_BYTES)


def test_drain_of_another_map_is_refused(tiny: bytes) -> None:
    loaded = open_tiny(tiny)

    with pytest.raises(_native.Error):
        _native.Drain(loaded.map_fd("owner"), LAYOUTS, QUEUE_BYTES)


@pytest.mark.parametrize(
    "data", [bytes(79), bytes(80), struct.pack("=I", 81) + bytes(76)], ids=["short", "zero", "past"]
)
def test_records_that_do_not_fill_their_data_are_refused(data: bytes) -> None:
    with pytest.raises(_native.Error):
        _native.Records(data)


def test_records_can_be_made_of_bytes() -> None:
    one = struct.pack("=IHH", 83, 7, 0) + bytes(75) + bytes(5)
    records = _native.Records(one * 3)

    assert len(records) == 3
    assert struct.unpack("=3I", records.offsets) == (0, 88, 176)
    assert records.tally() == {(7, 0): 3}
    assert records.tally(1, 2) == {(7, 0): 1}


def test_file_offsets_come_from_btf() -> None:
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.fail("this kernel has no BTF")

    assert _native.btf_member_offset("task_struct", "thread_info") >= 0
    with pytest.raises(_native.Error):
        _native.btf_member_offset("task_struct", "nonesuch")
