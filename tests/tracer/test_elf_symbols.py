"""Functions of ELF files: of whole ones, and of those that were made to harm their reader."""

import lzma
import random
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.elf_files import SHT_DYNSYM, make_elf, make_link
from traceleft.tracer.stacks import elf_symbols
from traceleft.tracer.stacks.elf_symbols import NAME_MAX, ElfError, ElfFile, ElfSymbols, matches
from traceleft.tracer.stacks.places import Place


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, size: data[offset : offset + size]


def find(data: bytes, place: int) -> Place | None:
    return ElfSymbols(ElfFile(reader(data))).find(place)


FUNCTIONS = [("main", 0x1000, 0x20), ("__libc_read", 0x2000, 0x10), ("read", 0x2000, 0x10), ("_r", 0x2000, 0x8)]


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (0x1000, ("main", 0)),
        (0x101F, ("main", 0x1F)),
        (0x1020, None),
        (0xFFF, None),
        (0x2004, ("read", 4)),
        (0x2009, ("read", 9)),
        (1 << 33, None),
    ],
)
@pytest.mark.parametrize("kind", [elf_symbols.SHT_SYMTAB, SHT_DYNSYM])
def test_place_lies_in_a_function(place: int, named: Place | None, kind: int) -> None:
    assert find(make_elf(FUNCTIONS, kind=kind), place) == named


def test_what_is_no_function_names_nothing() -> None:
    assert find(make_elf(FUNCTIONS, symbol_type=1), 0x1000) is None


def test_own_interpreter_is_read_as_nm_reads_it() -> None:
    path = Path(sys.executable).resolve()
    listed = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    functions = {name: int(value, 16) for value, kind, name in map(str.split, listed.splitlines()) if kind == "T"}
    data = path.read_bytes()
    file = ElfFile(reader(data))
    symbols = ElfSymbols(file)
    chosen = sorted(functions)[:: max(len(functions) // 50, 1)]
    found = {}
    for name in chosen:
        segment = next(each for each in file.segments if each.address <= functions[name] < each.address + each.size)
        place = symbols.find(functions[name] - segment.address + segment.offset)
        found[name] = None if place is None else functions.get(place[0])

    assert found == {name: functions[name] for name in chosen}


def test_debug_information_is_found_by_build_id_or_checksum() -> None:
    debug = make_elf(FUNCTIONS, build_id=b"\1\2\3\4")
    stripped = ElfFile(reader(make_elf([], kind=SHT_DYNSYM, build_id=b"\1\2\3\4", link=make_link(b"a.debug", debug))))
    link = stripped.debug_link

    assert (stripped.build_id, stripped.has_all_symbols) == (b"\1\2\3\4", False)
    assert link is not None and link.name == "a.debug"
    read = reader(debug)
    assert matches(ElfFile(read), read, build_id=b"\1\2\3\4", checksum=None)
    assert not matches(ElfFile(read), read, build_id=b"\1\2\3\5", checksum=link.checksum)
    assert matches(ElfFile(read), read, build_id=None, checksum=link.checksum)
    assert not matches(ElfFile(read), read, build_id=None, checksum=link.checksum ^ 1)
    symbols = ElfSymbols(stripped)
    assert symbols.find(0x1000) is None
    symbols.add(ElfFile(read))
    assert symbols.find(0x1008) == ("main", 8)


def test_compressed_symbols_within_are_read() -> None:
    inner = lzma.compress(make_elf(FUNCTIONS))

    assert find(make_elf([], kind=SHT_DYNSYM, packed=inner), 0x1001) == ("main", 1)


@pytest.mark.parametrize("packed", [b"not xz", lzma.compress(b"not ELF"), lzma.compress(bytes(200 << 20))[:5000]])
def test_compressed_rubbish_is_passed_over(packed: bytes) -> None:
    assert find(make_elf(FUNCTIONS, packed=packed), 0x1001) == ("main", 1)


def test_compressed_bomb_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf_symbols, "UNPACKED_MAX", 1 << 20)
    bomb = lzma.compress(bytes(64 << 20), preset=0)
    tracemalloc.start()
    try:
        assert find(make_elf(FUNCTIONS, packed=bomb), 0x1001) == ("main", 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_one_long_name_of_many_functions_is_read_only_as_it_is_shown() -> None:
    data = make_elf([("", 0x1000 * rank, 0x1000) for rank in range(1, 401)], shared_name=b"n" * (4 << 20))
    tracemalloc.start()
    try:
        symbols = ElfSymbols(ElfFile(reader(data)))
        found = symbols.find(0x5008)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found is not None
    assert (len(found[0]), found[0][-1], found[1]) == (NAME_MAX, "…", 8)
    assert peak < 4 << 20


def test_table_without_end_is_read_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf_symbols, "SYMBOLS_MAX", 1000)
    data = bytearray(make_elf(FUNCTIONS))
    at = int.from_bytes(data[40:48], "little") + 64
    # The table of symbols: a terabyte of them, and what is beyond the file reads as zeros, as in one with holes.
    struct.pack_into("<Q", data, at + 32, 1 << 40)
    read = 0

    def sparse(offset: int, size: int) -> bytes:
        nonlocal read
        read += size
        return bytes(data[offset : offset + size]).ljust(size, b"\0")

    assert ElfSymbols(ElfFile(sparse)).find(0x1001) == ("main", 1)
    assert read < 1000 * 24 + (1 << 16)


def test_code_is_preferred_where_segments_hold_the_same_bytes() -> None:
    data = bytearray(make_elf(FUNCTIONS))
    segment = bytearray(data[64:120])
    # The same bytes, to be written at another address.
    struct.pack_into("<I", segment, 4, 6)
    struct.pack_into("<Q", segment, 16, 0x900000)
    at = len(data)
    data += segment + data[64:120]
    struct.pack_into("<Q", data, 32, at)
    struct.pack_into("<H", data, 56, 2)

    assert find(bytes(data), 0x1001) == ("main", 1)


@pytest.mark.parametrize("name", [b"a/b", b"", b"/dev/zero", b"x" * 8192])
def test_link_that_is_no_name_is_none(name: bytes) -> None:
    assert ElfFile(reader(make_elf([], link=make_link(name, b"")))).debug_link is None


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"MZ" + bytes(100), make_elf([])[:63], b"\x7fELF\2\2" + bytes(99)])
def test_what_is_no_elf_file_is_refused(data: bytes) -> None:
    with pytest.raises(ElfError):
        ElfFile(reader(data))


def test_counts_that_are_lies_end_with_the_file() -> None:
    data = bytearray(make_elf(FUNCTIONS))
    struct.pack_into("<HHHHH", data, 54, 56, 0xFFFF, 64, 0xFFFF, 0xFFFE)

    with pytest.raises(ElfError):
        ElfFile(reader(bytes(data)))


def test_mutated_files_are_read_or_refused() -> None:
    whole = make_elf(
        FUNCTIONS, build_id=b"\1" * 20, link=make_link(b"a.debug", b""), packed=lzma.compress(make_elf([]))
    )
    source = random.Random(13)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(source.randint(1, 8)):
            data[source.randrange(len(data))] = source.choice([0, 1, 0x7F, 0xFF, source.randrange(256)])
        try:
            file = ElfFile(reader(bytes(data[: source.choice([len(data), source.randrange(len(data))])])))
            found = ElfSymbols(file).find(0x1008)
            assert found is None or len(found[0]) <= NAME_MAX
            assert file.debug_link is None or "/" not in file.debug_link.name
            outcomes["read"] += 1
        except ElfError:
            outcomes["refused"] += 1

    assert min(outcomes.values()) > 100
