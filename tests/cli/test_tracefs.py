"""tracefs and offsets in format texts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceleft.errors import UnsupportedError
from traceleft.tracefs import field_offsets, find_tracefs

FORK = """name: sched_process_fork
ID: 1
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;

	field:char parent_comm[16];	offset:8;	size:16;	signed:0;
	field:pid_t parent_pid;	offset:24;	size:4;	signed:1;
	field:__data_loc char[] child_comm;	offset:28;	size:4;	signed:0;

print fmt: "field:int no;	offset:1;	size:1;	", REC->child_pid
"""


def test_offsets_and_sizes_are_by_name() -> None:
    assert field_offsets(FORK) == {
        "common_type": (0, 2),
        "parent_comm": (8, 16),
        "parent_pid": (24, 4),
        "child_comm": (28, 4),
    }


@given(st.text() | st.text(alphabet="field:;\t\n []019offsetsize", max_size=300))
def test_arbitrary_text_gives_offsets_or_none(text: str) -> None:
    assert all(offset < 100_000 and size < 100_000 for offset, size in field_offsets(text).values())


@pytest.mark.kernel
def test_tracefs_is_found_on_the_running_kernel() -> None:
    assert (find_tracefs() / "events" / "sched").is_dir()


def test_absent_tracefs_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("traceleft.tracefs.PLACES", (tmp_path / "tracing",))
    monkeypatch.setattr("traceleft.tracefs.MOUNTS", tmp_path / "mounts")

    with pytest.raises(UnsupportedError, match="mount -t tracefs"):
        find_tracefs()
