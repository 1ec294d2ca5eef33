"""Columns of batches, and expressions over them."""

import struct
from itertools import accumulate

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import records as any_records
from tests.support.events import scalar_schema
from tests.support.paths import ROOT
from tests.support.records import Capture, Record, batch_of, encode, schema_of
from tests.support.rollups import CGROUPS, DECODERS, SCHEMA, SPECS, address, first_components, records_of
from traceleft.aggregator.rollups.columns import BY_NAME, BYTE_CALLS
from traceleft.aggregator.rollups.parse import parse_condition
from traceleft.aggregator.streaming.batch_columns import (
    BatchColumns,
    Columns,
    Integers,
    Texts,
    container_of,
    factorise_texts,
    prefix,
    text_to_integer,
    value_to_text,
)
from traceleft.aggregator.streaming.evaluate import holds, text_list
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder


def columns_of(event: str, *records: Record) -> BatchColumns:
    return BatchColumns(batch_of(DECODERS[event], records), SCHEMA.tables, host="h", cgroups=CGROUPS.get)


def numbers(integers: Integers) -> list[int | None]:
    valid = [True] * len(integers.values) if integers.valid is None else integers.valid.tolist()
    return [value if there else None for value, there in zip(integers.values.tolist(), valid, strict=True)]


def test_header_columns_are_those_of_events() -> None:
    columns = columns_of(
        "read", Record(ret=5, flags=8, duration_ns=9, ts=7), Record(ret=-2, cgroup_id=26), Record(flags=16)
    )

    assert numbers(columns.integers("ret")) == [5, -2, None]
    assert numbers(columns.integers("bytes")) == [5, None, None]
    assert numbers(columns.integers("duration_ns")) == [9, None, None]
    assert numbers(columns.integers("pid")) == [5518] * 3
    assert text_list(columns.texts("error")) == [None, "ENOENT", None]
    assert text_list(columns.texts("event")) == ["read"] * 3
    assert text_list(columns.texts("host")) == ["h"] * 3
    assert text_list(columns.texts("cgroup")) == [CGROUPS[25], CGROUPS[26], CGROUPS[25]]
    assert text_list(columns.texts("container")) == [None, "ab" * 32, None]
    assert text_list(columns.texts("stack")) == [None] * 3


def test_addresses_and_ports_are_those_of_the_first_socket_address() -> None:
    columns = columns_of(
        "connect",
        *(Record(captures={0: Capture(address(*each))}) for each in (("10.0.0.1", 80), ("/run/x", 0))),
        Record(),
    )

    assert text_list(columns.texts("address")) == ["10.0.0.1", "/run/x", None]
    assert numbers(columns.integers("port")) == [80, None, None]


def test_address_of_a_message_is_its_name() -> None:
    schema = schema_of({"name": "msg", "kind": "msghdr", "direction": "in", "slot": True})
    name = address("10.0.0.9", 53)
    message = bytes(56) + struct.pack("<Ii", len(name), len(name)) + name + struct.pack("<Ii", 0, 0)
    decoder = Decoder(schema.events["probe"], schema.tables)

    columns = BatchColumns(batch_of(decoder, [Record((1,), {0: Capture(message)})]), schema.tables)

    assert text_list(columns.texts("address")) == ["10.0.0.9"]
    assert numbers(columns.integers("port")) == [53]


def test_stacks_come_from_who_has_them() -> None:
    batch = batch_of(DECODERS["read"], [Record(), Record()])

    columns = BatchColumns(batch, SCHEMA.tables, stacks=lambda _: ["main;read", None])

    assert text_list(columns.texts("stack")) == ["main;read", None]


@pytest.mark.parametrize("name", ["nothing", "args", "ret"])
def test_column_that_is_no_text_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        columns_of("read", Record()).texts(name)


def test_calls_that_move_bytes_are_named_as_the_kernel_does() -> None:
    import json

    path = ROOT / "generator" / "data" / "syscalls-x86_64.json"
    assert sorted(BYTE_CALLS - set(_names_in(json.loads(path.read_text())))) == []


def _names_in(document: object) -> list[str]:
    if isinstance(document, dict):
        return [*document, *(name for value in document.values() for name in _names_in(value))]
    if isinstance(document, list):
        return [name for value in document for name in _names_in(value)]
    return [document] if isinstance(document, str) else []


@settings(max_examples=100, deadline=None)
@given(records=st.lists(any_records(scalar_schema().events["probe"]), max_size=5))
def test_number_of_an_argument_is_its_text_s(records: list[Record]) -> None:
    schema = scalar_schema()
    decoder = Decoder(schema.events["probe"], schema.tables)
    columns = BatchColumns(batch_of(decoder, records), schema.tables)

    for arg in decoder.spec.args:
        texts = text_list(columns.arg(arg.name))
        assert texts == [value_to_text(decoder.decode(encode(decoder.spec, each)).args[arg.name]) for each in records]
        assert numbers(columns.arg_integers(arg.name)) == [text and text_to_integer(text) for text in texts]


@pytest.mark.parametrize("event", sorted(SPECS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_bytes_make_a_column_fail(event: str, data: st.DataObject) -> None:
    spec, encoded = SPECS[event], []
    for _, record in data.draw(st.lists(records_of(event), min_size=1, max_size=4)):
        bent = bytearray(encode(spec, record))
        for place in data.draw(st.lists(st.integers(0, len(bent) - 1), max_size=3)):
            bent[place] = data.draw(st.integers(0, 255))
        encoded.append(bytes(bent))
    tails = [each[spec.fixed_size :] for each in encoded]
    ends = struct.pack(f"={len(tails) + 1}Q", *accumulate(map(len, tails), initial=0))
    batch = Batch(DECODERS[event], b"".join(each[: spec.fixed_size] for each in encoded), b"".join(tails), ends)

    columns: Columns = BatchColumns(batch, SCHEMA.tables, cgroups=CGROUPS.get)

    for column in BY_NAME.values():
        if column.type == "integer":
            assert len(numbers(columns.integers(column.name))) == len(encoded)
        elif column.type == "text":
            assert len(text_list(columns.texts(column.name))) == len(encoded)
    for arg in spec.args:
        assert len(text_list(columns.arg(arg.name))) == len(numbers(columns.arg_integers(arg.name))) == len(encoded)


@pytest.mark.parametrize(
    ("text", "components", "expected"),
    [
        ("/usr/lib/x", 1, "/usr"),
        ("/usr/lib/x", 2, "/usr/lib"),
        ("/usr/lib/x", 9, "/usr/lib/x"),
        ("usr/lib", 1, "usr"),
        ("//usr///lib/x", 2, "//usr///lib"),
        ("/", 2, "/"),
        ("", 1, ""),
        ("/usr/", 2, "/usr"),
        ("a\nb/c", 1, "a\nb"),
    ],
)
def test_prefix_is_the_first_components(text: str, components: int, expected: str) -> None:
    assert prefix(text, components) == expected


@given(st.text(alphabet="/ab", max_size=12), st.integers(1, 4))
def test_prefix_is_what_a_walk_over_the_path_gives(text: str, components: int) -> None:
    assert prefix(text, components) == first_components(text, components)


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), ("-5", -5), ("007", 7), ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63))],
)
def test_decimal_text_is_a_number(text: str, number: int) -> None:
    assert text_to_integer(text) == number


@pytest.mark.parametrize(
    "text", ["", "-", "0x10", "1.0", " 1", "1\n", "9223372036854775808", "9" * 5000, "\u0661", "O_RDONLY"]
)
def test_other_text_is_none(text: str) -> None:
    assert text_to_integer(text) is None


def test_container_is_the_innermost_one() -> None:
    outer, inner = "a1" * 32, "b2" * 32

    assert container_of(f"/docker/{outer}/docker/{inner}") == inner
    assert container_of(f"/system.slice/cri-containerd-{inner}.scope") == inner
    assert container_of("/" + "a" * 65) is None
    assert container_of("/user.slice") is None


def test_equal_texts_have_one_code() -> None:
    texts = factorise_texts(["b", None, "a", "b"])

    assert (texts.codes.tolist(), list(texts.values)) == ([0, -1, 1, 0], ["b", "a"])


def test_condition_of_missing_values_is_false_or_true_by_its_operator() -> None:
    class Two:
        def __len__(self) -> int:
            return 2

        def integers(self, name: str) -> Integers:
            return Integers(numpy.array([0, 5]), numpy.array([False, True]))

        def texts(self, name: str) -> Texts:
            return factorise_texts([None, "a"])

        def arg(self, name: str) -> Texts:
            raise KeyError(name)

        def arg_integers(self, name: str) -> Integers:
            raise KeyError(name)

    held = {
        text: holds(parse_condition(text), Two()).tolist()
        for text in (
            *("ret == 0", "ret != 5", "ret < 9", "ret not in (5, 6)", "ret in (0, 5)", "fd == ret", "fd != ret"),
            *('path == "a"', 'path != "a"', 'path not in ("a", "b")', '"a" in path', '"a" not in path'),
            *("comm == path", "comm != path", 'prefix(path, 1) == "a"', "path is None", "ret is not None"),
        )
    }

    assert held == {
        "ret == 0": [False, False],
        "ret != 5": [True, False],
        "ret < 9": [False, True],
        "ret not in (5, 6)": [True, False],
        "ret in (0, 5)": [False, True],
        "fd == ret": [False, True],
        "fd != ret": [True, False],
        'path == "a"': [False, True],
        'path != "a"': [True, False],
        'path not in ("a", "b")': [True, False],
        '"a" in path': [False, True],
        '"a" not in path': [True, False],
        "comm == path": [False, True],
        "comm != path": [True, False],
        'prefix(path, 1) == "a"': [False, True],
        "path is None": [True, False],
        "ret is not None": [False, True],
    }
