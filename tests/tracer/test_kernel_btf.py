"""Offsets in the running kernel's structs, found without reading all of its BTF."""

import struct
from pathlib import Path

import pytest

from traceleft.tracer import _native
from traceleft.tracer.kernel.kernel_btf import VMLINUX, find_members, find_offset, has_names, task_offsets

NAMES = b"\0task\0pid\0flags\0subtask\0"
TASK, PID, FLAGS, SUBTASK = 1, 6, 10, 16
STRUCT, TYPEDEF = 4 << 24, 8 << 24


def make_btf(*types: tuple[int, ...], names: bytes = NAMES) -> bytes:
    """Return BTF of types, each as its words."""
    body = b"".join(struct.pack(f"={len(each)}I", *each) for each in types)
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(names)) + body + names


def test_members_have_their_offsets_in_bytes() -> None:
    btf = make_btf((TASK, STRUCT | 2, 16, PID, 1, 32, FLAGS, 1, 64))

    assert find_members(btf, "task") == {"pid": 4, "flags": 8}


def test_names_are_told_whole() -> None:
    btf = make_btf()

    assert has_names(btf, "pid", "flags")
    assert not has_names(btf, "pid", "missing")
    assert not has_names(btf, "ask")


def test_bits_of_a_field_are_no_part_of_its_offset() -> None:
    btf = make_btf((TASK, 1 << 31 | STRUCT | 2, 16, PID, 1, 32, FLAGS, 1, 3 << 24 | 65))

    assert find_members(btf, "task") == {"pid": 4, "flags": 8}


def test_what_only_has_the_name_is_no_struct() -> None:
    btf = make_btf((TASK, TYPEDEF, 2), (PID, STRUCT | 1, 8, TASK, 2, 0), (TASK, STRUCT | 1, 4, PID, 1, 0))

    assert find_members(btf, "task") == {"pid": 0}


def test_a_name_that_ends_like_another_is_not_that() -> None:
    btf = make_btf((SUBTASK, STRUCT | 1, 4, PID, 1, 0))

    assert find_members(btf, "task") == {}
    assert find_members(btf, "subtask") == {"pid": 0}


def test_members_of_members_lie_at_the_sum_of_offsets() -> None:
    btf = make_btf((TASK, STRUCT | 2, 16, PID, 1, 32, FLAGS, 1, 64), (SUBTASK, STRUCT | 1, 4, PID, 1, 16))

    assert find_offset(btf, ("task", "flags"), ("subtask", "pid")) == 10
    assert find_offset(btf, ("task", "flags"), ("subtask", "flags")) is None


@pytest.mark.parametrize("cut", range(0, 84, 7))
def test_cut_btf_has_no_struct_and_raises_nothing(cut: int) -> None:
    btf = make_btf((TASK, STRUCT | 2, 16, PID, 1, 32, FLAGS, 1, 64))

    assert find_members(btf[:cut], "task") in ({}, {"pid": 4, "flags": 8})


@pytest.mark.parametrize("members", [(PID, 1, 999), (4000, 1, 0)], ids=["outside of the struct", "without a name"])
def test_members_that_cannot_be_are_refused(members: tuple[int, ...]) -> None:
    assert find_members(make_btf((TASK, STRUCT | 1, 8, *members)), "task") == {}


def test_other_bytes_are_no_btf() -> None:
    assert find_members(bytes(100), "task") == {}


@pytest.mark.kernel
def test_live_offsets_are_those_that_libbpf_finds() -> None:
    data = Path(VMLINUX).read_bytes()

    found = find_members(data, "task_struct")

    assert len(found) > 100
    assert {
        name: _native.btf_member_offset("task_struct", name) for name in ("pid", "tgid", "comm", "thread_info")
    } == {name: found[name] for name in ("pid", "tgid", "comm", "thread_info")}
    assert task_offsets().pid == found["pid"]
    assert task_offsets().status == found["thread_info"] + find_members(data, "thread_info")["status"]
