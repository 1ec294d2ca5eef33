"""Every level and hook that a kernel offers, on every kernel that is booted: all objects load, and the same program
gives the same events on all of them.

The kernel underneath may lack kprobes and is one only, so this runs inside others (`scripts/vm.sh`). The battery is
made of formats that each kernel showed itself. What a kernel lacks is known by its own bpftool features, and is a skip.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import CACHE, NotOffered
from tests.support import border, cold, compat, identity
from tests.support.compiled import compile_programs
from tests.support.levels import RUNS
from tests.support.vm import GUESTS_MAX, PYTHON, run_in
from tests.vm.guest_traces import FEW, STACKED, TRACES
from traceleft.battery import Battery
from traceleft.tracer.kernel.levels import LEVELS

pytestmark = pytest.mark.vm

RUN_IDS: Final = [f"{level}-{hook}" for level, hook in RUNS]
SUPPORT: Final = CACHE / "support"
DEAD: Final = 4194305
# Links, pins and programs that are no longer ours would be seen by the kernel's own lists. Each step writes a file of
# its own, so that one that fails does not hide the others.
COMMAND: Final = """
cd /mnt
events=/sys/kernel/tracing/kprobe_events
symbol=$(awk '$3 ~ /^(__x64_sys|SyS|sys)_getppid$/ {{print $3; exit}}' /proc/kallsyms)
bpftool prog list >/mnt/programs-before
bpftool -j feature probe kernel >/mnt/features
for place in /sys/bus/event_source/devices/kprobe $events /sys/kernel/tracing/events/syscalls; do
	[ ! -e $place ] || echo $place
done >/mnt/places
grep -s -F 'r[maxactive]' /sys/kernel/tracing/README >/mnt/maxactive
{python} -m tests.support.cgroups >/mnt/cgroup
if [ -e $events ]; then
	echo "p:kprobes/libbpf_{dead}_x_0x0_1 $symbol" >>$events
	echo "p:kprobes/libbpf_1_x_0x0_1 $symbol" >>$events
	tail -n 1 $events >/mnt/kprobes-of-others
fi
{python} -m tests.vm.guest_traces {battery} /mnt
{python} -m traceleft trace --battery {battery} --attach kprobe -e read -o /mnt/blocked.txt \\
	--ledger /mnt/blocked.ledger -- /mnt/live_blocked 2>/mnt/blocked.error
{python} -m traceleft trace --battery {battery} -e getpgid -o /mnt/crowd.txt --ledger /mnt/crowd.ledger \\
	-- /mnt/live_crowd {crowd} 2>/mnt/crowd.error
{python} /mnt/missed.py >/mnt/missed.ledger 2>/mnt/missed.error
{python} -m traceleft.tracer.qualify {battery} >/mnt/qualified || echo "qualify: $?"
sleep 1
bpftool prog list >/mnt/programs
bpftool link list >/mnt/links 2>/mnt/links.error || grep -q 'kernel too old' /mnt/links.error || exit 1
cat $events >/mnt/kprobes
true
"""

THREADS: Final = 300
# Enough for each of eight threads to be preempted many times on two CPUs.
CROWD_CALLS: Final = 20_000
CROWD_THREADS: Final = 8
# The same with return probes that follow no more calls than they would by themselves, at a level that has kprobes.
MISSED: Final = f"""
import json
from tests.support.levels import offered_runs
from traceleft import Battery, ProbeOptions, Tracer
from traceleft.tracer.kernel import kprobes
kprobes.BLOCKING_MAX = 20
level = next(level for level, hook in reversed(offered_runs()) if hook == "kprobe")
battery = Battery.open("{CACHE / "vm-battery"}")
probes = ProbeOptions(level=level, hook="kprobe")
with Tracer(battery, events=["read"], command=["/mnt/live_blocked"], probes=probes) as tracer:
    tracer.run()
print(json.dumps(tracer.ledger.to_json()))
"""
# What bpftool finds for itself of what a level needs, as its JSON names it: the section, the part, the entry.
NEEDED: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "5.8": (
        ("map_types", "", "have_ringbuf_map_type"),
        ("helpers", "kprobe_available_helpers", "bpf_probe_read_user_str"),
    ),
    "4.18": (
        ("program_types", "", "have_raw_tracepoint_prog_type"),
        ("helpers", "raw_tracepoint_available_helpers", "bpf_get_current_cgroup_id"),
    ),
    "4.11": (("helpers", "kprobe_available_helpers", "bpf_probe_read_str"),),
    "4.4": (),
}

Sequences = dict[int, list[tuple[Any, ...]]]
Guests = Callable[[str], Path]


@pytest.fixture(params=RUN_IDS)
def run(request: pytest.FixtureRequest) -> str:
    """One level and hook after another."""
    return str(request.param)


@pytest.fixture(scope="session")
def guests(vm_battery: Path, kernels: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    """Run all there is to run inside each kernel, once; what waits for one and gives the directory of what came out."""
    programs = compile_programs(tmp_path_factory.mktemp("programs"))
    command = COMMAND.format(python=PYTHON, battery=vm_battery, dead=DEAD, crowd=CROWD_CALLS)

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


@pytest.fixture
def offering(guest: Path, run: str) -> Path:
    """What came out of one kernel, which offers a level and hook."""
    require_run(guest, run)
    return guest


def require_run(guest: Path, run: str) -> None:
    """Skip a test of a level and hook that a kernel does not offer."""
    row = read_row(guest, run)
    if row["status"] == "absent":
        raise NotOffered(f"kernel {row['kernel']}, level {row['level']}, {row['hook']}: {row['why']}")


def read_row(guest: Path, run: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in (guest / "qualified").read_text().splitlines()]
    (row,) = (row for row in rows if f"{row['level']}-{row['hook']}" == run)
    return dict(row)


def read_events(guest: Path, trace: str, run: str) -> list[dict[str, Any]]:
    error = guest / f"{trace}-{run}.error"
    assert not error.exists(), error.read_text()
    return [json.loads(line) for line in (guest / f"{trace}-{run}.json").read_text().splitlines()]


def read_ledger(guest: Path, trace: str, run: str) -> Mapping[str, Any]:
    ledger: Mapping[str, Any] = json.loads((guest / f"{trace}-{run}.ledger").read_text())
    return ledger


def read_sequences(guest: Path, trace: str, run: str, *, of_stack: bool = False) -> Sequences:
    """Read each thread's calls, less what differs from run to run and from kernel to kernel for good reasons.

    ``of_stack``: and less what level 4.4 has no room for.
    """
    if skipped := read_ledger(guest, trace, run).get("skipped"):
        # On raw tracepoints from 7.0 on: the account tells it, and `auto` takes another hook there.
        raise NotOffered(f"the kernel skipped {skipped} runs of programs of {trace} at {run}")
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


def test_levels_and_hooks_are_offered_where_the_kernel_has_what_they_need(guest: Path, run: str) -> None:
    level, hook = run.split("-")
    features = json.loads((guest / "features").read_text())
    places = (guest / "places").read_text()
    attaches = {
        "raw_tracepoint": features["program_types"]["have_raw_tracepoint_prog_type"],
        "tracepoint": features["program_types"]["have_tracepoint_prog_type"] and "events/syscalls" in places,
        "kprobe": "devices/kprobe" in places or "kprobe_events" in places,
    }
    has_all = all(find_feature(features, *needed) for needed in NEEDED[level])

    assert (read_row(guest, run)["status"] != "absent") == (has_all and attaches[hook])


def test_every_object_loads_and_every_hook_attaches_and_delivers(
    offering: Path, run: str, kernel: str, vm_battery: Path
) -> None:
    row = read_row(offering, run)

    assert (row["status"], row["problems"]) == ("ok", [])
    assert row["loaded"] == row["built"] > 100
    assert row["delivered"] == row["made"] > 0
    if run.endswith("kprobe"):
        # Functions on which a kernel sets no kprobe: ftrace did not record them when it was compiled.
        assert len(row["left_out"]) <= 2, row["left_out"]
    else:
        assert row["left_out"] == find_unattachable(vm_battery, row["kernel"], run)


def find_unattachable(battery: Path, release: str, run: str) -> list[str]:
    """Return the events that raw tracepoints and tracepoints cannot serve.

    Raw tracepoints need the call's number, which a call newer than our table, or of that kernel alone, has not.
    Tracepoints need the kernel's own format, which borrowed calls have not.
    """
    events = Battery.open(battery).schema(release)["events"]
    assert isinstance(events, dict)
    is_raw = run.endswith("raw_tracepoint")
    return sorted(name for name, made in events.items() if (made["number"] is None if is_raw else made["borrowed"]))


def test_hook_delivers_what_the_program_did(offering: Path, run: str) -> None:
    main, child = read_sequences(offering, "many", run, of_stack=is_of_stack(run)).values()

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


def test_hooks_levels_and_kernels_give_the_same_events(
    guests: Guests, offering: Path, kernels: list[str], run: str
) -> None:
    of_stack = is_of_stack(run)
    newest = guests(kernels[-1])
    reference = next(each for each in reversed(RUN_IDS) if read_row(newest, each)["status"] != "absent")
    expected = read_sequences(newest, "many", reference, of_stack=of_stack)

    assert read_sequences(offering, "many", run, of_stack=of_stack) == expected


def test_few_events_are_those_among_many(offering: Path, run: str) -> None:
    # Threads are numbered as they are seen, and pids among results by them: both see the same.
    many = read_sequences(offering, "many", run)
    chosen = {thread: [call for call in calls if call[0] in FEW.split(",")] for thread, calls in many.items()}

    assert read_sequences(offering, "few", run) == chosen


@pytest.mark.parametrize("mode", cold.GUEST_MODES)
def test_exec_shows_what_was_passed_or_marks_it(offering: Path, run: str, mode: str) -> None:
    event = read_events(offering, f"cold-{mode}", run)[-1]
    level = run.partition("-")[0]

    # Without a later point at which to read, what lay in no page is marked.
    if level in ("4.4", "4.11") and event.get("unreadable", []) not in ([], ["envp"]):
        cold.check_marked(event, mode)
    else:
        cold.check_passed(event, mode, environment=level != "4.4")


def test_what_ends_at_the_border_of_a_page_is_whole(offering: Path, run: str) -> None:
    border.check_border(read_events(offering, "border", run), run.partition("-")[0])


def test_signals_and_ends_of_threads_are_told(offering: Path, run: str) -> None:
    events = read_events(offering, "told", run)
    ends = [str(event["args"]["status"]) for event in events if event["event"] == "process_exit"]
    signals = [event["args"]["signal"] for event in events if event["event"] == "signal"]
    level = run.partition("-")[0]
    # What kills at once is shown where BTF says which process a signal is for.
    fatal = [name for name in signals if name in ("SIGTERM", "SIGKILL")]
    killed = [
        f"{{'signaled': '{name}', 'core_dumped': False}}" for name in ("SIGSEGV", "SIGTERM", "SIGKILL", "SIGABRT")
    ]

    # The process may end before the thread that it has joined.
    assert sorted(ends) == sorted([*killed, *(f"{{'exited': {code}}}" for code in (0, 3, 4))])
    assert [name for name in signals if name not in fatal] == (
        [] if level == "4.4" else ["SIGUSR1", "SIGUSR1", "SIGSEGV", "SIGCHLD", "SIGABRT"]
    )
    ledger = read_ledger(offering, "told", run)
    # From 7.0 on the kernel may skip the program that keeps who sent a signal, and the account says so.
    is_whole = level == "5.8" and "skipped" not in ledger
    assert fatal == ["SIGTERM", "SIGKILL"] or (not is_whole and set(fatal) <= {"SIGTERM", "SIGKILL"})
    assert [ledger[name] for name in ("lost", "dropped", "undecodable", "unaccounted")] == [0] * 4


def test_records_say_who_calls(offering: Path, run: str) -> None:
    level = run.partition("-")[0]

    # All in the guest is in the root's group, which older levels cannot tell.
    root = int((offering / "cgroup").read_text())
    identity.check_identity(read_events(offering, "identity", run), {root if level in ("5.8", "4.18") else 0})


@pytest.mark.parametrize("events", ("few", "many"))
@pytest.mark.parametrize("name", compat.COMMANDS)
def test_calls_of_32_bit_code_are_counted_and_not_decoded(offering: Path, run: str, name: str, events: str) -> None:
    trace = f"compat-{name}-{events}"

    level = run.partition("-")[0]
    counted = read_ledger(offering, trace, run)["compat"]
    shared = 0 if has_wrappers(offering) else compat.SHARED_COUNTS[events]
    compat.check_compat(name, level, read_events(offering, trace, run), counted, shared=shared)


@pytest.mark.parametrize("level", [level for level, hook in RUNS if hook == "raw_tracepoint"])
def test_kernel_rolls_up_what_the_events_say(guest: Path, level: str) -> None:
    require_run(guest, f"{level}-raw_tracepoint")
    found = json.loads((guest / f"rolled-up-{level}.json").read_text())

    assert found["kernel"] == found["events"]
    assert len(found["events"]) > 10


@pytest.mark.parametrize("run", [run for run in RUN_IDS if not is_of_stack(run)], indirect=True)
def test_stacks_are_those_of_the_program(offering: Path, run: str) -> None:
    events = read_events(offering, "stacks", run)

    assert {event["event"] for event in events} >= {*STACKED.split(",")} - {"openat"}
    for event in events:
        names = [frame.partition("+")[0] for frame in event["stack"]["user"]]
        assert names[:4] == ["make_call", "inner", "outer", "main"], event
        # What the others hand to a program has no kernel's registers on some kernels.
        assert event["stack"]["kernel"] or "raw" not in run, event


def test_ledgers_add_up(offering: Path, run: str) -> None:
    for trace in TRACES:
        ledger = read_ledger(offering, trace.name, run)
        events = read_events(offering, trace.name, run)

        assert ledger["emitted"] == ledger["delivered"] == len(events) > 0
        assert [ledger[key] for key in ("lost", "dropped", "undecodable", "unaccounted", "missed")] == [0] * 5


def test_nothing_stays_in_the_kernel(guest: Path) -> None:
    before, after = (
        re.findall(r"^[0-9]+: (?!.*name sd_)", (guest / name).read_text(), re.MULTILINE)
        for name in ("programs-before", "programs")
    )

    assert after == before
    # Links have numbers since 5.8; before, and here too, no process is left that holds one.
    assert (guest / "links").read_text() == ""


def test_kprobes_of_a_killed_tracer_are_removed_and_those_of_others_stay(guest: Path) -> None:
    require_kprobes(guest)

    assert (guest / "kprobes").read_text() == (guest / "kprobes-of-others").read_text() != ""


def test_many_blocked_calls_all_return_on_kprobes(guest: Path) -> None:
    require_kprobes(guest)
    ledger = read_account(guest, "blocked")

    assert ledger["emitted"] == ledger["delivered"]
    assert ledger["emitted"] + ledger["missed"] == THREADS
    # Before 4.12 nothing tells a return probe to follow more calls than it would by itself.
    assert ledger["missed"] == 0 or (guest / "maxactive").read_text() == ""


def test_no_call_is_skipped_where_threads_are_preempted(guest: Path) -> None:
    ledger = read_account(guest, "crowd")

    assert ledger["emitted"] == CROWD_CALLS * CROWD_THREADS
    assert ledger["emitted"] == ledger["delivered"] + ledger["lost"]
    assert (ledger["missed"], ledger.get("skipped", 0)) == (0, 0)


def test_returns_that_kprobes_miss_are_in_the_ledger(guest: Path) -> None:
    require_kprobes(guest)
    ledger = read_account(guest, "missed")

    known = ledger["emitted"] + ledger["missed"]
    # From 7.0 on the kernel may skip a program on a busy CPU; the ledger says how often at most.
    assert ledger["emitted"] < THREADS
    assert known <= THREADS <= known + ledger.get("skipped", 0)
    assert ledger["by_event"]["read"]["missed"] == ledger["missed"]


def has_wrappers(guest: Path) -> bool:
    """Whether a kernel's syscalls have functions of their own for each table (from 4.17 on)."""
    return "__x64_sys_" in (guest / "kprobes-of-others").read_text()


def require_kprobes(guest: Path) -> None:
    """Skip a test of kprobes where a kernel has none at any level."""
    require_run(guest, "4.4-kprobe")


def read_account(guest: Path, name: str) -> Mapping[str, Any]:
    text = (guest / f"{name}.ledger").read_text() if (guest / f"{name}.ledger").exists() else ""
    assert text, (guest / f"{name}.error").read_text()
    ledger: Mapping[str, Any] = json.loads(text)
    return ledger


def find_feature(features: Mapping[str, Any], section: str, part: str, name: str) -> bool:
    """Tell whether bpftool found a map type, a program type or a helper."""
    found = features[section]
    return name in found[part] if part else bool(found[name])
