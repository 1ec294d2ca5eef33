"""The classes name syscalls that exist, and agree with strace's manual and with what the arguments mean."""

import json
from pathlib import Path

import pytest

from traceleft.errors import FormatError
from traceleft.generator.classes import classes_of, load_classes, parse_classes

CAPTURES = json.loads((Path(__file__).with_name("data") / "arguments-by-release.json").read_text())
SYSCALLS = frozenset(name for capture in CAPTURES.values() for name in capture)
MANUAL = {
    "file", "process", "net", "network", "signal", "ipc", "desc", "memory", "creds", "clock", "pure",
    "stat", "lstat", "fstat", "%stat", "statfs", "fstatfs", "%statfs",
}  # fmt: skip


def test_every_class_of_the_manual_is_there() -> None:
    assert set(load_classes()) == MANUAL


@pytest.mark.parametrize("title", sorted(MANUAL))
def test_members_exist_in_some_capture(title: str) -> None:
    members = load_classes()[title]

    assert members
    assert members - SYSCALLS == set()


def test_network_is_another_name_of_net() -> None:
    assert load_classes()["network"] == load_classes()["net"]


def test_stat_family_is_the_union_of_its_variants() -> None:
    classes = load_classes()

    assert classes["%stat"] == classes["stat"] | classes["lstat"] | classes["fstat"]
    assert classes["%statfs"] == classes["statfs"] | classes["fstatfs"] | {"ustat"}


def test_pure_calls_take_no_argument() -> None:
    taking = {name for capture in CAPTURES.values() for name, arguments in capture.items() if arguments}

    assert load_classes()["pure"] & taking == set()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openat", ("desc", "file")),
        ("execve", ("file", "process")),
        ("newfstat", ("%stat", "desc", "fstat")),
        ("sendfile64", ("desc", "net", "network")),
        ("mmap", ("desc", "memory")),
        ("getuid", ("creds", "pure")),
        ("clock_gettime", ("clock",)),
        ("getrandom", ()),
    ],
)
def test_classes_of_a_syscall(name: str, expected: tuple[str, ...]) -> None:
    assert classes_of(name) == expected


@pytest.mark.parametrize(
    "text",
    [
        "= nonsense",
        "[class.file]\ndescription = 'x'\nmembers = ['open']",
        "[alias]\n[class.file]\nmembers = ['open']",
        "[alias]\n[class.file]\ndescription = 'x'\nmembers = [1]",
        "[alias]\nnetwork = 'net'\n[class.file]\ndescription = 'x'\nmembers = ['open']",
    ],
    ids=["no toml", "no alias table", "no description", "member is a number", "alias of nothing"],
)
def test_malformed_document_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"classes\.toml"):
        parse_classes(text, file="classes.toml")
