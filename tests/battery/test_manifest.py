"""Manifests: canonical, covered by a digest, and hostile ones refused in one line."""

import json
import os
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traceleft.battery import Manifest, ObjectEntry, ProgramEntry, Release, dump_manifest, parse_manifest
from traceleft.battery.manifest import CompilerEntry, canonical, digest_of
from traceleft.errors import BatteryError

MACHINE = os.uname().machine
OBJECT = digest_of(b"object")
CORE = digest_of(b"core")


def manifest() -> Manifest:
    program = ProgramEntry("raw_exit_openat", "raw_exit", "raw_tp", "raw_tp", 120, (1, 14))
    dispatch = ProgramEntry("dispatch_exit", "dispatch_exit", "raw_tp", "raw_tp", 60, (1, 12))
    return Manifest(
        schema=1,
        traceleft="0.1.0",
        machine=MACHINE,
        byte_order="little",
        compiler=CompilerEntry("clang version 14.0.6", ("-O2",)),
        templates=digest_of(b"templates"),
        objects={
            OBJECT: ObjectEntry("openat", {"5.8": digest_of(b"source")}, "5.8", 6, digest_of(b"layout"), (program,)),
            CORE: ObjectEntry("core", {"5.8": digest_of(b"core source")}, "5.8", 4, None, (dispatch,)),
        },
        releases={"6.1.0-44": Release(digest_of(b"schema"), {"5.8": CORE}, {"openat": {"5.8": OBJECT}})},
    )


def document() -> dict[str, Any]:
    found = json.loads(dump_manifest(manifest()))
    assert isinstance(found, dict)
    return found


def sign(changed: dict[str, Any]) -> bytes:
    """Return a document with the digest that belongs to it, as a liar would make it."""
    changed.pop("digest", None)
    return canonical(changed | {"digest": digest_of(canonical(changed))})


def test_manifest_survives_dump_and_parse() -> None:
    parsed = parse_manifest(dump_manifest(manifest()), machine=MACHINE)

    assert msgspec.structs.replace(parsed, digest="") == manifest()
    assert parsed.digest.startswith("sha256:")


def test_manifest_has_one_spelling() -> None:
    parsed = parse_manifest(dump_manifest(manifest()))

    assert dump_manifest(parsed) == dump_manifest(manifest())


def test_changed_byte_is_refused_by_digest() -> None:
    changed = dump_manifest(manifest()).replace(b"0.1.0", b"0.1.1")

    with pytest.raises(BatteryError, match="wrong digest"):
        parse_manifest(changed)


def test_newer_schema_is_told_as_such_whatever_else_it_holds() -> None:
    with pytest.raises(BatteryError, match=r"newer traceleft \(schema 2\)"):
        parse_manifest(b'{"schema": 2, "objects": []}', machine=MACHINE)


def test_other_machine_is_refused_by_name() -> None:
    with pytest.raises(BatteryError, match="made for s390x, this is"):
        parse_manifest(sign(document() | {"machine": "s390x"}), machine=MACHINE)


def test_other_byte_order_is_refused() -> None:
    with pytest.raises(BatteryError, match="byte order is big"):
        parse_manifest(sign(document() | {"byte_order": "big"}), machine=MACHINE)


def set_key(changed: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("objects", OBJECT, "size"), -1),
        (("objects", OBJECT, "size"), 1 << 40),
        (("objects", OBJECT, "size"), True),
        (("objects", OBJECT, "size"), 10**400),
        (("objects", OBJECT, "event"), "../../etc/passwd"),
        (("objects", OBJECT, "event"), "openat\n"),
        (("objects", OBJECT, "programs"), []),
        (("objects", OBJECT, "sources"), {"5.8/..": digest_of(b"source")}),
        (("objects", OBJECT, "sources"), {}),
        (("objects", OBJECT, "sources"), {"4.18": digest_of(b"source")}),
        (("objects", OBJECT, "floor"), "newest"),
        (("evidence",), [{"kernel": "6.1"}]),
        (("objects", OBJECT, "unknown"), 1),
        (("objects", "sha256:../../../etc/passwd"), None),
        (("releases", "6.1.0-44", "schema"), "sha256:00"),
        (("releases", "6.1.0-44", "events", "openat", "5.8"), digest_of(b"nowhere")),
        (("releases", "6.1.0-44", "events", "close"), {"5.8": OBJECT}),
        (("releases", "6.1.0-44", "core", "5.8"), OBJECT),
        (("releases", "../6.1"), None),
        (("releases", "6.1.0-44", "notices"), ["\x1b[2J"]),
        (("releases",), []),
        (("byte_order",), "middle"),
        (("schema",), "1"),
        (("extra",), 1),
    ],
)
def test_signed_lie_is_refused_in_one_line(path: tuple[str, ...], value: object) -> None:
    with pytest.raises(BatteryError) as caught:
        parse_manifest(sign(set_key(document(), path, value)), path="B/manifest.json")

    assert str(caught.value).startswith("B/manifest.json")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 200_000, b'{"schema":1,"a":' * 200_000, b'{"schema":1}', b"1e999"],
    ids=["empty", "cut", "list", "null", "binary", "deep list", "deep object", "bare", "infinity"],
)
def test_no_manifest_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(BatteryError) as caught:
        parse_manifest(data)

    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(BatteryError):
        parse_manifest(data, machine=MACHINE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(document())), JSON)
def test_arbitrary_value_of_any_key_raises_nothing_else(key: str, value: object) -> None:
    try:
        parse_manifest(sign(document() | {key: value}), machine=MACHINE)
    except BatteryError as error:
        assert str(error).isprintable()
