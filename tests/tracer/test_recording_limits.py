"""What is traced cannot make a recording unreadable by what it is called."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.recordings import calls, head
from traceleft.terminal import printable
from traceleft.tracer import _native
from traceleft.tracer.decode.stack import Frame, Frames, Stack
from traceleft.tracer.recording import Recorder, Recording
from traceleft.tracer.recording.file_format import make_head
from traceleft.tracer.schema.name_limits import (
    BLOCK_BYTES_MAX,
    CGROUP_PATH_MAX,
    FRAMES_MAX,
    NAME_MAX,
    cut,
    cut_line,
    portions,
)
from traceleft.tracer.stacks.recorded_stacks import RecordedStacks, StackNotes, split

HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(), min_size=1, max_size=3).map(lambda text: text * 9000),
    st.binary(min_size=1, max_size=2200).map(lambda data: data.decode(errors="surrogateescape")),
)


class Stacks:
    """Stacks of chosen names: one for each record."""

    def __init__(self, *frames: Frames) -> None:
        self._frames = frames

    def ids(self, records: _native.Records) -> Iterator[tuple[int, int, int, int]]:
        yield from ((5518, 10 + rank, 20 + rank, 1000) for rank in range(len(self._frames)))

    def find(self, pid: int, kernel: int, user: int, at_ns: int) -> Stack:
        return Stack(self._frames[kernel - 10], self._frames[user - 20])


def write(path: Path, stacks: Stacks, cgroups: Mapping[int, str]) -> Recording:
    with Recorder(path, find_cgroups=lambda ids: cgroups) as recorder:
        recorder.keep_stacks(StackNotes(stacks))
        recorder.begin(head())
        recorder.write(b"".join(calls(3)))
        recorder.close(None)
    return Recording.open(path)


def read_back(path: Path, stacks: Stacks, cgroups: Mapping[int, str]) -> tuple[RecordedStacks, Mapping[int, str]]:
    with write(path, stacks, cgroups) as recording:
        assert sum(len(records) for records in recording.records()) == 3
        return recording.stacks, recording.cgroups


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=HOSTILE, module=HOSTILE, path=HOSTILE)
def test_whatever_names_are_the_recording_is_read_back(tmp_path: Path, name: str, module: str, path: str) -> None:
    shown, place = printable(name), printable(module)
    frames = (Frame(1, shown, 2, place), Frame(3, None, 0, None))
    stacks, cgroups = read_back(tmp_path / "rec", Stacks(frames), {25: path})

    found = stacks.find(5518, 10, 20, 1000)
    assert found.user == found.kernel == (Frame(1, cut(shown, NAME_MAX), 2, cut(place, NAME_MAX)), frames[1])
    assert len(cgroups[25]) <= CGROUP_PATH_MAX
    assert cgroups[25] == path or cgroups[25].endswith("…")


def test_names_that_fill_more_than_a_block_become_several(tmp_path: Path) -> None:
    longest = tuple(Frame(address, "\U0001f600" * NAME_MAX, 0, "m" * NAME_MAX) for address in range(120))
    stacks, _ = read_back(tmp_path / "rec", Stacks(*[longest] * 5), {})

    for rank in range(5):
        found = stacks.find(5518, 10 + rank, 20 + rank, 1000).kernel
        assert found is not None
        assert [frame.address for frame in found] == [*range(120)]
        assert found[0].name is not None
        assert found[0].name.endswith("\U0001f600…")


def test_deepest_stack_of_the_longest_names_fits_a_block() -> None:
    frames = tuple(Frame(1, "\U0001f600" * 9000, 0, '"' * 9000) for _ in range(FRAMES_MAX + 5))
    names = StackNotes(Stacks(frames)).tell(_native.Records(b""))
    assert names is not None
    parts = list(split(names))

    assert [len(part.kernel) + len(part.user) for part in parts] == [1, 1]
    assert all(len(msgspec.json.encode(part)) < BLOCK_BYTES_MAX for part in parts)


def test_many_cgroups_of_long_paths_become_several_blocks(tmp_path: Path) -> None:
    paths = {number: f"/{number}/" + "\xe9" * 4000 for number in range(6000)}
    _, cgroups = read_back(tmp_path / "rec", Stacks(), paths)

    assert cgroups == paths


@pytest.mark.parametrize("name", ["host\x1b[31m", "h" * 300, "h\u202e", ""])
def test_host_that_does_not_print_is_shown_as_one_that_does(name: str) -> None:
    document = msgspec.json.encode(head().schema)
    made = make_head(document, host=name, command=name * 3)

    made.check()
    assert made.host == cut_line(name)


def test_portions_keep_all_in_order() -> None:
    sizes = [BLOCK_BYTES_MAX, 1, BLOCK_BYTES_MAX // 4, BLOCK_BYTES_MAX // 3, 5]

    assert list(portions(sizes, lambda size: size)) == [[sizes[0]], sizes[1:3], sizes[3:]]
    assert list(portions([], len)) == []
