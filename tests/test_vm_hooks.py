"""Every level and hook on every kernel of scripts/kernels.txt: all objects load, and the same program gives the same
events on all of them.

The kernel underneath may lack kprobes and is one only, so this runs inside Debian's (`scripts/vm.sh`). The battery is
made of formats that each kernel showed itself.
"""

import fcntl
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests import border, compat, identity
from tests.compiled import compile_programs
from tests.conftest import CACHE
from tests.guest_traces import FEW, STACKED, TRACES
from tests.levels import BUILT, RUNS
from tests.vm import REPOSITORY, run_in
from traceleft.battery import Battery
from traceleft.battery.builder import build
from traceleft.errors import TraceleftError
from traceleft.generator import generate
from traceleft.tracer.levels import LEVELS
from traceleft.tracer.symbols import import_bcc

pytestmark = pytest.mark.vm

RUN_IDS: Final = [f"{level}-{hook}" for level, hook in RUNS]
SUPPORT: Final = CACHE / "support"
DEAD: Final = 4194305
# Each keeps one CPU of this machine busy.
GUESTS_MAX: Final = 2
# Below 5.8 no more than eight variables are seen of an exec's environment.
PYTHON: Final = f"cd {REPOSITORY} && env -i PATH=$PATH PYTHONPATH={REPOSITORY} {sys.executable}"
# Links, pins and programs that are no longer ours would be seen by the kernel's own lists.
COMMAND: Final = """
cd /mnt
events=/sys/kernel/tracing/kprobe_events
bpftool prog list >/mnt/programs-before
echo 'p:kprobes/libbpf_{dead}_x_0x0_1 __x64_sys_getppid' >>$events
echo 'p:kprobes/libbpf_1_x_0x0_1 __x64_sys_getppid' >>$events
({python} -m tests.guest_traces {battery} /mnt) || exit 1
({python} -m traceleft trace --battery {battery} --attach kprobe -e read -o /mnt/blocked.txt \\
	--ledger /mnt/blocked.ledger -- /mnt/live_blocked) || exit 1
({python} /mnt/missed.py >/mnt/missed.ledger) || exit 1
({python} -m traceleft.tracer.qualify {battery} >/mnt/qualified) || echo "qualify: $?"
sleep 1
bpftool prog list >/mnt/programs
bpftool link list >/mnt/links
cat $events >/mnt/kprobes
"""

THREADS: Final = 300
# The same with return probes that follow no more calls than they would by themselves.
MISSED: Final = f"""
import json
from traceleft import Battery, Tracer
from traceleft.tracer import kprobes
kprobes.BLOCKING_MAX = 20
battery = Battery.open("{CACHE / "vm-battery"}")
with Tracer(battery, level="4.11", hook="kprobe", events=["read"], command=["/mnt/live_blocked"]) as tracer:
    tracer.run()
print(json.dumps(tracer.ledger.to_json()))
"""

Sequences = dict[int, list[tuple[Any, ...]]]
Guests = Callable[[str], Path]


@pytest.fixture(scope="session")
def vm_battery(kernels: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a battery of all syscalls of these kernels, for all levels, of what each shows of its formats.

    It stays in build/tests: the next run compiles only what changed.
    """
    place = CACHE / "vm-battery"
    CACHE.mkdir(parents=True, exist_ok=True)
    outs = {kernel: tmp_path_factory.mktemp(f"snapshot-{kernel}") for kernel in kernels}
    with ThreadPoolExecutor(GUESTS_MAX) as pool:
        command = f"{PYTHON} -m traceleft snapshot -o /mnt/snapshot"
        list(pool.map(lambda kernel: run_in(kernel, outs[kernel], command), kernels))
    with (CACHE / "vm-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            Battery.open(place)
        except TraceleftError:
            shutil.rmtree(place, ignore_errors=True)
        for out in outs.values():
            generate(out / "snapshot", expressions=["all"], output=out / "generated")
            build(out / "generated", place, levels=BUILT)
    return place


@pytest.fixture(scope="session")
def guests(vm_battery: Path, kernels: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    """Run all there is to run inside each kernel, once; what waits for one and gives the directory of what came out."""
    programs = compile_programs(tmp_path_factory.mktemp("programs"))
    command = COMMAND.format(python=PYTHON, battery=vm_battery, dead=DEAD)

    def run(kernel: str) -> Path:
        out = tmp_path_factory.mktemp(f"guest-{kernel}")
        shutil.copytree(programs, out, dirs_exist_ok=True)
        (out / "missed.py").write_text(MISSED)
        run_in(kernel, out, command)
        # What scripts/write_support.py makes the matrix of.
        SUPPORT.mkdir(parents=True, exist_ok=True)
        shutil.copy(out / "qualified", SUPPORT / f"{kernel}.jsonl")
        return out

    with ThreadPoolExecutor(GUESTS_MAX) as pool:
        running = {kernel: pool.submit(run, kernel) for kernel in kernels}
        yield lambda kernel: running[kernel].result()


@pytest.fixture
def guest(guests: Guests, kernel: str) -> Path:
    """What came out of one kernel."""
    return guests(kernel)


def read_events(guest: Path, trace: str, run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (guest / f"{trace}-{run}.json").read_text().splitlines()]


def read_ledger(guest: Path, trace: str, run: str) -> Mapping[str, Any]:
    ledger: Mapping[str, Any] = json.loads((guest / f"{trace}-{run}.ledger").read_text())
    return ledger


def read_sequences(guest: Path, trace: str, run: str, *, of_stack: bool = False) -> Sequences:
    """Read each thread's calls, less what differs from run to run and from kernel to kernel for good reasons.

    ``of_stack``: less what level 4.4 has no room for, too.
    """
    events = read_events(guest, trace, run)
    threads = list(dict.fromkeys(event["tid"] for event in events))
    sequences: Sequences = {}
    for event in events:
        shown = show_steady(event, threads, of_stack=of_stack)
        sequences.setdefault(threads.index(event["tid"]), []).append(shown)
    return sequences


def show_steady(event: dict[str, Any], threads: list[int], *, of_stack: bool) -> tuple[Any, ...]:
    arguments = dict(event["args"])
    cut, unread = dict(event.get("truncated", {})), set(event.get("unreadable", []))
    # What stat says of a file (numbers of devices, times), and what uname says, is the kernel's own.
    for name in {"statbuf", "name"} & arguments.keys():
        arguments[name] = f"the kernel's {name}"
    if of_stack:
        # Its records lie on a stack of 512 bytes: an exec's environment is not taken, uname's 390 bytes are cut.
        arguments.pop("envp", None)
        unread.discard("envp")
        cut.pop("name", None)
    # Addresses of memory, which the kernel chooses at random.
    text = re.sub(r'"0x[0-9a-f]{6,}"', '"an address"', json.dumps(arguments))
    # Ports that the kernel gave.
    text = re.sub(r'"port": [0-9]{5}', '"port": "a local one"', text)
    result = event["ret"]
    if result in threads:
        # Pids.
        result = f"thread {threads.index(result)}"
    elif result is not None and abs(result) > 1 << 32:
        result = "an address"
    return (event["event"], text, result, event["error"], cut, sorted(unread))


def is_of_stack(run: str) -> bool:
    return LEVELS[run.partition("-")[0]].is_stack


@pytest.mark.parametrize("run", RUN_IDS)
def test_every_object_loads_and_every_hook_attaches_and_delivers(guest: Path, run: str) -> None:
    rows = [json.loads(line) for line in (guest / "qualified").read_text().splitlines()]
    (row,) = (row for row in rows if f"{row['level']}-{row['hook']}" == run)

    assert (row["status"], row["problems"]) == ("ok", [])
    assert row["loaded"] == row["built"] > 100
    assert row["delivered"] == row["made"] > 0
    # Functions on which a kernel sets no kprobe: ftrace did not record them when it was compiled.
    assert run.endswith("kprobe") or row["left_out"] == []
    assert len(row["left_out"]) <= 2, row["left_out"]


@pytest.mark.parametrize("run", RUN_IDS)
def test_hook_delivers_what_the_program_did(guest: Path, run: str) -> None:
    main, child = read_sequences(guest, "many", run, of_stack=is_of_stack(run)).values()

    names = [name for name, *_ in main]
    assert names[0] == "execve"
    assert names[-1] == "exit_group"
    assert ("close", '{"fd": 3}', 0, None, {}, []) in main
    assert [event[:4] for event in main if event[0] == "connect"] == [
        (
            "connect",
            '{"fd": 3, "uservaddr": {"family": "AF_INET", "addr": "127.0.0.1", "port": 9}, "addrlen": 16}',
            -111,
            "ECONNREFUSED",
        )
    ]
    assert [(name, error) for name, _, _, error, *_ in child if name == "execve"] == [
        ("execve", "ENOENT"),
        ("execve", None),
    ]
    environment = "" if is_of_stack(run) else ', "envp": ["NAME=value"]'
    assert f'"argv": ["missing", "an argument"]{environment}}}' in child[0][1]


@pytest.mark.parametrize("run", RUN_IDS)
def test_hooks_levels_and_kernels_give_the_same_events(
    guests: Guests, kernel: str, kernels: list[str], run: str
) -> None:
    of_stack = is_of_stack(run)
    expected = read_sequences(guests(kernels[0]), "many", RUN_IDS[-1], of_stack=of_stack)

    assert read_sequences(guests(kernel), "many", run, of_stack=of_stack) == expected


@pytest.mark.parametrize("run", RUN_IDS)
def test_few_events_are_those_among_many(guest: Path, run: str) -> None:
    # Threads are numbered as they are seen, and pids among results by them: both see the same.
    many = read_sequences(guest, "many", run)
    chosen = {thread: [call for call in calls if call[0] in FEW.split(",")] for thread, calls in many.items()}

    assert read_sequences(guest, "few", run) == chosen


@pytest.mark.parametrize(("level", "hook"), RUNS, ids=RUN_IDS)
def test_what_ends_at_the_border_of_a_page_is_whole(guest: Path, level: str, hook: str) -> None:
    border.check_border(read_events(guest, "border", f"{level}-{hook}"), level)


@pytest.mark.parametrize("run", RUN_IDS)
def test_records_say_who_calls(guest: Path, run: str) -> None:
    level = run.partition("-")[0]

    # All in the guest is in the root's group, which older levels cannot tell.
    identity.check_identity(read_events(guest, "identity", run), {1 if level in ("5.8", "4.18") else 0})


@pytest.mark.parametrize("events", ("few", "many"))
@pytest.mark.parametrize("name", compat.COMMANDS)
@pytest.mark.parametrize("run", RUN_IDS)
def test_calls_of_32_bit_code_are_counted_and_not_decoded(guest: Path, run: str, name: str, events: str) -> None:
    trace = f"compat-{name}-{events}"

    level = run.partition("-")[0]
    compat.check_compat(name, level, read_events(guest, trace, run), read_ledger(guest, trace, run)["compat"])


@pytest.mark.parametrize("level", [level for level, hook in RUNS if hook == "raw_tracepoint"])
def test_kernel_rolls_up_what_the_events_say(guest: Path, level: str) -> None:
    found = json.loads((guest / f"rolled-up-{level}.json").read_text())

    assert found["kernel"] == found["events"]
    assert len(found["events"]) > 10


@pytest.mark.parametrize("run", [run for run in RUN_IDS if not is_of_stack(run)])
def test_stacks_are_those_of_the_program(guest: Path, run: str) -> None:
    if import_bcc() is None:
        pytest.skip("functions are named by the distribution's bcc (apt install python3-bpfcc)")
    events = read_events(guest, "stacks", run)

    assert {event["event"] for event in events} >= {*STACKED.split(",")} - {"openat"}
    for event in events:
        names = [frame.partition("+")[0] for frame in event["stack"]["user"]]
        assert names[:4] == ["make_call", "inner", "outer", "main"], event
        # What the others hand to a program has no kernel's registers on some kernels.
        assert event["stack"]["kernel"] or "raw" not in run, event


@pytest.mark.parametrize("run", RUN_IDS)
def test_ledgers_add_up(guest: Path, run: str) -> None:
    for trace in TRACES:
        ledger = read_ledger(guest, trace.name, run)
        events = read_events(guest, trace.name, run)

        assert ledger["emitted"] == ledger["delivered"] == len(events) > 0
        assert [ledger[key] for key in ("lost", "dropped", "undecodable", "unaccounted", "missed")] == [0] * 5


def test_nothing_stays_in_the_kernel(guest: Path) -> None:
    before, after = (
        re.findall(r"^[0-9]+: (?!.*name sd_)", (guest / name).read_text(), re.MULTILINE)
        for name in ("programs-before", "programs")
    )

    assert after == before
    assert (guest / "links").read_text() == ""


def test_kprobes_of_a_killed_tracer_are_removed_and_those_of_others_stay(guest: Path) -> None:
    assert (guest / "kprobes").read_text() == "p:kprobes/libbpf_1_x_0x0_1 __x64_sys_getppid\n"


def test_many_blocked_calls_all_return_on_kprobes(guest: Path) -> None:
    ledger = json.loads((guest / "blocked.ledger").read_text())

    assert (ledger["emitted"], ledger["delivered"], ledger["missed"]) == (THREADS, THREADS, 0)


def test_returns_that_kprobes_miss_are_in_the_ledger(guest: Path) -> None:
    ledger = json.loads((guest / "missed.ledger").read_text())

    assert ledger["emitted"] < THREADS == ledger["emitted"] + ledger["missed"]
    assert ledger["by_event"]["read"]["missed"] == ledger["missed"]
