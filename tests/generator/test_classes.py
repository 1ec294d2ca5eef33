"""The classes name syscalls that exist, and agree with strace's manual and with what the arguments mean."""

import json

import pytest

from tests.support.paths import TESTS
from traceleft.errors import FormatError
from traceleft.generator.classes import classes_of, load_classes, parse_classes
from traceleft.generator.meaning import meaning, return_meaning

CAPTURES = json.loads((TESTS / "data" / "arguments-by-release.json").read_text())
SYSCALLS = frozenset(name for capture in CAPTURES.values() for name in capture)
MANUAL = {
    "file", "process", "net", "network", "signal", "ipc", "desc", "memory", "creds", "clock", "pure",
    "stat", "lstat", "fstat", "%stat", "statfs", "fstatfs", "%statfs",
}  # fmt: skip


def kinds(syscall: str) -> set[object]:
    """Return the kinds of a syscall's arguments and result, over all captures."""
    return {return_meaning(syscall)["kind"]} | {
        meaning(syscall, index=index, name=name, type=type_, is_pointer="*" in type_)["kind"]
        for capture in CAPTURES.values()
        for index, (type_, name) in enumerate(capture.get(syscall, []))
    }


def test_file_class_holds_the_calls_that_take_a_path() -> None:
    taking = {name for name in SYSCALLS if "path" in kinds(name)}

    assert load_classes()["file"] ^ taking == {"fsconfig"}  # some of its commands take a path


def test_calls_with_a_descriptor_are_in_desc_or_network() -> None:
    classes = load_classes()
    having = {name for name in SYSCALLS if {"fd", "dirfd"} & kinds(name)}

    assert having - classes["desc"] - classes["net"] == set()


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
