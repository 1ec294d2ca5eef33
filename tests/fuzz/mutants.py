"""Objects that someone changed, loaded as a trace loads them.

``python -m tests.fuzz.mutants --cases 50000 [OBJECT...]``. A case is an object with some bytes
changed, as its number and the seed say. Each is checked and loaded in another
process, with bounds on memory and time: what the check refuses must not reach libbpf, and what it takes must harm
neither libbpf nor what else reads objects.
"""

import argparse
import lzma
import mmap
import os
import resource
import signal
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Final, Literal

from tests.support.paths import TESTS
from traceleft.battery._object import find_offences
from traceleft.battery.objects.elf import inspect_object
from traceleft.battery.objects.map_btf import MapFacts
from traceleft.errors import BatteryError
from traceleft.tracer import _native

OBJECTS: Final = TESTS / "data" / "objects"
MEMORY_BYTES: Final = 2 << 30
CASE_S: Final = 60
# One case in so many has its programs loaded as well, which takes most of the time.
LOADED: Final = 8
WORDS: Final = (0, 1, 2, 3, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEADER_BYTES, SECTION_BYTES = 64, 64
# Magic number, version, flags, and the length of the header, which .BTF.ext has longer.
BTF_HEAD: Final = b"\x9f\xeb\x01\x00\x18"
REFUSED, TAKEN, WRONG = range(3)
COUNTERS: Final = struct.Struct("<QQQQ")
Make = Callable[[int], tuple["Sound", bytes]]


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """An object as it was built, and where its parts lie."""

    name: str
    data: bytes
    role: Literal["core", "handler"]
    parts: tuple[range, ...]
    programs: tuple[str, ...]
    maps: tuple[MapFacts, ...]


def read_sound(path: Path) -> Sound:
    """Read an object, packed or as it is; the core is known by one of its programs."""
    data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    role: Literal["core", "handler"] = "core" if b"\0find_status\0" in data else "handler"
    at, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    heads = [struct.unpack_from("<IIQQQQ", data, at + SECTION_BYTES * each) for each in range(count)]
    parts = [range(start, start + size) for *_, start, size in heads if size]
    table = range(at, at + SECTION_BYTES * count)
    facts = inspect_object(data)
    programs = tuple(each.name for each in facts.programs if each.section in ("tp", "raw_tp"))
    return Sound(path.name, data, role, (range(HEADER_BYTES), table, table, *parts), programs, facts.maps)


def make_mutant(sound: Sound, random: Random) -> bytes:
    """Change an object: single bytes, words, moved or cut parts, mostly within one part of it."""
    data = bytearray(sound.data)
    part = random.choice(sound.parts)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.choice(part)
        match random.randrange(8):
            case 0 | 1 | 2:
                data[at] = random.randrange(256)
            case 3 | 4:
                data[at] ^= 1 << random.randrange(8)
            case 5 | 6:
                word = random.choice((*WORDS, random.choice(part), random.randrange(300)))
                data[at & ~3 : (at & ~3) + 4] = struct.pack("<I", word)
            case _:
                size, source = random.randrange(1, 64), random.choice(part)
                data[at : at + size] = data[source : source + size]
    if random.randrange(40) == 0:
        del data[random.randrange(len(data)) :]
    return bytes(data)


@cache
def core_maps(sound: Sound) -> dict[str, int]:
    """Make the maps that the core has for an event's object."""
    if sound.role == "core":
        return {}
    numbers = {each.name: each.numbers for each in sound.maps}
    shapes = {
        name: (each["type"], each.get("key_size", 0), each.get("value_size", 0), each["max_entries"])
        for name, each in numbers.items()
    }
    return {name: _native.map_create(*shape, numbers[name].get("map_flags", 0)) for name, shape in shapes.items()}


def try_case(sound: Sound, data: bytes, *, loads_programs: bool) -> int:
    """Check and load an object; WRONG where the checks disagree."""
    offences = find_offences(data, sound.role)
    sizes = dict.fromkeys(("counters", "counts"), 1) | {"events": 4096}
    programs = sound.programs if loads_programs and not offences else ()
    try:
        _native.Object(data, role=sound.role, sizes=sizes, programs=programs, reuse=core_maps(sound)).close()
    except _native.Error as exc:
        if (exc.args[1] == "trust the object") != bool(offences):
            return WRONG
    if offences:
        return REFUSED
    try:
        inspect_object(data)
    except BatteryError as exc:
        print(f"{sound.name}: only battery/objects/elf.py refuses it: {exc}", flush=True)
        return WRONG
    return TAKEN


def run_cases(make: Make, *, first: int, stop: int) -> Counter[str]:
    """Run cases, each in the process of the one before unless that died; return how many ended how."""
    shared = mmap.mmap(-1, COUNTERS.size)
    found: Counter[str] = Counter()
    at = first
    while at < stop:
        shared[:] = COUNTERS.pack(at, 0, 0, 0)
        child = os.fork()
        if not child:
            _work(make, at, stop, shared)
        _, status = os.waitpid(child, 0)
        at, refused, taken, wrong = COUNTERS.unpack(shared[:])
        found += Counter(refused=refused, taken=taken, wrong=wrong)
        if status:
            how = "hung" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else "crashed"
            print(f"case {at}: {how}, status {status:#x}", flush=True)
            found[how] += 1
            at += 1
    return found


def some_bytes(sounds: Sequence[Sound], seed: int) -> Make:
    """Return what makes cases of any changes."""

    def make(number: int) -> tuple[Sound, bytes]:
        random = Random(f"{seed}/{number}")
        sound = random.choice(sounds)
        return sound, make_mutant(sound, random)

    return make


def each_byte_of_btf(sounds: Sequence[Sound]) -> tuple[Make, int]:
    """Return what changes one byte of .BTF after the other, each in three ways, and how many cases that gives."""
    places = [(sound, at) for sound in sounds for at in btf_of(sound)]

    def make(number: int) -> tuple[Sound, bytes]:
        sound, at = places[number // 3]
        data = bytearray(sound.data)
        data[at] ^= (0xFF, 0x01, 0x40)[number % 3]
        return sound, bytes(data)

    return make, 3 * len(places)


def btf_of(sound: Sound) -> range:
    """Return where an object's .BTF lies."""
    return next(part for part in sound.parts if sound.data[part.start : part.start + len(BTF_HEAD)] == BTF_HEAD)


def _work(make: Make, first: int, stop: int, shared: mmap.mmap) -> None:
    """Run cases until the last; does not return."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    counts = [0, 0, 0]
    for number in range(first, stop):
        shared[:] = COUNTERS.pack(number, *counts)
        signal.alarm(CASE_S)
        sound, data = make(number)
        counts[try_case(sound, data, loads_programs=number % LOADED == 0)] += 1
    shared[:] = COUNTERS.pack(stop, *counts)
    os._exit(0)


def main() -> int:
    """Run cases; the status is 1 where one crashed, hung, or was judged in two ways."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.mutants", description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000, help="the number of the last one, and 1 (default: 50000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same cases (default: 1)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--btf", action="store_true", help="change each byte of .BTF instead, each in three ways")
    parser.add_argument("objects", type=Path, nargs="*", help="objects to change (default: those of tests/data)")
    options = parser.parse_args()
    sounds = [read_sound(path) for path in options.objects or sorted(OBJECTS.glob("*.o.xz"))]
    make, stop = each_byte_of_btf(sounds) if options.btf else (some_bytes(sounds, options.seed), options.cases)
    found = run_cases(make, first=options.first, stop=stop)
    print(", ".join(f"{found[how]} {how}" for how in ("refused", "taken", "wrong", "crashed", "hung")))
    return int(bool(found["wrong"] + found["crashed"] + found["hung"]))


if __name__ == "__main__":
    sys.exit(main())
