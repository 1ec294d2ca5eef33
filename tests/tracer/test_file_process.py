"""Files of traced processes, opened by another process."""

import os
import time
from pathlib import Path

import pytest

from tests.support.dead_disk import dead_disk
from traceleft.tracer.stacks import file_process, mapped_files
from traceleft.tracer.stacks.file_process import FileProcess
from traceleft.tracer.stacks.mappings import Mapping

NOBODY = 1 << 30


def mapping_of(path: Path) -> Mapping:
    status = path.stat()
    return Mapping(0, 1 << 20, 0, str(path), status.st_ino, 0, status.st_dev)


def test_files_are_opened_as_by_this_process(tmp_path: Path) -> None:
    # Bytes that are not UTF-8 are a name as well.
    path = tmp_path / os.fsdecode(b"a\xff")
    path.write_bytes(b"text")
    mapping = mapping_of(path)

    with FileProcess() as files:
        with files.open_mapped(NOBODY, mapping) as theirs, mapped_files.open_mapped(NOBODY, mapping) as ours:
            assert theirs is not None and ours is not None
            assert (theirs.path, theirs.stamp) == (ours.path, ours.stamp)
            assert os.pread(theirs.fd, 9, 0) == b"text"
            stamp = theirs.stamp
        assert not files.is_changed(str(path), stamp)
        path.write_bytes(b"other")
        assert files.is_changed(str(path), stamp)
        with files.open_mapped(NOBODY, Mapping(0, 1, 0, str(path), mapping.inode + 1)) as opened:
            assert opened is None


def test_debug_files_and_lists_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a.debug").write_bytes(b"debug")

    with FileProcess() as files:
        with files.open_debug(str(tmp_path / "a"), b"", "a.debug") as fd:
            assert fd is not None and os.pread(fd, 9, 0) == b"debug"
        with files.open_debug(str(tmp_path / "a"), b"", "b.debug") as fd:
            assert fd is None
        with files.open_function_list(NOBODY) as fd:
            assert fd is None


def test_no_file_stays_open_and_no_process_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    before = os.listdir("/proc/self/fd")

    with FileProcess() as files:
        for _ in range(10):
            with files.open_mapped(NOBODY, mapping_of(tmp_path / "a")) as opened:
                assert opened is not None
        pid = files._pid

    assert os.listdir("/proc/self/fd") == before
    assert not Path(f"/proc/{pid}").exists()


def test_process_that_has_ended_is_reported_once() -> None:
    lines: list[str] = []

    with FileProcess(lines.append) as files:
        os.kill(files._pid, 9)
        for _ in range(3):
            with files.open_function_list(NOBODY) as fd:
                assert fd is None

    assert len(lines) == 1 and "no names from here on" in lines[0]


@pytest.mark.kernel
def test_file_system_that_never_answers_costs_a_moment_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_process, "PATIENCE_S", 0.2)
    lines: list[str] = []
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.debug").write_bytes(b"debug")

    with dead_disk(tmp_path / "disk") as place, FileProcess(lines.append) as files:
        for path in (place / "a", place / "b", tmp_path / "a"):
            with files.open_debug(str(path), b"", "a.debug") as fd:
                assert fd is None
        files.close()
        pid = files._pid

    assert len(lines) == 1 and lines[0].endswith("a file system does not answer")
    for _ in range(1000):
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            break
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()
