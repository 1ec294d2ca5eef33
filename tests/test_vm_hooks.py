"""The three hooks of every level on a kernel that has them all: the same program, the same events.

The kernel underneath may lack kprobes, so this runs inside Debian's 6.1 (`scripts/vm.sh`), with a battery that was
generated from the copy of that kernel's formats.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from traceleft.battery.builder import build
from traceleft.generator import generate

REPOSITORY = Path(__file__).parents[1]
FORMATS = REPOSITORY / "tests/data/formats/6.1.0-50-cloud-amd64.json.xz"
HOOKS = ("raw_tracepoint", "tracepoint", "kprobe")
LEVELS = {"5.8": HOOKS, "4.18": HOOKS, "4.11": HOOKS[1:]}
RUNS = [f"{level}-{hook}" for level, hooks in LEVELS.items() for hook in hooks]
DEAD = 4194305
EVENTS = (
    "execve,openat,open,read,newfstatat,close,rename,writev,readlinkat,socket,connect,getsockname,getpeername,socketpair,"
    "sendmsg,poll,recvfrom,newuname,nanosleep,clock_nanosleep,mmap,munmap,clone,wait4,exit_group"
)
COMMAND = """
cd /mnt
events=/sys/kernel/tracing/kprobe_events
echo 'p:kprobes/libbpf_{dead}_x_0x0_1 __x64_sys_getppid' >>$events
echo 'p:kprobes/libbpf_1_x_0x0_1 __x64_sys_getppid' >>$events
for run in {runs}; do
	{python} -m traceleft trace --battery /mnt/battery --level ${{run%-*}} --attach ${{run#*-}} -f --format json \
		-o /mnt/$run.json --ledger /mnt/$run.ledger -- /mnt/hooks || [ $? = 3 ] || exit 1
done
{python} -m traceleft trace --battery /mnt/battery --attach kprobe -e read -o /mnt/many.txt --ledger /mnt/many.ledger \
	-- /mnt/many
{python} /mnt/few.py >/mnt/few.ledger
bpftool prog list >/mnt/programs
cat $events >/mnt/kprobes
"""

THREADS = 300
MANY = """
#include <pthread.h>
#include <unistd.h>
static int ends[2];
static void *wait(void *unused) { char byte; return read(ends[0], &byte, 1) == 1 ? unused : 0; }
int main(void)
{
	pthread_t threads[300];
	if (pipe(ends)) return 1;
	for (int i = 0; i < 300; i++) pthread_create(&threads[i], 0, wait, 0);
	sleep(2);
	for (int i = 0; i < 300; i++) if (write(ends[1], "x", 1) != 1) return 1;
	for (int i = 0; i < 300; i++) pthread_join(threads[i], 0);
	return 0;
}
"""
# The same with return probes that follow no more calls than they would by themselves.
FEW = """
import json
from traceleft import Battery, Tracer
from traceleft.tracer import kprobes
kprobes.BLOCKING_MAX = 20
battery = Battery.open("/mnt/battery")
with Tracer(battery, level="4.11", hook="kprobe", events=["read"], command=["/mnt/many"]) as tracer:
    tracer.run()
print(json.dumps(tracer.ledger.to_json()))
"""

Sequences = dict[int, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trace the program inside the other kernel, once with each level and hook; the directory of what came out."""
    out = tmp_path_factory.mktemp("guest")
    generate(FORMATS, expressions=[EVENTS], output=out / "generated")
    build(out / "generated", out / "battery", levels=list(LEVELS))
    source = REPOSITORY / "tests/programs/hooks.c"
    subprocess.run(["gcc", "-static", "-O1", "-o", out / "hooks", source], check=True, timeout=120)
    (out / "few.py").write_text(FEW)
    many = ["gcc", "-static", "-O1", "-pthread", "-xc", "-", "-o", str(out / "many")]
    subprocess.run(many, input=MANY, text=True, check=True, timeout=120)
    command = COMMAND.format(runs=" ".join(RUNS), python=sys.executable, dead=DEAD)
    done = subprocess.run(
        [REPOSITORY / "scripts/vm.sh", "6.1", out, command], capture_output=True, text=True, timeout=900
    )
    log = (out / "log").read_text() if (out / "log").exists() else ""
    assert done.returncode == 0, f"{done.stderr}\n{log}"
    return out


def read_sequences(path: Path) -> Sequences:
    """Read each thread's calls, less what differs from run to run: addresses, pids, local ports, what stat says."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    threads = list(dict.fromkeys(event["tid"] for event in events))
    sequences: Sequences = {}
    for event in events:
        arguments = {name: "a file's" if name == "statbuf" else value for name, value in event["args"].items()}
        text = re.sub(r'"0x[0-9a-f]{6,}"', '"an address"', json.dumps(arguments))
        text = re.sub(r'"port": [0-9]{5}', '"port": "a local one"', text)
        result = event["ret"]
        if result in threads:
            result = f"thread {threads.index(result)}"
        elif result is not None and abs(result) > 1 << 32:
            result = "an address"
        sequences.setdefault(threads.index(event["tid"]), []).append((event["event"], text, result, event["error"]))
    return sequences


@pytest.mark.vm
@pytest.mark.parametrize("run", RUNS)
def test_hook_delivers_what_the_program_did(guest: Path, run: str) -> None:
    main, child = read_sequences(guest / f"{run}.json").values()

    names = [name for name, *_ in main]
    assert names[0] == "execve"
    assert names[-1] == "exit_group"
    assert ("close", '{"fd": 3}', 0, None) in main
    refused = [event for event in main if event[0] == "connect"]
    assert refused == [
        (
            "connect",
            '{"fd": 3, "uservaddr": {"family": "AF_INET", "addr": "127.0.0.1", "port": 9}, "addrlen": 16}',
            -111,
            "ECONNREFUSED",
        )
    ]
    assert [(name, error) for name, _, _, error in child if name == "execve"] == [
        ("execve", "ENOENT"),
        ("execve", None),
    ]
    assert '"argv": ["missing", "an argument"], "envp": ["NAME=value"]' in child[0][1]


@pytest.mark.vm
@pytest.mark.parametrize("run", RUNS[1:])
def test_hooks_give_the_same_events(guest: Path, run: str) -> None:
    assert read_sequences(guest / f"{run}.json") == read_sequences(guest / f"{RUNS[0]}.json")


@pytest.mark.vm
@pytest.mark.parametrize("run", RUNS)
def test_ledger_adds_up(guest: Path, run: str) -> None:
    ledger = json.loads((guest / f"{run}.ledger").read_text())
    lines = (guest / f"{run}.json").read_text().splitlines()

    assert ledger["emitted"] == ledger["delivered"] == len(lines) > 0
    assert [ledger[key] for key in ("lost", "dropped", "undecodable", "unaccounted", "missed")] == [0] * 5


@pytest.mark.vm
def test_nothing_stays_in_the_kernel(guest: Path) -> None:
    programs = [line for line in (guest / "programs").read_text().splitlines() if "raw_tracepoint" in line]

    assert programs == []


@pytest.mark.vm
def test_kprobes_of_a_killed_tracer_are_removed_and_those_of_others_stay(guest: Path) -> None:
    assert (guest / "kprobes").read_text() == "p:kprobes/libbpf_1_x_0x0_1 __x64_sys_getppid\n"


@pytest.mark.vm
def test_many_blocked_calls_all_return_on_kprobes(guest: Path) -> None:
    ledger = json.loads((guest / "many.ledger").read_text())

    assert (ledger["emitted"], ledger["delivered"], ledger["missed"]) == (THREADS, THREADS, 0)


@pytest.mark.vm
def test_returns_that_kprobes_miss_are_in_the_ledger(guest: Path) -> None:
    ledger = json.loads((guest / "few.ledger").read_text())

    # Calls of other processes, which the kernel does not tell apart, may be among them.
    assert ledger["emitted"] < THREADS <= ledger["emitted"] + ledger["missed"]
    assert ledger["by_event"]["read"]["missed"] == ledger["missed"]
