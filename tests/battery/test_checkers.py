"""Objects are checked by processes of their own as by this one; none is left behind."""

import lzma
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.paths import TESTS
from traceleft.battery.builder.checkers import Checkers
from traceleft.battery.builder.generated_source import SourceFile
from traceleft.battery.level import find_level
from traceleft.errors import CompileError

OBJECTS = sorted((TESTS / "data" / "objects").glob("*.o.xz"))
CORE = SourceFile("core", "core.c", "sha256:" + "0" * 64, None)
LEVEL = find_level("5.8")


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def outcome(checkers: Checkers, path: Path) -> str:
    try:
        return repr(checkers.check(CORE, LEVEL, path))
    except CompileError as exc:
        return str(exc)


def test_a_process_says_what_this_one_says(tmp_path: Path) -> None:
    (tmp_path / "garbage.o").write_bytes(b"\x7fELF and no more")
    paths = [tmp_path / "garbage.o"]
    for each in OBJECTS:
        paths.append(tmp_path / each.stem)
        paths[-1].write_bytes(lzma.decompress(each.read_bytes()))
    before = children()

    with Checkers(in_processes=False) as here, Checkers(in_processes=True) as there, ThreadPoolExecutor(2) as pool:
        said = [*pool.map(lambda path: outcome(there, path), paths)]
        assert said == [outcome(here, path) for path in paths]

    assert len(said) > 5
    assert said[0].startswith("core.c: ")
    assert children() == before


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.o").write_bytes(b"x")
    before = children()
    with Checkers(in_processes=True) as checkers:
        outcome(checkers, tmp_path / "x.o")
        (started,) = children() - before
        os.kill(int(started), signal.SIGKILL)

        with pytest.raises(CompileError, match=r"core\.c: the process that checks its object ended with status -9"):
            checkers.check(CORE, LEVEL, tmp_path / "x.o")

    assert children() == before


def test_an_object_that_is_gone_is_an_error_of_one_line(tmp_path: Path) -> None:
    with Checkers(in_processes=True) as checkers, pytest.raises(CompileError, match="No such file"):
        checkers.check(CORE, LEVEL, tmp_path / "gone.o")
