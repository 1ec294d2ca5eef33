"""Stacks: what records say of them, what was mapped when, how frames are named and shown. No kernel."""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.recordings import LEDGER, SCHEMA, closed, head
from tests.support.records import OPENED, Record, encode, openat
from traceleft.aggregator.streaming.batch_columns import BatchColumns
from traceleft.errors import UnsupportedError
from traceleft.record_layout import STACKS
from traceleft.tracer import _native
from traceleft.tracer.decode.decoder import Decoder, UndecodableError
from traceleft.tracer.decode.stack import Frame, Stack
from traceleft.tracer.kernel.memory import choose_stack_entries
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.lines import compile_program
from traceleft.tracer.recording import Recorder, Recording
from traceleft.tracer.recording.file_format import BrokenError, decode
from traceleft.tracer.stacks import mappings, symbols
from traceleft.tracer.stacks.live_stacks import leave_probe, read_ids, unpack_addresses
from traceleft.tracer.stacks.mapped_files import open_mapped
from traceleft.tracer.stacks.mappings import Spaces, parse_maps
from traceleft.tracer.stacks.recorded_stacks import RecordedStacks, StackNames, StackNotes
from traceleft.tracer.stacks.sideband import COMM, FORK, IS_EXEC, LOST, MMAP2, apply_note
from traceleft.tracer.stacks.symbols import Symbols, import_bcc

NAMED = Frame(0x401010, "read", 0x10, "/lib/libc.so.6")
PLACED = Frame(0x401010, None, 0x1010, "/lib/libc.so.6")
BARE = Frame(0xFFFF8000)
OF_KERNEL = Frame(0xFFFFFFFF81000010, "vfs_read", 0x10)


class Known:
    """Stands for what knows stacks by their ids."""

    def take(self, records: _native.Records) -> None:
        pass

    def find(self, pid: int, kernel: int, user: int, at_ns: int) -> Stack:
        assert (pid, at_ns) == (5518, 1_000)
        return Stack((OF_KERNEL,) if kernel == 7 else None, (NAMED, BARE) if user == 9 else None)


def with_stacks(kernel: int = 7, user: int = 9, *, cut: int = 0) -> bytes:
    """Return a record of openat that carries ids; of the 16 bytes ``cut`` are missing."""
    spec, _ = openat()
    record = bytearray(encode(spec, Record((-100 & 2**64 - 1, 0, 0, 0), flags=STACKS)))
    record += struct.pack("<qq", kernel, user)[: 16 - cut]
    struct.pack_into("<I", record, 0, len(record))
    return bytes(record)


def decoder() -> Decoder:
    made = Decoder(*openat())
    made.stacks = Known()
    return made


@pytest.mark.parametrize(
    ("frame", "shown", "text", "folded"),
    [
        (NAMED, "read+0x10 (/lib/libc.so.6)", "/lib/libc.so.6(read+0x10) [0x401010]", "read"),
        (PLACED, "0x401010 (/lib/libc.so.6+0x1010)", "/lib/libc.so.6(+0x1010) [0x401010]", "[libc.so.6]"),
        (BARE, "0xffff8000", "[0xffff8000]", "[unknown]"),
        (OF_KERNEL, "vfs_read+0x10", "vfs_read+0x10 [0xffffffff81000010]", "vfs_read"),
        (Frame(1, "a;b"), "a;b+0x0", "a;b+0x0 [0x1]", "a:b"),
        (Frame(1, None, 2, "[vdso]"), "0x1 ([vdso]+0x2)", "[vdso](+0x2) [0x1]", "[vdso]"),
    ],
)
def test_frame_is_shown_as_far_as_it_is_known(frame: Frame, shown: str, text: str, folded: str) -> None:
    assert (str(frame), frame.text, frame.folded) == (shown, text, folded)


def test_folded_stack_begins_with_the_outermost_and_ends_in_the_kernel() -> None:
    assert Stack((OF_KERNEL, BARE), (NAMED, PLACED)).folded() == "[libc.so.6];read;[unknown]_[k];vfs_read_[k]"
    assert Stack((), (NAMED,)).folded() == "read"
    assert Stack(None, None).folded() == "[user lost];[kernel lost]_[k]"


def test_stack_that_could_not_be_kept_is_null_and_one_that_is_not_there_is_empty() -> None:
    assert Stack(None, ()).to_json() == {"kernel": None, "user": []}
    assert list(Stack(None, (BARE,)).lines()) == ["kernel stack unreadable", "[0xffff8000]"]


def test_event_tells_its_stack() -> None:
    event = decoder().decode(with_stacks())

    assert event.stack == Stack((OF_KERNEL,), (NAMED, BARE))
    line = json.loads(to_json_line(event))
    assert line["stack"] == {"kernel": ["vfs_read+0x10"], "user": ["read+0x10 (/lib/libc.so.6)", "0xffff8000"]}
    assert list(line)[-1] == "stack"


def test_without_stacks_nothing_is_said_of_them() -> None:
    spec, tables = openat()
    plain = decoder().decode(encode(spec, OPENED))
    unknown = Decoder(spec, tables).decode(with_stacks())

    assert (plain.stack, unknown.stack) == (None, None)
    assert b"stack" not in to_json_line(plain) + to_json_line(unknown)


@pytest.mark.parametrize("cut", [1, 8, 16])
def test_record_whose_ids_are_cut_is_refused(cut: int) -> None:
    spec, _ = openat()
    record = with_stacks(cut=cut)
    records = _native.Records(record + bytes(-len(record) % 8))

    with pytest.raises(UndecodableError, match="stacks are missing"):
        decoder().decode(record)
    ((_, _, _, is_checked),) = records.cut(0, 1, {spec.id: ("kept", *(decoder().layout or (0, 0, 0)))})
    assert is_checked is False
    assert list(read_ids(records, {spec.id: spec.fixed_size})) == []


def test_records_with_stacks_are_left_to_python_by_what_makes_lines() -> None:
    spec, tables = openat()
    lines = _native.Lines(compile_program([spec], tables))
    plain = encode(spec, OPENED)
    records = _native.Records(plain + bytes(-len(plain) % 8) + with_stacks())

    text, after = lines.render(records, 0, 2, 0, 1 << 20)
    assert (text.count(b"\n"), after) == (1, 1)
    assert lines.render(records, 1, 2, 0, 1 << 20) == (b"", 1)


def test_ids_are_read_of_records_that_carry_them() -> None:
    spec, _ = openat()
    plain = encode(spec, OPENED)
    records = _native.Records(plain + bytes(-len(plain) % 8) + with_stacks(7, -17))

    assert list(read_ids(records, {spec.id: spec.fixed_size})) == [(5518, 7, -17, 1_000)]
    assert list(read_ids(records, {})) == []


def test_value_of_the_map_ends_with_zeros() -> None:
    assert unpack_addresses(struct.pack("=4Q", 3, 2, 0, 0)) == (3, 2)
    assert unpack_addresses(struct.pack("=2Q", 3, 2)) == (3, 2)
    assert unpack_addresses(bytes(16)) == ()


def test_frames_of_the_probe_itself_are_left_out() -> None:
    own = (Frame(1, "bpf_prog_1234_raw_exit_read", 8), Frame(2, "bpf_trace_run2"), Frame(3, "__bpf_trace_sys_exit"))

    assert leave_probe((*own, OF_KERNEL, own[0])) == (OF_KERNEL, own[0])
    assert leave_probe((BARE, OF_KERNEL)) == (BARE, OF_KERNEL)


@pytest.mark.parametrize(("asked", "entries"), [(1, 1), (3, 4), (4096, 4096)])
def test_places_for_stacks_are_a_power_of_two(asked: int, entries: int) -> None:
    assert choose_stack_entries(asked) == entries


def test_places_for_stacks_go_by_memory_within_bounds() -> None:
    gigabyte = 1 << 30
    chosen = [choose_stack_entries(None, memory_bytes=size * gigabyte // 8) for size in (1, 8, 32, 512)]

    assert chosen == [4096, 16384, 65536, 65536]
    with pytest.raises(UnsupportedError, match="choose between 1 and"):
        choose_stack_entries(0)


USER, OTHER = Frame(0x1000, "first", 1, "/bin/a"), Frame(0x1000, "second", 1, "/bin/b")


def row(frame: Frame) -> tuple[int, str | None, int, str | None]:
    return frame.address, frame.name, frame.offset, frame.module


def test_recorded_stack_is_the_one_that_was_told_of_that_time() -> None:
    stacks = RecordedStacks()
    for _ in range(2):
        stacks.learn(StackNames([(7, [row(OF_KERNEL)])], [(1, 9, 50, [row(OTHER)]), (1, 9, 10, [row(USER)])]))

    found = [stacks.find(1, 7, 9, at_ns) for at_ns in (5, 10, 49, 50, 99)]
    assert [stack.user for stack in found] == [(USER,), (USER,), (USER,), (OTHER,), (OTHER,)]
    assert {stack.kernel for stack in found} == {(OF_KERNEL,)}
    assert stacks.find(2, 8, 9, 10) == Stack(None, None)
    assert stacks.find(2, -14, -14, 10) == Stack((), ())


def test_stacks_of_several_files_are_joined() -> None:
    first, second = RecordedStacks(), RecordedStacks()
    first.learn(StackNames([], [(1, 9, 10, [row(USER)])]))
    second.learn(StackNames([(7, [row(OF_KERNEL)])], [(1, 9, 50, [row(OTHER)])]))
    first.join(second)

    assert [first.find(1, 7, 9, at_ns).user for at_ns in (20, 60)] == [(USER,), (OTHER,)]
    assert first.find(1, 7, 9, 20).kernel == (OF_KERNEL,)


class Live(Known):
    """Stands for the stacks of a running trace."""

    def ids(self, records: _native.Records) -> Iterator[tuple[int, int, int, int]]:
        spec = SCHEMA.events["close"]
        return read_ids(records, {spec.id: spec.fixed_size})


def closed_with_stacks() -> bytes:
    record = bytearray(closed(1, flags=STACKS) + struct.pack("<qq", 7, 9))
    struct.pack_into("<I", record, 0, len(record))
    return bytes(record)


def test_each_file_of_a_recording_tells_the_stacks_of_its_own_records(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r", rotate_bytes=1) as recorder:
        recorder.keep_stacks(StackNotes(Live()))
        recorder.begin(head())
        for _ in range(3):
            recorder.write(closed_with_stacks())
            recorder.flush()
        recorder.close(LEDGER)

    for name, count in (("r", 3), ("r.1", 1), ("r.2", 1)):
        with Recording.open(tmp_path / name) as recording:
            found = [event.stack for event in recording.events()]
            assert found == [Stack((OF_KERNEL,), (NAMED, BARE))] * count


def test_stack_is_told_once_a_file(tmp_path: Path) -> None:
    notes = StackNotes(Live())
    records = _native.Records(closed_with_stacks() * 2)

    told = [notes.tell(records), notes.tell(records)]
    notes.begin()
    assert told == [StackNames([(7, [row(OF_KERNEL)])], [(5518, 9, 1_000, [row(NAMED), row(BARE)])]), None]
    assert notes.tell(records) == told[0]


def test_batch_has_folded_stacks_as_a_column(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r") as recorder:
        recorder.keep_stacks(StackNotes(Live()))
        recorder.begin(head())
        recorder.write(closed(1) + closed_with_stacks())
        recorder.close(LEDGER)

    with Recording.open(tmp_path / "r") as recording:
        (batch,) = recording.batches()
        texts = BatchColumns(batch, recording.schema.tables).texts("stack")
        assert batch.stacks() == [None, "[unknown];read;vfs_read_[k]"]
        assert (texts.codes.tolist(), texts.values) == ([-1, 0], ["[unknown];read;vfs_read_[k]"])


def test_stacks_of_a_hostile_recording_are_kept_up_to_a_bound() -> None:
    stacks = RecordedStacks()
    rows: list[tuple[int, str | None, int, str | None]] = [(1, None, 0, None)] * 1024

    for number in range(3000):
        stacks.learn(StackNames([(number, rows)]))

    assert stacks.find(1, 2000, -14, 0).kernel is not None
    assert stacks.find(1, 2900, -14, 0).kernel is None


def test_recorded_name_cannot_move_the_cursor() -> None:
    stacks = RecordedStacks()
    stacks.learn(StackNames([(7, [(1, "a\x1b[2J", 0, None)])], []))

    (frame,) = stacks.find(1, 7, -17, 1).kernel or ()
    assert frame.name == "a\\x1b[2J"


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b'{"kernel": 1}', b'{"kernel": [[1]]}', b'{"user": [[1, 2, 3]]}', b'{"user": [[1, 2, -3, []]]}'),
        *(b'{"kernel": [[1, [[-1, null, 0, null]]]]}', b'{"kernel": [[1, [[1, 5, 0, null]]]]}'),
        b'{"kernel": [[1, [' + b",".join([b"[1, null, 0, null]"] * 1025) + b"]]]}",
    ],
)
def test_stacks_in_a_recording_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(BrokenError, match="stacks cannot be read"):
        decode(data, StackNames, "stacks")


MAPS = b"""\
00400000-00401000 r--p 00000000 08:01 11 /bin/a b
00401000-00402000 r-xp 00001000 08:01 11                         /bin/a b
7f0000000000-7f0000001000 r-xp 00000000 08:01 12 /lib/gone.so (deleted)
7f0000002000-7f0000003000 rwxp 00000000 00:00 0
7f0000004000-7f0000005000 r-xp 00000000 00:00 0 [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
nonsense
"""


def test_maps_of_a_process_are_read() -> None:
    found = [(each.start, each.offset, each.path, each.inode) for each in parse_maps(MAPS.splitlines())]

    assert found == [
        (0x401000, 0x1000, "/bin/a b", 11),
        (0x7F0000000000, 0, "/lib/gone.so", 12),
        (0x7F0000002000, 0, "", 0),
        (0x7F0000004000, 0, "[vdso]", 0),
        (0xFFFFFFFFFF600000, 0, "[vsyscall]", 0),
    ]


def test_name_of_a_mapping_cannot_move_the_cursor() -> None:
    assert mappings.show_path(b"/tmp/\x1b[2J\xff") == "/tmp/\\x1b[2J\\xff"


NOBODY = 2**22 + 1


def note(kind: int, body: bytes, at_ns: int, misc: int = 0) -> tuple[int, int, bytes]:
    return kind, misc, body + bytes(-len(body) % 8) + struct.pack("=Q", at_ns)


def mapped(pid: int, start: int, path: bytes, at_ns: int) -> tuple[int, int, bytes]:
    return note(MMAP2, struct.pack("=IIQQQIIQQII", pid, pid, start, 0x1000, 0, 8, 1, 77, 0, 5, 0) + path + b"\0", at_ns)


def path_at(spaces: Spaces, pid: int, address: int, at_ns: int) -> str | None:
    found = spaces.find(pid, at_ns).find(address, at_ns)
    return None if found is None else found.path


def told(*notes: tuple[int, int, bytes]) -> Spaces:
    spaces = Spaces(is_told=True)
    for each in notes:
        apply_note(spaces, *each)
    return spaces


def test_process_has_one_program_after_another() -> None:
    pid = NOBODY
    execed = note(COMM, struct.pack("=II", pid, pid) + b"b\0", 20, IS_EXEC)
    spaces = told(mapped(pid, 0x1000, b"/bin/a", 10), execed, mapped(pid, 0x1000, b"/bin/b", 21))

    assert [path_at(spaces, pid, 0x1800, at) for at in (5, 15, 20, 30)] == [None, "/bin/a", None, "/bin/b"]
    assert path_at(spaces, pid, 0x2000, 30) is None


def test_child_begins_as_its_parent_s_copy_and_goes_its_own_way() -> None:
    parent, child = NOBODY, NOBODY + 1
    forked = note(FORK, struct.pack("=IIIIQ", child, parent, child, parent, 20), 20)
    thread = note(FORK, struct.pack("=IIIIQ", parent, parent, 99, parent, 21), 21)
    spaces = told(mapped(parent, 0x1000, b"/bin/a", 10), forked, thread, mapped(child, 0x1000, b"/lib/b", 30))

    assert (path_at(spaces, child, 0x1000, 25), path_at(spaces, child, 0x1000, 35)) == ("/bin/a", "/lib/b")
    assert path_at(spaces, parent, 0x1000, 35) == "/bin/a"


def test_nothing_is_held_to_be_known_after_notes_were_lost() -> None:
    spaces = told(mapped(NOBODY, 0x1000, b"/bin/a", 10), note(LOST, struct.pack("=QQ", 1, 1), 20))

    assert path_at(spaces, NOBODY, 0x1000, 30) is None


def test_own_code_is_found_in_proc() -> None:
    import ctypes
    import os

    address = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value or 0
    found = Spaces(is_told=False).find(os.getpid(), 1).find(address, 1)

    assert found is not None
    assert "libc" in found.path
    with open_mapped(os.getpid(), found) as opened:
        assert opened is not None
        assert os.path.samestat(os.fstat(opened.fd), os.stat(found.path))


def test_without_bcc_the_kernel_s_list_names_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "ffffffff81000000 T _stext\nffffffff81000100 t do_it\t[module]\nffffffff81000100 T __do_it\n0 D zero\n"
    (tmp_path / "kallsyms").write_text(listed)
    monkeypatch.setattr(symbols, "KALLSYMS", tmp_path / "kallsyms")

    frames = Symbols(Spaces(is_told=True)).kernel([0xFFFFFFFF81000110, 0xFFFFFFFF81000000, 0xFFFFFFFF80FFFFFF])

    assert [str(frame) for frame in frames] == ["do_it+0x10", "_stext+0x0", "0xffffffff80ffffff"]


def test_hidden_addresses_of_the_kernel_name_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kallsyms").write_text("0000000000000000 T _stext\n0000000000000000 t do_it\n")
    monkeypatch.setattr(symbols, "KALLSYMS", tmp_path / "kallsyms")

    assert Symbols(Spaces(is_told=True)).kernel([0xFFFFFFFF81000110]) == (Frame(0xFFFFFFFF81000110),)


def test_without_bcc_a_place_has_its_module_and_address() -> None:
    spaces = told(mapped(NOBODY, 0x1000, b"/bin/a", 10))

    assert Symbols(spaces).user(NOBODY, (0x1234, 0x9999), 15) == (Frame(0x1234, None, 0x234, "/bin/a"), Frame(0x9999))


@pytest.mark.parametrize("module", [None, struct], ids=["absent", "another of that name"])
def test_bcc_that_does_not_serve_is_done_without(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcc", module)

    assert import_bcc() is None
