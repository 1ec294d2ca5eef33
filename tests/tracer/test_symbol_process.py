"""The process that reads the files of traced processes: what it holds, what it answers, and what ends it."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.elf_files import make_elf, make_link
from traceleft.tracer.decode.stack import Frame
from traceleft.tracer.stacks import symbol_process, symbol_worker
from traceleft.tracer.stacks import symbols as symbols_module
from traceleft.tracer.stacks.elf_symbols import NAME_MAX
from traceleft.tracer.stacks.mappings import Mapping, Spaces
from traceleft.tracer.stacks.places import Place
from traceleft.tracer.stacks.symbol_process import FAILURES_MAX, SymbolProcess
from traceleft.tracer.stacks.symbols import Symbols

FUNCTIONS = [("main", 0x1000, 0x20), ("_Z3addii", 0x2000, 0x10)]
WAIT_S = 60


@contextmanager
def opened(path: Path, data: bytes) -> Iterator[int]:
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def worker_of(process: SymbolProcess) -> int:
    """Return the pid of the worker, once there is one."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := children_of(process._pid):
            return found[0]
        time.sleep(0.01)
    raise AssertionError("there is no worker")


def held(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(Uid|CapPrm|CapEff|NoNewPrivs|Seccomp):\t(.*)$", text, re.M))


def test_places_are_named(tmp_path: Path) -> None:
    with SymbolProcess() as process, opened(tmp_path / "a", make_elf(FUNCTIONS)) as fd:
        assert process.load(1, fd) is not None
        found = process.name(1, [0x1004, 0x2001, 0x9000] * 5)

    assert found == [("main", 4), ("add(int, int)", 1), None] * 5


def test_debug_information_is_taken_if_it_belongs_to_the_file(tmp_path: Path) -> None:
    debug, other = make_elf(FUNCTIONS), make_elf(FUNCTIONS[:1])
    stripped = make_elf([], kind=11, link=make_link(b"a.debug", debug))
    with SymbolProcess() as process:
        with opened(tmp_path / "a", stripped) as fd:
            reply = process.load(1, fd)
        assert reply is not None and reply.link == "a.debug"
        with opened(tmp_path / "other", other) as fd:
            assert not process.load_debug(1, fd, checksum=reply.checksum)
        with opened(tmp_path / "a.debug", debug) as fd:
            assert process.load_debug(1, fd, checksum=reply.checksum)
        assert process.name(1, [0x1000]) == [("main", 0)]


def test_list_of_functions_is_read(tmp_path: Path) -> None:
    text = b"1000 10 made\n2000 8 Lmain;::run(I)V\nrubbish\n-1 1 x\nffffffffffffffffff 1 y\n3000 0x10 \xff\n4000 1\n"
    with SymbolProcess() as process, opened(tmp_path / "a", text) as fd:
        assert process.load(1, fd, kind="list") is not None
        found = process.name(1, [0x1001, 0x2007, 0x3000, 0x4000])

    assert found == [("made", 1), ("Lmain;::run(I)V", 7), ("\\xff", 0), None]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose privileges are to be given up")
def test_who_reads_has_no_privileges(tmp_path: Path) -> None:
    with SymbolProcess() as process, opened(tmp_path / "a", make_elf(FUNCTIONS)) as fd:
        assert process.load(1, fd) is not None
        nurse, worker = held(process._pid), held(worker_of(process))
        files = {os.readlink(each) for each in Path(f"/proc/{worker_of(process)}/fd").iterdir()}

    nothing = {"Uid": "\t".join(["65534"] * 4), "CapPrm": "0" * 16, "CapEff": "0" * 16, "NoNewPrivs": "1"}
    assert nurse == nothing | {"Seccomp": "0"}
    assert worker == nothing | {"Seccomp": "2"}
    assert {each for each in files if not each.startswith("socket:")} == {os.devnull, str(tmp_path / "a")}


def test_worker_that_ends_is_followed_by_another(tmp_path: Path) -> None:
    with SymbolProcess() as process, opened(tmp_path / "a", make_elf(FUNCTIONS)) as fd:
        assert process.load(1, fd) is not None
        before = process.generation
        os.kill(worker_of(process), signal.SIGKILL)
        assert process.name(1, [0x1000]) is None
        assert process.generation == before + 1
        assert process.load(2, fd) is not None
        assert process.name(2, [0x1000]) == [("main", 0)]


def test_too_many_ends_are_the_end_of_names_and_of_one_line(tmp_path: Path) -> None:
    lines: list[str] = []
    with SymbolProcess(lines.append) as process, opened(tmp_path / "a", make_elf(FUNCTIONS)) as fd:
        for rank in range(FAILURES_MAX):
            assert process.load(2 * rank, fd) is not None
            os.kill(worker_of(process), signal.SIGKILL)
            assert process.name(2 * rank, [0x1000]) is None
        assert process.load(99, fd) is None
        pid = process._pid

    assert len(lines) == 1
    assert not Path(f"/proc/{pid}").exists()


def test_file_that_takes_too_long_ends_the_worker_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_worker, "SECONDS", 0.05)
    slow = make_elf([("", 16 * rank, 16) for rank in range(1, 300_000)], shared_name=b"n")
    spaces = Spaces(is_told=True)
    for pid, name, data in ((1 << 30, "slow", slow), ((1 << 30) + 1, "quick", make_elf(FUNCTIONS))):
        (tmp_path / name).write_bytes(data)
        status = (tmp_path / name).stat()
        spaces.add(pid, Mapping(0, 1 << 40, 0, str(tmp_path / name), status.st_ino, 0, status.st_dev))
    with SymbolProcess() as process:
        symbols = Symbols(spaces, process=process)
        first = symbols.user(1 << 30, (0x1004,), 1)
        failures = process.failures
        second = symbols.user((1 << 30) + 1, (0x1004,), 1)
        third = symbols.user(1 << 30, (0x1008,), 1)
        assert (failures, process.failures) == (1, 1)

    assert first == (Frame(0x1004, None, 0x1004, str(tmp_path / "slow")),)
    assert second == (Frame(0x1004, "main", 4, str(tmp_path / "quick")),)
    assert third == (Frame(0x1008, None, 0x1008, str(tmp_path / "slow")),)


def test_time_is_bounded_where_its_signal_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_worker, "SECONDS", 0.05)
    before = signal.signal(signal.SIGPROF, signal.SIG_IGN)
    slow = make_elf([("", 16 * rank, 16) for rank in range(1, 300_000)], shared_name=b"n")
    try:
        with SymbolProcess() as process, opened(tmp_path / "a", slow) as fd:
            assert process.load(1, fd) is not None
            assert process.name(1, [0x1000]) is None
            assert process.failures == 1
    finally:
        signal.signal(signal.SIGPROF, before)


def test_answers_take_no_longer_than_a_trace_has_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_process, "WAIT_MAX_S", 0.0)
    lines: list[str] = []
    with SymbolProcess(lines.append) as process, opened(tmp_path / "a", make_elf(FUNCTIONS)) as fd:
        assert process.load(1, fd) is not None
        assert process.name(1, [0x1000]) is None

    assert len(lines) == 1


def test_nothing_is_asked_once_a_trace_is_over(tmp_path: Path) -> None:
    over = False
    with SymbolProcess(is_over=lambda: over) as process, opened(tmp_path / "a", make_elf(FUNCTIONS)) as fd:
        assert process.load(1, fd) is not None
        over = True
        assert process.name(1, [0x1000]) is None
        assert process.failures == 0


def mapped(path: Path, pid: int, spaces: Spaces) -> None:
    status = path.stat()
    spaces.begin(pid, 0)
    spaces.add(pid, Mapping(0, 1 << 40, 0, str(path), status.st_ino, 0, status.st_dev))


def test_file_that_was_written_over_has_its_new_names_in_the_next_program(tmp_path: Path) -> None:
    path, spaces = tmp_path / "a", Spaces(is_told=True)
    with SymbolProcess() as process:
        symbols = Symbols(spaces, process=process)
        names = []
        for pid, name in ((1 << 30, "alpha"), ((1 << 30) + 1, "beta_"), ((1 << 30) + 2, "beta_")):
            path.write_bytes(make_elf([(name, 0x1000, 0x20)]))
            mapped(path, pid, spaces)
            names.append(symbols.user(pid, (0x1004,), 1)[0].name)

    assert names == ["alpha", "beta_", "beta_"]


def test_file_that_one_process_cannot_show_is_asked_of_another(tmp_path: Path) -> None:
    path, hidden, spaces = tmp_path / "a", tmp_path / "b", Spaces(is_told=True)
    path.write_bytes(make_elf(FUNCTIONS))
    for pid in (1 << 30, (1 << 30) + 1):
        mapped(path, pid, spaces)
    path.rename(hidden)
    with SymbolProcess() as process:
        symbols = Symbols(spaces, process=process)
        first = symbols.user(1 << 30, (0x1004,), 1)[0].name
        hidden.rename(path)
        assert symbols.user(1 << 30, (0x1008,), 1)[0].name is None
        second = symbols.user((1 << 30) + 1, (0x1004,), 1)[0].name

    assert (first, second) == (None, "main")


def test_list_is_read_again_only_where_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols_module, "LIST_S", 0.0)
    pid, spaces, loads = os.getpid(), Spaces(is_told=True), 0
    spaces.add(pid, Mapping(0x1000, 1 << 40, 0, ""))
    path = Path(f"/tmp/perf-{pid}.map")
    path.write_text("2000 10 first\n")
    try:
        with SymbolProcess() as process:
            load = process.load

            def count(*arguments: Any, **options: Any) -> Any:
                nonlocal loads
                loads += 1
                return load(*arguments, **options)

            monkeypatch.setattr(process, "load", count)
            symbols = Symbols(spaces, process=process)
            names = [symbols.user(pid, (0x2000 + turn,), 1)[0].name for turn in range(4)]
            with path.open("a") as file:
                file.write("3000 10 second\n")
            deadline = time.monotonic() + WAIT_S
            turn = 0
            while (grown := symbols.user(pid, (0x3000 + turn % 16,), 1)[0].name) is None:
                assert time.monotonic() < deadline
                spaces.find(pid, 1).found.clear()
                turn += 1
            numbers = {module._number for module in symbols._lists.values()}
    finally:
        path.unlink()

    assert (names, grown, loads, numbers) == (["first"] * 4, "second", 2, {1})


def test_nobody_answers_and_the_reader_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_process, "PATIENCE_MS", 50)
    lines: list[str] = []
    with SymbolProcess(lines.append) as process, opened(tmp_path / "a", make_elf(FUNCTIONS)) as fd:
        os.kill(worker_of(process), signal.SIGSTOP)
        worker = worker_of(process)
        try:
            assert process.load(1, fd) is None
            assert process.name(1, [0]) is None
        finally:
            os.kill(worker, signal.SIGCONT)

    assert len(lines) == 1


@pytest.mark.parametrize(
    "name",
    [b"\x1b[31mred", b"\xff" * 100, "\u202eright to left".encode(), b"n" * 9000, b"_Z" + b"9" * 5000, b"_ZSt" * 500],
    ids=["escape", "bytes", "bidi", "long", "mangled", "nested"],
)
def test_name_that_would_harm_a_terminal_or_a_recording_does_not(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(make_elf([(name, 0x1000, 0x20)]))
    spaces = Spaces(is_told=True)
    spaces.add(1 << 30, Mapping(0, 1 << 40, 0, str(path), path.stat().st_ino))
    with SymbolProcess() as process:
        (frame,) = Symbols(spaces, process=process).user(1 << 30, (0x1004,), 1)

    assert frame.name is not None and frame.name.isprintable()
    assert len(frame.name) <= 10 * NAME_MAX


def test_many_files_are_read_again_when_room_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbol_worker, "FILES_MAX", 2)
    spaces = Spaces(is_told=True)
    for rank in range(5):
        path = tmp_path / str(rank)
        path.write_bytes(make_elf([(f"f{rank}", 0x1000, 0x20)]))
        spaces.add(1 << 30, Mapping(rank << 40, rank + 1 << 40, 0, str(path), path.stat().st_ino))
    with SymbolProcess() as process:
        symbols = Symbols(spaces, process=process)
        names: list[list[Place]] = [
            [
                (frame.name or "", frame.offset)
                for frame in symbols.user(1 << 30, tuple((rank << 40) + 0x1000 + turn for rank in range(5)), 1)
            ]
            for turn in range(2)
        ]

    assert names == [[(f"f{rank}", turn) for rank in range(5)] for turn in range(2)]
