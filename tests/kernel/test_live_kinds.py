"""Each kind of argument, by a program that exercises it, on each hook that this kernel has."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kernel.live import HOOKS, Traced, args_of, hide_addresses, result, trace
from tests.support import cold
from traceleft.battery import Battery
from traceleft.tracer.decode.event import Event
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.text import Line, TextOptions

pytestmark = pytest.mark.kernel

EVENTS: Final = (
    "execve,execveat,openat,renameat2,memfd_create,write,pread64,readlinkat,getcwd,mmap,mprotect,lseek,kill,fcntl,"
    "setsockopt,getsockopt,connect,bind,getsockname,writev,readv,sendmsg,recvmsg,sendmmsg,recvfrom,sendto,utimensat,"
    "newfstatat,statx,openat2,pipe2,poll,ppoll,select,epoll_ctl,epoll_wait,nanosleep,rt_sigprocmask,rt_sigaction,"
    "setgroups,getgroups,prlimit64,sched_setscheduler,sched_setaffinity,clone3,wait4"
)
# What another file system, kernel or clock says otherwise.
CHANGING: Final = re.compile(
    "stx?_(dev|ino|blksize|blocks|ctime|btime|ctime_nsec|dev_major|dev_minor|mnt_id|mask|subvol)"
    "|stx_(attributes|dio|atomic)_?.*"
)


@pytest.fixture(scope="module", params=HOOKS)
def kinds(request: pytest.FixtureRequest, battery: Battery, programs: Path, tmp_path_factory: Any) -> Traced:
    work = tmp_path_factory.mktemp("work")
    (work / "file").write_text("0123456789")
    (work / "file").chmod(0o640)
    (work / "link").symlink_to("file")
    traced = trace(battery, [programs / "live_kinds", work], EVENTS, hook=request.param, environment=True)
    assert traced.tracer.status == 0
    assert traced.tracer.hook == request.param
    return traced


def show_steady(event: Event) -> str:
    """Return what every run must give alike: the case, the call, its arguments and result."""
    args = hide_addresses(drop_changing(args_of(event)))
    if event.event == "select":
        args["tvp"]["out"] = "what was left"
    shown: dict[str, Any] = {"case": event.comm, "event": event.event, "args": args, "result": result(event)}
    if event.event in ("clone3", "wait4") and event.error is None:
        shown["result"] = "a child"
    if event.event == "getcwd" and event.error is None:
        assert event.ret == len(os.fsencode(args["buf"])) + 1
        args["buf"], shown["result"] = f".../{Path(args['buf']).name[:4]}", "its length"
    if event.event == "mmap":
        shown["result"] = "an address"
    shown |= {"truncated": event.truncated} if event.truncated else {}
    shown |= {"unreadable": event.unreadable} if event.unreadable else {}
    return re.sub(r"(/a){100,}", lambda found: f"(/a x {len(found[0]) // 2})", json.dumps(shown))


def drop_changing(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: "a child" if key == "upid" and each != -1 else drop_changing(each)
                for key, each in value.items()
                if not CHANGING.fullmatch(key)
            }
        case list():
            return [drop_changing(each) for each in value]
    return value


@pytest.fixture(params=HOOKS)
def from_pages(
    request: pytest.FixtureRequest, battery: Battery, programs: Path, tmp_path: Path
) -> Callable[..., list[Event]]:
    """Run a case of live_pages; the events of a kind."""

    def run(case: str, event: str, **options: Any) -> list[Event]:
        shutil.copy(programs / "live_pages", tmp_path / "again")
        command = [programs / "live_pages", case, tmp_path]
        return trace(battery, command, event, hook=request.param, **options).events

    return run


def test_each_kind_is_decoded_on_each_hook(kinds: Traced, golden: Callable[[str, str], None]) -> None:
    lines = [show_steady(event) for event in kinds.events if event.comm != "live_kinds"]

    golden("kernel/kinds.jsonl", "".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(("case", "path"), [("path", "/no/fresh"), ("child", "/no/rodata"), ("crossing", "/cccccc")])
def test_path_on_a_page_that_is_not_there_yet_is_read(
    from_pages: Callable[..., list[Event]], case: str, path: str
) -> None:
    events = from_pages(case, "openat", follow=True)

    assert path in [event.args.filename for event in events]
    assert [event.unreadable for event in events if event.unreadable] == []


def test_struct_that_was_not_there_at_entry_is_read_at_exit(from_pages: Callable[..., list[Event]]) -> None:
    (event,) = from_pages("entry", "nanosleep")

    assert event.args.rqtp == {"tv_sec": 0, "tv_nsec": 1234}
    assert not event.unreadable


def test_struct_that_the_kernel_writes_to_a_fresh_page_is_read(from_pages: Callable[..., list[Event]]) -> None:
    (event,) = from_pages("out", "clock_getres")

    assert args_of(event)["tp"]["tv_sec"] == 0
    assert 0 < args_of(event)["tp"]["tv_nsec"] <= 20_000_000


def test_failed_exec_from_pages_that_were_not_there_is_whole(from_pages: Callable[..., list[Event]]) -> None:
    event = from_pages("failed", "execve", environment=True)[-1]

    assert args_of(event) == {
        "filename": "./nothing",
        "argv": ["argument zero", "one\udcff"],
        "envp": ["NAME=value"],
    }
    assert event.error == "ENOENT"


@pytest.mark.parametrize("hook", HOOKS)
def test_exec_from_pages_that_were_not_there_shows_what_the_caller_passed(
    battery: Battery, programs: Path, tmp_path: Path, hook: str
) -> None:
    shutil.copy(programs / "live_pages", tmp_path / "again")
    command = [programs / "live_pages", "exec", tmp_path]
    event = trace(battery, command, "execve", hook=hook, environment=True).events[-1]

    assert args_of(event) == {
        "filename": "./again",
        "argv": ["argument zero", "one\udcff"],
        "envp": ["NAME=value"],
    }
    assert (event.ret, event.image, event.unreadable) == (0, {}, [])


def trace_cold(battery: Battery, programs: Path, directory: Path, mode: str, touched: str, **options: Any) -> Event:
    """Trace an exec whose strings lie in a page that nothing touched, or that was touched before."""
    command = [programs / "live_cold_exec", mode, touched, directory]
    return trace(battery, command, "execve,execveat", environment=True, **options).events[-1]


@pytest.mark.parametrize("touched", cold.TOUCHED)
@pytest.mark.parametrize("mode", cold.MODES)
@pytest.mark.parametrize("hook", HOOKS)
def test_exec_shows_what_was_passed_and_not_what_is_run(
    battery: Battery, programs: Path, tmp_path: Path, hook: str, mode: str, touched: str
) -> None:
    event = trace_cold(battery, programs, tmp_path, mode, touched, hook=hook)

    cold.check_passed(json.loads(to_json_line(event)), mode)


@pytest.mark.parametrize("mode", cold.MODES)
def test_what_could_not_be_had_is_marked_and_what_is_run_stands_apart(
    battery: Battery, programs: Path, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traceleft.tracer.session.choice.prepare_roles", lambda hook: ())
    event = trace_cold(battery, programs, tmp_path, mode, "cold", hook="raw_tracepoint")

    cold.check_marked(json.loads(to_json_line(event)), mode)
    assert event.unreadable == ["filename", "argv", "envp"]
    assert (event.image["argv"], event.image["envp"]) == (cold.MODES[mode][1], ["arg-one"])
    assert args_of(event)["argv"] == hex(event.raw[1 if event.event == "execve" else 2])
    assert " /* image: filename: " in Line(TextOptions()).show(event)


def test_hook_without_the_new_stack_says_what_it_could_not_read(
    battery: Battery, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traceleft.tracer.session.choice.prepare_roles", lambda hook: ())
    shutil.copy(programs / "live_pages", tmp_path / "again")
    command = [programs / "live_pages", "exec", tmp_path]
    event = trace(battery, command, "execve", hook="tracepoint").events[-1]

    assert (event.ret, event.unreadable) == (0, ["filename", "argv", "envp"])


@pytest.mark.parametrize(("limit", "shown"), [(0, 0), (1, 1), (31, 31), (100, 100), (1_000_000, 100)])
def test_text_limit_cuts_buffers_and_says_so(
    battery: Battery, programs: Path, tmp_path: Path, limit: int, shown: int
) -> None:
    (tmp_path / "file").touch()
    events = trace(battery, [programs / "live_kinds", tmp_path], "write", text_limit=limit, comm="write cut").events

    (event,) = events
    assert event.args.buf == "x" * shown
    assert event.truncated == ({"buf": 100} if shown < 100 else {})
