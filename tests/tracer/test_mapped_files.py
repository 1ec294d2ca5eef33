"""Files of traced processes: the very one that was mapped is opened, and nothing but a regular file."""

import mmap
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from traceleft.tracer.stacks import mapped_files
from traceleft.tracer.stacks.mapped_files import (
    VDSO,
    is_mapped,
    open_debug,
    open_function_list,
    open_mapped,
    open_regular,
)
from traceleft.tracer.stacks.mappings import Mapping, read_maps

NOBODY = 1 << 30


def mapping_of(path: Path, *, inode: int = 0, device: int = 0) -> Mapping:
    status = path.stat()
    return Mapping(0, 1, 0, str(path), status.st_ino + inode, device=status.st_dev + device)


def is_opened(path: Path, mapping: Mapping) -> bool:
    with open_mapped(NOBODY, mapping) as opened:
        return opened is not None and os.path.samestat(os.fstat(opened.fd), path.stat())


def test_mapped_file_is_opened_and_another_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")

    assert is_opened(path, mapping_of(path))
    assert is_opened(path, Mapping(0, 1, 0, str(path), path.stat().st_ino))
    assert not is_opened(path, mapping_of(path, inode=1))
    assert not is_opened(path, mapping_of(path, device=1))
    path.unlink()
    assert not os.path.exists(path) and not list(tmp_path.iterdir())
    with open_mapped(NOBODY, Mapping(0, 1, 0, str(path), 1)) as opened:
        assert opened is None


def test_what_this_process_has_mapped_shows_the_device(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * mmap.PAGESIZE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC):
        (shown,) = [each for each in read_maps(os.getpid()) if each.path == str(path)]

    with path.open("rb") as file:
        assert is_mapped(file.fileno(), shown)
        assert mapped_files._count_mapped(shown) == 0


@pytest.mark.parametrize("what", ["fifo", "directory", "device", "socket", "dangling", "loop"])
def test_nothing_but_a_regular_file_is_opened(what: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    match what:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "socket":
            import socket

            with socket.socket(socket.AF_UNIX) as one:
                one.bind(str(path))
        case "dangling":
            path.symlink_to(tmp_path / "b")
        case "loop":
            path.symlink_to(path)

    assert open_regular(str(path)) is None


def test_name_that_cannot_be_one_is_nothing() -> None:
    assert open_regular("/tmp/a\0b") is None
    assert open_regular("/" + "a" * 5000) is None


def test_file_that_becomes_a_fifo_hangs_nobody(tmp_path: Path) -> None:
    path, fifo, file = tmp_path / "a", tmp_path / "fifo", tmp_path / "file"
    os.mkfifo(fifo)
    file.write_bytes(b"x")
    path.symlink_to(file)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for target in (fifo, file):
                (tmp_path / "new").symlink_to(target)
                (tmp_path / "new").replace(path)

    thread = threading.Thread(target=swap)
    thread.start()
    seen: Counter[bool] = Counter()
    deadline = time.monotonic() + 60
    try:
        # On a busy machine the other thread may not run for a while.
        while seen.total() < 2000 or (len(seen) < 2 and time.monotonic() < deadline):
            fd = open_regular(str(path))
            seen[fd is not None] += 1
            if fd is not None:
                assert os.path.samestat(os.fstat(fd), file.stat())
                os.close(fd)
    finally:
        done.set()
        thread.join()

    assert seen[True] and seen[False]


def test_debug_information_is_looked_for_by_build_id_then_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_files, "DEBUG_DIRECTORY", tmp_path / "debug")
    by_id = tmp_path / "debug/.build-id/01/02.debug"
    by_name = tmp_path / ".debug/a.debug"
    for path in (by_id, by_name):
        path.parent.mkdir(parents=True)
        path.write_bytes(str(path).encode())

    def content(build_id: bytes, link: str) -> bytes | None:
        with open_debug(str(tmp_path / "a"), build_id, link) as fd:
            return None if fd is None else os.pread(fd, 1000, 0)

    assert content(b"\1\2", "a.debug") == str(by_id).encode()
    assert content(b"\1\3", "a.debug") == str(by_name).encode()
    assert [content(b"", ""), content(b"\1\3", "../a.debug"), content(b"", ".."), content(b"\1", "b")] == [None] * 4


def test_debug_information_that_is_a_fifo_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.debug")

    with open_debug(str(tmp_path / "a"), b"", "a.debug") as fd:
        assert fd is None


def test_list_of_functions_is_the_process_s_own() -> None:
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    with open_function_list(os.getpid()) as fd:
        assert fd is None
    path.write_text("1000 10 made\n")
    try:
        with open_function_list(os.getpid()) as fd:
            assert fd is not None
            assert os.pread(fd, 100, 0) == b"1000 10 made\n"
    finally:
        path.unlink()


def test_code_of_the_kernel_in_each_process_is_copied() -> None:
    with open_mapped(NOBODY, Mapping(0, 1, 0, VDSO)) as opened:
        assert opened is not None
        assert os.pread(opened.fd, 4, 0) == b"\x7fELF"
