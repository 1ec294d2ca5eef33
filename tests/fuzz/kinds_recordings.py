"""Recordings with stacks and cgroups, with sound checksums, read as replay, export and report do; and records alone."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.fuzz.kinds import Case, kind
from tests.fuzz.kinds_formats import CALLS, POINTS, read_formats
from tests.fuzz.mutation import NUMBERS, encode_document, mutate_bytes, mutate_document
from tests.support.recordings import EPOCH, LEDGER, Kept, padded
from tests.support.records import Capture, Record, encode
from traceleft.aggregator.pages.overview import make_overview
from traceleft.aggregator.stored.export import recording_tables
from traceleft.generator.format_source import FormatSource
from traceleft.generator.schema import make_schema
from traceleft.record_layout import HEADER, STACKS
from traceleft.tracer import _native
from traceleft.tracer.account.handout import Handout
from traceleft.tracer.decode.stack import Frame, Stack
from traceleft.tracer.dispatch import Dispatcher
from traceleft.tracer.output.text import Line, TextOptions
from traceleft.tracer.recording import Recorder, Recording, make_head
from traceleft.tracer.recording.file_format import (
    HEADER_BYTES,
    RECORDS,
    pack_block,
    pack_preamble,
    read_header,
    unpack_block,
)
from traceleft.tracer.recording.reader import recorded_names
from traceleft.tracer.replay import Replay
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.spec import EventSpec
from traceleft.tracer.stacks.live_stacks import read_ids
from traceleft.tracer.stacks.recorded_stacks import StackNotes

FRAMES: Final = (Frame(0x401010, "read", 0x10, "/lib/libc.so.6"), Frame(0x401020, None, 0x1020, "/bin/x"), Frame(0x7F))
DOCUMENT: Final = make_schema(
    FormatSource("6.1.0", "x86_64", read_formats()), events=[*CALLS, *(point.replace("/", ":") for point in POINTS)]
).document
SCHEMA: Final = load_schema(DOCUMENT)
SPECS: Final = {spec.id: spec for spec in SCHEMA.events.values()}


class Known:
    """Stands for the stacks of a running trace."""

    def ids(self, records: _native.Records) -> Iterator[tuple[int, int, int, int]]:
        yield from read_ids(records, {spec.id: spec.fixed_size for spec in SPECS.values()})

    def find(self, pid: int, kernel: int, user: int, at_ns: int) -> Stack:
        return Stack(FRAMES[:1], FRAMES)


def make_record(random: Random, spec: EventSpec, seq: int) -> bytes:
    """Return a record of an event, with something in all of its slots, as it lies in a batch."""
    captures = {
        slot: Capture(random.choice((b"/etc/passwd", random.randbytes(random.choice((0, 1, 16, 64, 200))))))
        for slot in range(len(spec.slots))
    }
    args = [random.choice((seq, *NUMBERS)) & (1 << 64) - 1 for _ in range(spec.args_count)]
    record = Record(args, captures, ret=random.choice((0, -2, 5)), ts=1_000 * (seq + 1), seq=seq)
    data = bytearray(padded(encode(spec, record)))
    if random.random() < 0.3:
        data += struct.pack("<qq", 7, 9)
        struct.pack_into("<I", data, 0, len(data))
        data[6:8] = struct.pack("<H", STACKS)
    return bytes(data)


def read_records() -> list[bytes]:
    """Return records of all events of ``DOCUMENT``, the same each time."""
    random = Random(7)
    return [make_record(random, spec, seq) for seq, spec in enumerate(list(SPECS.values()) * 2)]


def sound_recording(file: Path) -> bytes:
    """Write a recording of two blocks of records, with their stacks and cgroups; return its bytes."""
    records = read_records()
    with Recorder(file, find_cgroups=lambda ids: dict.fromkeys(ids, "/system.slice/a.service")) as recorder:
        recorder.keep_stacks(StackNotes(Known()))
        recorder.begin(make_head(DOCUMENT, host="box", offset_ns=EPOCH))
        for part in (records[::2], records[1::2]):
            recorder.write(b"".join(part))
            recorder.flush()
        recorder.close(LEDGER)
    return file.read_bytes()


def blocks_of(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Return the keys and the contents of each block of a recording."""
    found, at = [], len(pack_preamble())
    while at < len(data):
        block = read_header(data[at : at + HEADER_BYTES])
        at += HEADER_BYTES
        keys = {name: getattr(block, name) for name in ("kind", "number", "records", "first_ns", "last_ns")}
        found.append((keys, unpack_block(block, data[at : at + block.stored])))
        at += block.stored
    return found


def mutate_recording(random: Random, sound: bytes, blocks: list[tuple[dict[str, Any], bytes]]) -> bytes:
    """Return a recording whose bytes, blocks, or contents of blocks are not what was written."""
    if random.random() < 0.15:
        return mutate_bytes(random, sound)
    made = [*blocks]
    for _ in range(random.randint(1, 2)):
        at = random.randrange(len(made))
        keys, content = made[at]
        match random.random():
            case chance if chance < 0.1:
                bounds = {"kind": 255, "number": 1 << 32, "records": 1 << 32, "first_ns": 1 << 64, "last_ns": 1 << 64}
                name, bound = random.choice([*bounds.items()])
                made[at] = ({**keys, name: random.choice(NUMBERS) % bound}, content)
            case chance if chance < 0.2:
                made.insert(random.randrange(len(made) + 1), made[at])
            case _:
                made[at] = (keys, mutate_content(random, keys["kind"], content))
    return pack_preamble() + b"".join(pack_block(data=content, **keys) for keys, content in made)


def mutate_content(random: Random, kind: int, content: bytes) -> bytes:
    try:
        document = None if kind == RECORDS or random.random() < 0.2 else json.loads(content)
    except (ValueError, RecursionError):
        # It was changed before.
        document = None
    return (
        mutate_bytes(random, content)
        if document is None
        else encode_document(random, mutate_document(random, document))
    )


@kind("recording", 14)
def recordings(directory: Path) -> Case:
    sound = sound_recording(directory / "sound")
    blocks = blocks_of(sound)
    file = directory / "hostile"

    def run(random: Random) -> None:
        file.write_bytes(mutate_recording(random, sound, blocks))
        with Recording.open(file) as recording:
            READERS[random.choice([*READERS])](recording, random)

    return run


def _replay_json(recording: Recording, random: Random) -> None:
    replay = Replay(recording)
    replay.write_json(Kept(), raw=random.random() < 0.2)
    replay.run()


def _replay_text(recording: Recording, random: Random) -> None:
    replay = Replay(recording)
    line = Line(TextOptions(time=random.choice(("t", "r")), durations=True, raw=random.random() < 0.2))
    lines: list[str] = []
    counts = replay.count()
    replay.on(",".join(replay.specs), lambda event: lines.append(line.show(event)))
    replay.run()
    counts()
    assert all(text.isprintable() for text in lines), "a control character got through"


def _export(recording: Recording, random: Random) -> None:
    for table in recording_tables(recording):
        table.validate(full=True)


def _overview(recording: Recording, random: Random) -> None:
    make_overview([recording])


def _stacks_and_paths(recording: Recording, random: Random) -> None:
    names = recorded_names(recording)
    for event in recording.events():
        names.name(event)
        str(event.stack)


READERS: Final = {
    "json": _replay_json,
    "text": _replay_text,
    "export": _export,
    "overview": _overview,
    "stacks": _stacks_and_paths,
}


@kind("record", 8)
def records(directory: Path) -> Case:
    """Records alone, decoded as in a running trace."""
    sound = read_records()

    def run(random: Random) -> None:
        chosen = [_hostile(random, random.choice(sound)) for _ in range(random.randint(1, 3))]
        made = _native.Records(b"".join(chosen))
        for wants_lines in (True, False):
            dispatcher = Dispatcher(SPECS, SCHEMA.tables)
            if wants_lines:
                dispatcher.write_json(Kept(), raw=random.random() < 0.2)
            else:
                dispatcher.on([*SPECS.values()], lambda event: event.decoded())
            dispatcher.dispatch(Account(), made, len(made))

    return run


def _hostile(random: Random, record: bytes) -> bytes:
    """Return a record of other bytes with its event and its length, which are the kernel's word."""
    data = bytearray(mutate_bytes(random, record).ljust(HEADER.size, b"\0"))
    struct.pack_into("<I", data, 0, len(data))
    data[4:6] = record[4:6]
    return padded(bytes(data))


class Account:
    """Takes what was handed out."""

    def hand_out(self, records: _native.Records) -> Handout:
        return Handout(records)

    def settle(self, handout: Handout) -> None:
        """Nothing is counted."""

    def look_ahead(self) -> None:
        """Nothing is to come."""
