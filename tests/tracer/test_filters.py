"""`struct config` as the programs read it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceleft.errors import UnsupportedError
from traceleft.linux import MAX_ERROR
from traceleft.tracer.session import filters
from traceleft.tracer.session.filters import Filters, Offsets, pack_config

OFFSETS = Offsets(fork_child_pid=20, exec_old_pid=16, compat=None)


def test_config_has_the_layout_of_the_schema() -> None:
    packed = pack_config(
        Filters(uid=1000, comm="cat", errno=2, text_limit=64),
        Offsets(fork_child_pid=44, exec_old_pid=16, compat=24),
        flags=filters.ENABLED,
        self_tgid=77,
        cpus=3,
    )

    assert len(packed) == 64
    flags, self_tgid, uid, text_limit, error, compat, child, old = struct.unpack_from("=IIIIiIII", packed)
    assert flags == filters.UID | filters.COMM | filters.ERRNO | filters.COMPAT | filters.ENABLED
    assert (self_tgid, uid, text_limit, error) == (77, 1000, 64, 2)
    assert (compat, child, old) == (24, 44, 16)
    assert packed[32:48] == b"cat".ljust(16, b"\0")
    assert packed[48:] == struct.pack("=I", 3) + bytes(12)


def test_no_filter_sets_no_flag() -> None:
    assert Filters().flags == 0


@pytest.mark.parametrize(
    ("chosen", "flag"),
    [
        ({"follow": True}, filters.FOLLOW),
        ({"uid": 0}, filters.UID),
        ({"comm": "a"}, filters.COMM),
        ({"success_only": True}, filters.SUCCESS_ONLY),
        ({"failed_only": True}, filters.FAILED_ONLY),
        ({"errno": 1}, filters.ERRNO),
    ],
    ids=str,
)
def test_each_filter_sets_its_flag(chosen: dict[str, int], flag: int) -> None:
    assert Filters(**chosen).flags == flag  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "chosen",
    [
        {"uid": -1},
        {"uid": 1 << 32},
        {"comm": ""},
        {"comm": "sixteen bytes, a"},
        {"errno": 0},
        {"errno": 4096},
        {"text_limit": -1},
        {"pids": (0,)},
        {"pids": (1 << 31,)},
        {"success_only": True, "failed_only": True},
    ],
    ids=str,
)
def test_filter_that_can_match_nothing_is_refused(chosen: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError):
        Filters(**chosen)  # type: ignore[arg-type]


@given(
    uid=st.none() | st.integers(0, filters.UID_MAX),
    comm=st.none() | st.text(max_size=3).filter(lambda text: text and "\0" not in text),
    errno=st.none() | st.integers(1, MAX_ERROR),
    text_limit=st.integers(0, 1 << 40),
)
def test_any_filter_packs_into_64_bytes(uid: int | None, comm: str | None, errno: int | None, text_limit: int) -> None:
    chosen = Filters(uid=uid, comm=comm, errno=errno, text_limit=text_limit)

    packed = pack_config(chosen, OFFSETS, flags=0, self_tgid=1, cpus=2)

    assert len(packed) == 64
    assert struct.unpack_from("=I", packed, 12)[0] <= filters.TEXT_MAX
