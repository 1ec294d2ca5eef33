"""Signals and ends of threads: which programs tell them, and how they are shown; the live kernel is elsewhere."""

import json
from typing import Any

import pytest

from tests.support.records import Capture, Record, encode
from traceleft.errors import BatteryError, UnsupportedError
from traceleft.expression import Catalogue
from traceleft.generator.schema import _make_tables
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.kernel.features import Feature, KernelFeatures
from traceleft.tracer.kernel.kernel_btf import TaskOffsets
from traceleft.tracer.output.text import Line, TextOptions
from traceleft.tracer.schema import core as core_events
from traceleft.tracer.schema import tasks
from traceleft.tracer.schema.select import cut_document, load_events
from traceleft.tracer.schema.spec import Schema
from traceleft.tracer.session import task_events, uring

ALL = {*task_events.RAW_PLACES, *task_events.TRACEPOINT_PLACES, task_events.KPROBE_EXIT}
KNOWN = TaskOffsets(status=16, pid=1000, tgid=1004, exit_code=900)
EXITS: list[tuple[int, str]] = [
    (0, "+++ exited with 0 +++"),
    (3 << 8, "+++ exited with 3 +++"),
    (9, "+++ killed by SIGKILL +++"),
    (11 | 0x80, "+++ killed by SIGSEGV (core dumped) +++"),
]


def document(*, structs: bool = True) -> bytes:
    head = {"schema": 1, "machine": "x86_64", "release": "6.1", "byte_order": "little", "events": {}}
    # As every document of a battery has them.
    tables: dict[str, Any] = _make_tables({}, {}) if structs else {}
    return json.dumps({**head, "tables": tables}).encode()


def schema() -> Schema:
    return load_events(document(), tasks.NAMES)


def show(name: str, record: Record) -> str:
    decoder = Decoder(schema().events[name], schema().tables)
    line = Line(TextOptions(time="none")).show(decoder.decode(encode(schema().events[name], record)))
    return line.partition("] ")[2]


def siginfo(number: int, code: int, *rest: int) -> bytes:
    words = [number, 0, code, 0, *rest]
    return b"".join(word.to_bytes(4, "little", signed=word < 0) for word in words).ljust(48, b"\0")


def features(*present: str, lacking: str = "") -> KernelFeatures:
    found = {name: Feature(name, True, "") for name in present}
    found |= {lacking: Feature(lacking, False, "")} if lacking else {}
    return KernelFeatures(release="", machine="x86_64", cpus=1, features=found)


@pytest.mark.parametrize(("status", "shown"), EXITS)
def test_ends_are_shown_as_strace_does(status: int, shown: str) -> None:
    assert show(tasks.PROCESS_EXIT, Record((status,))) == shown


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (siginfo(11, 1), "SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}"),
        (siginfo(15, 0, 77, 1000), "SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=77, si_uid=1000}"),
        (siginfo(14, 0x80), "SIGALRM {si_signo=SIGALRM, si_code=SI_KERNEL}"),
        (
            b"\x1f\0\0\0\x07\0\0\0\x01\0\0\0" + bytes(36),
            "SIGSYS {si_signo=SIGSYS, si_code=SYS_SECCOMP, si_errno=E2BIG, si_call_addr=NULL, si_syscall=0, si_arch=0}",
        ),
        # Of a tracepoint that tells no more than these.
        (siginfo(15, 0)[:12], "SIGTERM {si_signo=SIGTERM, si_code=SI_USER}"),
    ],
)
def test_signals_are_shown_as_strace_does(data: bytes, shown: str) -> None:
    number = int.from_bytes(data[:4], "little")

    assert show(tasks.SIGNAL, Record((number, 1), {0: Capture(data)})) == f"--- {shown} ---"


def test_document_of_an_older_battery_lacks_what_signals_need() -> None:
    older = document(structs=False)

    assert sorted(load_events(older, tasks.NAMES).events) == ["process_exit"]
    assert sorted(load_events(document(), tasks.NAMES).events) == ["process_exit", "signal"]
    with pytest.raises(BatteryError, match="set signal, which is not there"):
        load_events(json.dumps({**json.loads(older), "events": tasks.DOCUMENTS}).encode(), ["signal"])


def test_document_that_was_cut_is_whole() -> None:
    cut = cut_document(document(), ["signal"])

    assert sorted(load_events(json.dumps(cut).encode(), ["signal"]).events) == ["signal"]


def test_they_are_taken_with_every_syscall_and_counted_with_none() -> None:
    many = [f"call{number}" for number in range(core_events.COMPLETE_MIN)]
    catalogue = core_events.add_to(Catalogue(frozenset([*many, "sched:sched_switch"]), {}, {}))
    few = core_events.add_to(Catalogue(frozenset(many[1:]), {}, {}))

    assert sorted(core_events.default_events(catalogue)) == sorted([*many, "process_exit", "signal", "unknown"])
    assert sorted(core_events.default_events(few)) == sorted(many[1:])
    assert core_events.calls_of(("read", "signal", "process_exit", "unknown")) == ("read", "unknown")


@pytest.mark.parametrize(
    ("kernel", "offsets", "signal", "ends"),
    [
        (features("raw_tracepoint", "tracepoint"), KNOWN, tuple(task_events.RAW_PLACES), ("raw_process_exit",)),
        (features("raw_tracepoint", "kprobe"), TaskOffsets(), ("raw_signal",), ("kprobe_process_exit",)),
        (features("raw_tracepoint"), TaskOffsets(), ("raw_signal",), None),
        (features("tracepoint", "kprobe"), TaskOffsets(), ("tp_signal",), ("kprobe_process_exit",)),
        (
            features("raw_tracepoint", "tracepoint", lacking="raw_exact"),
            KNOWN,
            ("tp_signal", "raw_signal_sent", "tp_process_exit"),
            ("tp_process_exit",),
        ),
        (features("kprobe"), TaskOffsets(), None, ("kprobe_process_exit",)),
        (features(), TaskOffsets(), None, None),
    ],
    ids=["all", "no BTF", "raw alone", "4.14", "preempted", "kprobes alone", "nothing"],
)
def test_programs_go_by_what_the_kernel_has(
    kernel: KernelFeatures,
    offsets: TaskOffsets,
    signal: tuple[str, ...] | None,
    ends: tuple[str, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_events, "task_offsets", lambda: offsets)
    monkeypatch.setattr(task_events, "_has_deliver_fields", lambda: True)
    chosen = [task_events.choose_roles(name, ALL, kernel) for name in tasks.NAMES]

    assert [None if roles is None else set(roles) for roles in chosen] == [
        None if roles is None else set(roles) for roles in (signal, ends)
    ]


def test_level_that_lacks_a_program_has_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_events, "task_offsets", lambda: KNOWN)
    monkeypatch.setattr(task_events, "_has_deliver_fields", lambda: True)
    kernel = features("raw_tracepoint", "tracepoint", "kprobe")
    older = ALL - set(task_events.RAW_PLACES)

    assert task_events.choose_roles("signal", older, kernel) == ("tp_signal",)
    assert task_events.choose_roles("process_exit", older, kernel) == ("tp_process_exit",)
    # At level 4.4 one program of the core's does both.
    assert task_events.choose_roles("process_exit", {"kprobe_on_exit"}, kernel) == ()
    assert task_events.choose_roles("signal", {"kprobe_on_exit"}, kernel) is None


@pytest.mark.parametrize(("fields", "has"), [(True, True), (False, False)])
def test_tracepoint_is_taken_if_its_fields_are_where_the_program_looks(
    fields: bool, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = "\tfield:int sig;\toffset:8;\tsize:4;\tsigned:1;\n" if fields else ""
    layout += "\tfield:int errno;\toffset:12;\tsize:4;\tsigned:1;\n\tfield:int code;\toffset:16;\tsize:4;\tsigned:1;\n"
    monkeypatch.setattr(task_events, "read_format", lambda *place: layout)

    assert task_events._has_deliver_fields() == has


def test_without_tracefs_nothing_of_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*place: str) -> str:
        raise UnsupportedError("tracefs", "cannot be read")

    monkeypatch.setattr(task_events, "read_format", refuse)
    monkeypatch.setattr(uring, "read_format", refuse)

    assert not task_events._has_deliver_fields()
    assert uring.choose_roles({uring.RAW_ROLE, uring.ROLE}) == []
