"""Sources → schema documents."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import TESTS
from traceleft.errors import ExpressionError, FormatError, UnsupportedError
from traceleft.generator import describe
from traceleft.generator.config import parse_config
from traceleft.generator.format_source import FormatSource, read_source
from traceleft.generator.model import load_borrowed, read_events
from traceleft.generator.schema import Schema, make_schema
from traceleft.tracer.schema.load import load_schema

SNAPSHOTS = sorted((TESTS / "data" / "formats").glob("*.json.xz"))
BY_RELEASE = {path.name.removesuffix(".json.xz"): path for path in SNAPSHOTS}
OLDEST, NEWEST, LATEST_LONG_TERM = BY_RELEASE["4.4.121"], BY_RELEASE["7.2.13+deb14-cloud-amd64"], BY_RELEASE["6.18.44"]

each_capture = pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.name.removesuffix(".json.xz"))


@cache
def open_source(path: Path) -> FormatSource:
    return read_source(path)


def make(*events: str, path: Path = LATEST_LONG_TERM, config: str | None = None) -> Schema:
    settings = parse_config(config, file="events.toml") if config else None
    return make_schema(open_source(path), events=events, config=settings)


def event(name: str, path: Path = LATEST_LONG_TERM) -> dict[str, Any]:
    made: dict[str, Any] = make(name, path=path).document["events"][name]
    return made


def arguments(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {argument["name"]: argument for argument in made["args"]}


def altered(key: str, before: str, after: str) -> FormatSource:
    source = open_source(LATEST_LONG_TERM)
    formats = dict(source.formats)
    assert before in formats[key]
    formats[key] = formats[key].replace(before, after)
    return FormatSource(source.release, source.machine, formats)


@each_capture
def test_every_syscall_of_a_capture_becomes_an_event(path: Path) -> None:
    calls = {
        key.removeprefix("syscalls/sys_enter_")
        for key in open_source(path).formats
        if key.startswith("syscalls/sys_enter_")
    }

    schema = describe(path)

    events = schema.document["events"]
    assert events.keys() == calls | load_borrowed().keys()
    assert {name for name, made in events.items() if made["borrowed"]} == events.keys() - calls
    assert schema.notices == ()
    assert len({made["id"] for made in events.values()}) == len(events)


@each_capture
def test_the_tracer_accepts_all_events_of_a_capture(path: Path) -> None:
    events = read_events(open_source(path).formats)

    document = make(*events.syscalls, *events.tracepoints, path=path).document

    assert load_schema(document).events.keys() == {*events.syscalls, *events.tracepoints}


@each_capture
def test_every_syscall_of_a_capture_has_its_number(path: Path) -> None:
    document = describe(path).document

    unnumbered = sorted(name for name, made in document["events"].items() if made["number"] is None)

    assert unnumbered == []


def test_document_has_what_a_file_open_needs() -> None:
    made = event("openat")

    assert (made["id"], made["number"], made["kind"], made["borrowed"], made["entry"]) == (
        *(257, 257, "syscall"),
        *(False, "none"),
    )
    assert made["ret"] == {"kind": "fd"}
    assert made["layout"]["fixed_size"] == 136
    assert made["layout"]["slots"] == [{"name": "filename", "offset": 128, "at": "exit"}]
    assert {name: argument["kind"] for name, argument in arguments(made).items()} == {
        "dfd": "dirfd",
        "filename": "path",
        "flags": "set",
        "mode": "mode",
    }
    assert (arguments(made)["mode"]["width"], arguments(made)["filename"]["slot"]) == (2, 0)


def test_kernel_fields_beside_the_arguments_change_nothing() -> None:
    old, new = event("openat", BY_RELEASE["6.12.107+deb13-cloud-amd64"]), event("openat", NEWEST)

    assert new["layout"] == old["layout"]
    assert new["args"] == old["args"]


def test_tables_hold_what_the_events_name_and_all_of_errno() -> None:
    tables = make("openat", "newfstat").document["tables"]

    assert "open_flags" in tables["sets"]
    assert "stat" in tables["structs"]
    assert "clone_flags" not in tables["sets"]
    assert (tables["errno"]["2"], tables["errno"]["512"]) == ("ENOENT", "ERESTARTSYS")


def test_sets_of_structs_are_there_too() -> None:
    tables = make("openat2").document["tables"]

    assert {"open_flags", "resolve_flags"} <= tables["sets"].keys()


@pytest.mark.parametrize(
    ("name", "entry", "moments"),
    [
        ("read", "none", ["exit"]),
        ("execve", "save", ["entry"] * 3),
        ("exit_group", "emit", []),
        ("rt_sigreturn", "number", []),
        ("accept4", "save", ["exit", "entry", "exit"]),
    ],
    ids=["read", "execve", "exit_group", "rt_sigreturn", "accept4"],
)
def test_entry_follows_what_is_captured_when(name: str, entry: str, moments: list[str]) -> None:
    made = event(name)

    assert made["entry"] == entry
    assert [slot["at"] for slot in made["layout"]["slots"]] == moments


def test_ids_do_not_depend_on_what_is_chosen() -> None:
    alone = event("sched:sched_switch")
    together = make("openat", "sched:sched_process_exec", "sched:sched_switch").document["events"]

    assert alone["id"] == together["sched:sched_switch"]["id"] >= 1024


def test_calls_without_a_format_are_borrowed() -> None:
    made = event("execve", OLDEST)

    assert made["borrowed"]
    assert made["number"] == 59
    assert list(arguments(made)) == ["filename", "argv", "envp"]


def test_borrowed_calls_are_chosen_without_being_named() -> None:
    chosen = describe(OLDEST).document["events"]

    assert {"execve", "execveat", "clone", "fork", "vfork"} <= set(chosen)
    assert chosen["execve"]["borrowed"]
    assert list(describe(OLDEST, expressions=["execve"]).document["events"]) == ["execve"]


def test_location_of_text_in_a_tracepoint_is_kept() -> None:
    made = event("sched:sched_process_exec")

    filename = arguments(made)["filename"]
    assert (filename["offset"], filename["size"], filename["data_loc"], filename["slot"]) == (8, 4, True, 0)
    assert made["layout"]["args"] == 3
    assert made["kind"] == "tracepoint" and made["number"] is None


def test_addresses_and_states_of_a_socket_tracepoint_have_meaning() -> None:
    schema = make("sock:inet_sock_set_state")

    fields = arguments(schema.document["events"]["sock:inet_sock_set_state"])
    assert (fields["saddr"]["show"], fields["saddr"]["count"], fields["saddr"]["size"]) == ("ipv4", 4, 4)
    assert fields["daddr_v6"]["show"] == "ipv6"
    state = schema.document["tables"]["sets"][fields["newstate"]["set"]]
    assert [2, "TCP_SYN_SENT"] in state["values"]


def test_array_of_numbers_in_a_tracepoint_has_elements() -> None:
    field = arguments(event("raw_syscalls:sys_enter"))["args"]

    assert (field["kind"], field["size"], field["count"], field["element"]["width"]) == ("bytes", 48, 6, 8)


def test_pointer_to_an_unknown_struct_is_an_address_with_a_notice() -> None:
    text = open_source(LATEST_LONG_TERM).formats["syscalls/sys_enter_close"]
    text = text.replace("sys_enter_close", "sys_enter_renew").replace("unsigned int fd;", "struct brand_new * what;")

    schema = make_schema(FormatSource("9.9", "x86_64", {"syscalls/sys_enter_renew": text}), events=["renew"])

    made = schema.document["events"]["renew"]
    assert arguments(made)["what"]["kind"] == "pointer"
    assert made["number"] is None and made["id"] >= 1024
    assert schema.notices == ("renew: what: `struct brand_new *` is not known; it is shown as an address",)


def test_argument_of_another_type_than_declared_is_shown_as_what_it_is() -> None:
    source = altered("syscalls/sys_enter_openat", "const char * filename;", "unsigned long filename;")

    made = make_schema(source, events=["openat"]).document["events"]["openat"]

    assert arguments(made)["filename"]["kind"] == "int"


def test_unknown_type_by_value_names_file_line_and_type() -> None:
    source = altered("syscalls/sys_enter_openat", "umode_t mode", "brand_new_t mode")

    with pytest.raises(FormatError, match=r"syscalls/sys_enter_openat/format:13: type `brand_new_t`"):
        make_schema(source, events=["openat"])


def test_configuration_leaves_arguments_out() -> None:
    made = make("openat", config='[event.openat]\narguments = ["flags", "dfd"]\n').document["events"]["openat"]

    assert [(argument["name"], argument["index"]) for argument in made["args"]] == [("dfd", 0), ("flags", 2)]
    assert (made["layout"]["fixed_size"], made["layout"]["args"], made["registers"]) == (128, 6, 4)


@pytest.mark.parametrize("chosen", ["openat", "close"], ids=["chosen", "not-chosen"])
def test_unknown_argument_names_its_line_and_the_nearest(chosen: str) -> None:
    config = '# filenme\n[event.openat]\narguments = [\n  "filenme",\n]\n'

    with pytest.raises(FormatError, match=r"^events.toml:4: openat has no argument 'filenme'; nearest: filename$"):
        make(chosen, config=config)


def test_expression_that_chooses_nothing_is_refused() -> None:
    with pytest.raises(ExpressionError, match="choose no event"):
        describe(LATEST_LONG_TERM, expressions=["!all"])


def test_other_machines_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="aarch64"):
        make_schema(FormatSource("6.1", "aarch64", open_source(LATEST_LONG_TERM).formats), events=["openat"])


def test_document_is_the_same_in_two_processes() -> None:
    code = (
        "import sys, json, pathlib; from traceleft.generator import describe;"
        "print(json.dumps(describe(pathlib.Path(sys.argv[1]), expressions=['all,/:/']).document, sort_keys=True))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, LATEST_LONG_TERM],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(outputs) == 1
    assert len(json.loads(outputs.pop())["events"]) > 400
