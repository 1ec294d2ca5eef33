"""Rendered decoders: typed code that gives what the tracer's own decoder gives."""

import importlib.util
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.events import POINTERS, SCALARS, TABLES, N, records
from tests.support.paths import ROOT
from tests.support.records import OPENAT, OPENED, Record, document, encode, event_document
from traceleft.generator.decoder_model import attribute_names, class_name, literal
from traceleft.generator.render import render_decoder
from traceleft.tracer.decode.batch import column_types
from traceleft.tracer.decode.decoder import Decoder, UndecodableError
from traceleft.tracer.schema.load import load_schema

EVENTS = {
    "openat": event_document(OPENAT, ret="fd"),
    "sched:scalars": event_document(SCALARS, kind="tracepoint", number=None, id=1024),
    "fork": event_document([], id=57),
    **{
        f"take_{kind.replace(' ', '_')}": event_document([{"name": "x", **arg}, N], id=500 + rank)
        for rank, (kind, arg) in enumerate(POINTERS.items())
    },
}
DOCUMENT = document(EVENTS, **TABLES)
SCHEMA = load_schema(DOCUMENT)


def rendered(name: str) -> str:
    return render_decoder(name, EVENTS[name], DOCUMENT)


@cache
def module(name: str) -> ModuleType:
    """Return an event's rendered decoder, imported."""
    spec = importlib.util.spec_from_loader(f"rendered_{name.replace(':', '__')}", loader=None)
    assert spec is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[made.__name__] = made
    exec(compile(rendered(name), name, "exec"), made.__dict__)
    return made


def write_all(directory: Path) -> None:
    for name in EVENTS:
        (directory / f"{name.replace(':', '__')}.py").write_text(rendered(name))


def test_first_line_tells_what_made_it() -> None:
    assert rendered("openat").splitlines()[0].endswith(" from syscalls/sys_enter_openat; do not edit.")
    assert rendered("sched:scalars").splitlines()[0].endswith(" from sched/scalars; do not edit.")


def test_rendered_twice_is_the_same() -> None:
    assert rendered("openat") == rendered("openat")


def test_rendered_openat(golden: Any) -> None:
    golden("decoders/openat.py", rendered("openat"))


def test_attributes_are_typed() -> None:
    event = module("openat").decode(encode(SCHEMA.events["openat"], OPENED), offset_ns=5)

    assert (event.args.dfd, event.args.filename, event.args.mode) == ("AT_FDCWD", "/etc/passwd", 0)
    assert (event.pid, event.ret, event.error, event.ts) == (5518, 3, None, OPENED.ts + 5)
    assert not hasattr(event, "__dict__") and not hasattr(event.args, "__dict__")


def test_record_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer"):
        module("openat").decode(b"")


def test_names_that_python_has_taken_are_changed() -> None:
    assert attribute_names(["from", "str", "__mode", "___", "fd", "fd_"]) == [
        "from_",
        "str_",
        "mode_",
        "arg_",
        "fd",
        "fd_",
    ]
    assert list(module("sched:scalars").decode(encode(SCHEMA.events["sched:scalars"], Record())).to_dict()["args"]) == [
        arg["name"] for arg in SCALARS
    ]


@pytest.mark.parametrize(
    ("event", "name"),
    [("openat", "Openat"), ("sched:sched_switch", "SchedSchedSwitch"), ("4level", "Event4level")],
)
def test_class_is_named_after_the_event(event: str, name: str) -> None:
    assert class_name(event) == name


@pytest.mark.parametrize("name", EVENTS)
def test_dtype_has_the_tracer_s_columns(name: str) -> None:
    columns: Any = column_types(SCHEMA.events[name], "little")

    assert numpy.dtype(columns) == module(name).DTYPE


@given(st.sampled_from(sorted(EVENTS)).flatmap(lambda n: st.tuples(st.just(n), records(SCHEMA.events[n]))))
@settings(max_examples=400, deadline=None)
def test_rendered_decoder_and_tracer_agree(case: tuple[str, Record]) -> None:
    name, record = case
    data = encode(SCHEMA.events[name], record)
    ours = theirs = None

    with suppress(UndecodableError):
        ours = Decoder(SCHEMA.events[name], SCHEMA.tables).decode(data, offset_ns=3).to_dict()
    with suppress(ValueError):
        theirs = module(name).decode(data, offset_ns=3).to_dict()

    assert theirs == ours
    assert list(theirs or ()) == list(ours or ())


def test_rendered_code_is_formatted_and_clean(tmp_path: Path) -> None:
    write_all(tmp_path)

    for command in (["format", "--check"], ["check", "--select", "E,F,I,W,B,UP"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--line-length", "120", str(tmp_path)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_rendered_code_passes_strict_mypy(tmp_path: Path) -> None:
    write_all(tmp_path)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(tmp_path)]

    done = subprocess.run(mypy, capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        ([], "[]"),
        ([1, None, True], "[\n    1,\n    None,\n    True,\n]"),
        ({"b": "x", "a": ['it"s']}, '{\n    "a": [\n        \'it"s\',\n    ],\n    "b": "x",\n}'),
    ],
)
def test_literal_is_as_ruff_leaves_it(value: object, text: str) -> None:
    assert literal(value) == text
