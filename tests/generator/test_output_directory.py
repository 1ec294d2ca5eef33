"""The generator's output directory: only what changed, nothing foreign, nothing stale."""

import json
import os
from pathlib import Path

import pytest

from traceleft.errors import TraceleftError
from traceleft.generator.output_directory import RECORD, write_output


def test_files_are_written_with_their_directories(tmp_path: Path) -> None:
    result = write_output(tmp_path / "out", {"a.c": "one\n", "include/b.h": "two\n"})

    assert result.written == ("a.c", "include/b.h")
    assert (tmp_path / "out/include/b.h").read_text() == "two\n"


def test_file_with_the_same_bytes_is_not_touched(tmp_path: Path) -> None:
    write_output(tmp_path, {"a.c": "one\n", "b.c": "two\n"})
    before = (tmp_path / "a.c").stat()

    result = write_output(tmp_path, {"a.c": "one\n", "b.c": "changed\n"})

    assert result.written == ("b.c",)
    assert result.unchanged == 1
    assert (tmp_path / "a.c").stat() == before


def test_what_an_earlier_run_wrote_and_this_one_does_not_is_removed(tmp_path: Path) -> None:
    write_output(tmp_path, {"a.c": "one\n", "decoders/a.py": "two\n"})

    result = write_output(tmp_path, {"b.c": "one\n"})

    assert result.removed == ("a.c", "decoders/a.py")
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, "b.c"]


@pytest.mark.parametrize("foreign", ["notes.txt", "include/notes.txt", "a.c"])
def test_directory_with_foreign_files_is_refused_untouched(tmp_path: Path, foreign: str) -> None:
    path = tmp_path / foreign
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")

    with pytest.raises(TraceleftError, match=r"not written by traceleft generate; give an empty directory with -o"):
        write_output(tmp_path, {"a.c": "one\n"})

    assert path.read_text() == "mine"
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]


def test_target_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")

    with pytest.raises(TraceleftError, match="not a directory"):
        write_output(path, {"a.c": "one\n"})


@pytest.mark.parametrize(
    "record", ["", "[]", "{", '{"../outside": ""}', '{"/etc/passwd": ""}', "[" * 100_000], ids=lambda text: text[:14]
)
def test_record_that_is_not_ours_removes_nothing(tmp_path: Path, record: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RECORD).write_text(record)
    (tmp_path / "outside").write_text("mine")

    with pytest.raises(TraceleftError, match="remove the directory and generate again"):
        write_output(tmp_path / "out", {"a.c": "one\n"})

    assert (tmp_path / "outside").read_text() == "mine"


def test_record_names_every_file_with_its_digest(tmp_path: Path) -> None:
    write_output(tmp_path, {"a.c": "one\n"})

    record = json.loads((tmp_path / RECORD).read_text())

    assert record == {"a.c": "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806"}


@pytest.mark.parametrize("kind", ["fifo", "device", "directory"])
def test_record_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    record = tmp_path / RECORD
    if kind == "fifo":
        os.mkfifo(record)
    elif kind == "device":
        record.symlink_to("/dev/zero")
    else:
        record.mkdir()

    with pytest.raises(TraceleftError, match="remove the directory and generate again"):
        write_output(tmp_path, {"a.c": "one\n"})


def test_run_that_fails_takes_back_what_it_added(tmp_path: Path) -> None:
    write_output(tmp_path / "old", {"a.c": "one\n", "deep/b.c": "two\n"})
    blocked = {"a.c": "one\n", "added.c": "three\n", "added/c.h": "four\n", "deep": "a file in a directory's place\n"}

    for place in ("old", "new/deeper"):
        with pytest.raises(TraceleftError, match="cannot write what was generated"):
            write_output(tmp_path / place, blocked if place == "old" else {"a.c": "one\n", "x" * 300: "refused"})

    assert sorted(path.name for path in (tmp_path / "old").iterdir()) == [RECORD, "a.c", "deep"]
    assert not (tmp_path / "new").exists()
