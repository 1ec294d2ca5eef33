"""What a trace writes may hold secrets: nobody but its owner can read it. Pages are made to be given on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.recordings import calls, write_recording
from traceleft.aggregator.stored.parquet import open_data
from traceleft.cli.output import open_output
from traceleft.cli.pages import write_page
from traceleft.errors import FormatError


@pytest.fixture(autouse=True)
def generous_mask() -> Iterator[None]:
    """Let the process's mask take nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_events_and_recordings_are_their_owner_s(tmp_path: Path) -> None:
    with open_output(tmp_path / "events"):
        pass
    write_recording(tmp_path / "recording", calls(2))

    assert permissions(tmp_path / "events") == 0o600
    assert permissions(tmp_path / "recording") == 0o600


def test_file_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "events").touch(0o640)
    with open_output(tmp_path / "events"):
        pass

    assert permissions(tmp_path / "events") == 0o640


def test_page_is_for_all(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", "<p>")

    assert permissions(tmp_path / "page.html") == 0o666


@pytest.mark.parametrize("inside", [True, False], ids=["below a directory", "by itself"])
def test_data_that_is_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, inside: bool) -> None:
    os.mkfifo(tmp_path / "x.parquet")

    with pytest.raises(FormatError, match="is not a regular file"):
        open_data(tmp_path if inside else tmp_path / "x.parquet")
