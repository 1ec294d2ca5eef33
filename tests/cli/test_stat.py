"""``traceleft stat`` over recordings, which needs no privileges, and on the live kernel."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.recordings import EPOCH, calls, write_recording
from traceleft.aggregator.rollups.rollup import Result
from traceleft.aggregator.rollups.words import make_stat_rollup
from traceleft.cli.commands.stat import Windows
from traceleft.cli.main import main

STAT = [sys.executable, "-m", "traceleft", "stat"]
SECOND = 1_000_000_000
COUNT = 4000


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return a recording of opens and closes in turn, a microsecond apart."""
    return write_recording(tmp_path / "a.rec", calls(COUNT // 2), calls(COUNT // 2, COUNT // 2))


def rows_of(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> list[dict[str, Any]]:
    """Run ``stat --format json`` in this process and return its rows."""
    assert main(["stat", "--format", "json", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_a_recording_is_added_up_by_event(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(capfd, "-i", recording)

    # Every seventh number fails with ENOENT, and the next with EPERM.
    failed = sum(number % 7 < 2 for number in range(0, COUNT, 2))
    figures = [(row["event"], row["count"], row["errors"]) for row in rows]
    assert figures == [("close", COUNT // 2, 0), ("openat", COUNT // 2, failed)]
    assert list(rows[0]) == [
        *("event", "count", "errors"),
        *(f"duration_ns_{each}" for each in ("sum", "avg", "min", "p50", "p90", "p99", "max")),
    ]


def test_the_ledger_is_the_recorded_one(recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["stat", "-i", str(recording), "--ledger", str(tmp_path / "ledger")]) == 0

    assert capfd.readouterr().err == (
        "traceleft: recorded on box: 9 emitted, 8 delivered, 1 lost, 0 dropped, 0 undecodable, 0 unaccounted\n"
    )
    assert json.loads((tmp_path / "ledger").read_text())["lost"] == 1
    assert main(["stat", "-i", str(recording), "--fail-on-loss"]) == 3


def test_recorded_without_stacks_all_have_none(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(capfd, "-i", recording, "--by", "stack")

    assert [(row["stack"], row["count"]) for row in rows] == [(None, COUNT)]


def test_a_recording_comes_from_stdin(recording: Path) -> None:
    with recording.open("rb") as file:
        done = subprocess.run([*STAT, "--format", "json", "-i", "-"], stdin=file, capture_output=True, timeout=120)

    assert [json.loads(line)["count"] for line in done.stdout.splitlines()] == [COUNT // 2] * 2


def test_keys_top_order_and_filters_apply(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(capfd, "-i", recording, "-e", "openat", "-Z", "--by", "error", "--by", "path", "--top", "1")

    assert [(row["error"], row["path"], row["count"], row.get("other")) for row in rows] == [
        ("ENOENT", "/etc/0", 1, None),
        (None, None, rows[1]["count"], True),
    ]
    assert rows[0]["count"] + rows[1]["count"] == sum(number % 7 < 2 for number in range(0, COUNT, 2))


def test_intervals_are_printed_as_they_end(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(capfd, "-i", recording, "--interval", "0.001", "-e", "close")

    assert [(row["window_start"] - EPOCH, row["window_end"] - EPOCH, row["count"]) for row in rows] == [
        (start * 1_000_000, (start + 1) * 1_000_000, 500) for start in range(COUNT // 1000)
    ]


def test_max_events_ends_it(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(capfd, "-i", recording, "--max-events", "11")

    assert sum(row["count"] for row in rows) == 11


def test_a_rollup_may_name_events_that_were_not_recorded(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.toml").write_text(
        '[rollup.r]\nevents = ["openat", "connect"]\nby = ["event"]\nmeasures = ["count"]\n'
    )

    assert rows_of(capfd, "-i", recording, "--rollup", tmp_path / "r.toml") == [
        {"event": "openat", "count": COUNT // 2}
    ]


def test_rows_before_damage_are_printed_first(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(recording.read_bytes())
    recording.write_bytes(data[: len(data) * 3 // 4])

    status = main(["stat", "--format", "json", "-i", str(recording)])

    out, err = capfd.readouterr()
    assert status == 1
    assert sum(json.loads(line)["count"] for line in out.splitlines()) == COUNT // 2
    assert err.startswith(f"traceleft: {recording}: ")
    assert err.count("\n") == 1


def test_rows_go_to_a_file_and_to_sinks(recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = ["-o", str(tmp_path / "out"), "--sink", f"ndjson:{tmp_path / 'sink'}"]

    assert rows_of(capfd, "-i", recording, *files) == []

    printed = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    sent = [json.loads(line) for line in (tmp_path / "sink").read_text().splitlines()]
    assert [row["event"] for row in printed] == ["close", "openat"]
    assert sent == [{"rollup": "stat", **row} for row in printed]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-f"], "-f cannot be used with -i: it applies only to a live trace"),
        (["--duration", "3"], "--duration cannot be used with -i: it applies only to a live trace"),
        (["--", "true"], "a command cannot be used with -i: it applies only to a live trace"),
        (["--rollup", "errors", "--by", "comm"], "--rollup says itself what --by would"),
        (["--interval", "0"], "'0' must be a number of seconds above 0"),
        (["--interval", "0.0001"], "'0.0001' is shorter than a millisecond"),
        (["--top", "0"], "0 is not in the range"),
        (["--sink", "parquet:/nowhere/x"], "--sink parquet:/nowhere/x: it takes no rows"),
        (["--by", "pathh"], "no column is named 'pathh'; nearest: path"),
        (["--by", "args.flaggs"], "no argument of its events is named 'flaggs'; nearest: flags"),
        (["--measure", "exact_p99"], "memory is bounded here"),
        (["--rollup", "nope"], "no rollup is named 'nope'"),
        (["-e", "opena"], "opena"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    arguments: list[str], message: str, recording: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["stat", "-i", str(recording), *arguments]) in (1, 2)

    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_recording_is_never_its_own_output(recording: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = recording.read_bytes()

    assert main(["stat", "-i", str(recording), "-o", str(recording)]) == 2

    assert "is the recording itself" in capfd.readouterr().err
    assert recording.read_bytes() == before


class FakeAggregator:
    """Closes what lies before the given time."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def advance(self, ts: int) -> None:
        self.told.append(ts)

    def closed(self) -> Result:
        return Result(make_stat_rollup(), ())


def test_windows_end_a_second_later_by_the_clock() -> None:
    aggregator, printed = FakeAggregator(), list[Result]()

    windows = Windows(aggregator, printed.append, clock=lambda: 5 * SECOND)  # type: ignore[arg-type]
    windows.tick()

    assert aggregator.told == [4 * SECOND]
    assert printed == []


class Live:
    """Runs ``traceleft stat`` with a battery, the account going to a file."""

    def __init__(self, battery: Path, directory: Path) -> None:
        self.ledger_file = directory / "ledger.json"
        self._begin = [*STAT, "--battery", str(battery), "--ledger", str(self.ledger_file)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            [*self._begin, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
        )

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """Run to the end and return the rows."""
        file = self.ledger_file.with_name("rows")
        done = self.run("--format", "json", "-o", str(file), *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in file.read_text().splitlines()]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start, and return when the first line has come."""
        process = subprocess.Popen(
            [*self._begin, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        return process


@pytest.fixture
def live(kernel_battery: Path, tmp_path: Path) -> Live:
    return Live(kernel_battery, tmp_path)


# Calls whose number and results are known: all that this Python makes of them.
KNOWN = "import os\nfor n in range(50): os.getppid(); os.access('/nonexistent', 0)\nos.access('/', 0)"


@pytest.mark.kernel
@pytest.mark.parametrize("engine", ["kernel", "user"])
def test_calls_of_a_command_are_counted_by_either_engine(live: Live, engine: str) -> None:
    rows = live.rows("--engine", engine, "-e", "getppid,access", "--by", "error", "--", sys.executable, "-c", KNOWN)

    known = {row["error"]: row for row in rows}
    assert (known["ENOENT"]["count"] >= 50, known["ENOENT"]["errors"]) == (True, known["ENOENT"]["count"])
    assert (known[None]["count"] >= 51, known[None]["errors"]) == (True, 0)
    for row in rows:
        assert 0 < row["duration_ns_min"] <= row["duration_ns_avg"] <= row["duration_ns_max"]
        assert row["duration_ns_p50"] <= row["duration_ns_p90"] <= row["duration_ns_p99"] <= row["duration_ns_max"]
        assert row["duration_ns_sum"] >= row["count"] * row["duration_ns_min"]


@pytest.mark.kernel
def test_both_engines_count_the_same_calls(live: Live) -> None:
    found = []
    for engine in ("kernel", "user"):
        rows = live.rows(
            "--engine", engine, "--by", "comm", "--by", "event", "-f", "--", "sh", "-c", "ls /; ls /; true"
        )
        found.append({(row["comm"], row["event"]): (row["count"], row["errors"]) for row in rows})

    # How often a shell looks for its children depends on when they end.
    for table in found:
        for call in ("wait4", "rt_sigreturn"):
            table.pop(("sh", call), None)
    assert found[0] == found[1]
    assert found[0]["ls", "exit_group"] == (2, 0)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ((), "in the kernel"),
        (("--by", "path"), "in user space: the kernel has no key path"),
        (("--interval", "1"), "in user space: it has windows"),
        (("--max-events", "1"), "in user space: --max-events counts events, and the kernel would send none"),
        (("--max-overhead", "50"), "in the kernel"),
        (("--rollup", "errors"), "in the kernel"),
        (("--rollup", "errors", "-z"), "in user space: it counts failed calls, and -z leaves them out"),
        (("--attach", "tracepoint", "-e", "getppid"), "in user space: the hook is tracepoint"),
        (("-e", "sched:sched_switch"), "in user space: sched:sched_switch is not a syscall"),
    ],
)
def test_verbose_tells_where_calls_are_added_up(live: Live, arguments: tuple[str, ...], where: str) -> None:
    done = live.run("-v", *arguments, "--", "true")

    assert done.returncode == 0, done.stderr
    assert f"traceleft: calls are added up {where}" in done.stderr


@pytest.mark.kernel
def test_what_the_kernel_cannot_do_is_refused_where_it_has_to(live: Live) -> None:
    done = live.run("--engine", "kernel", "--by", "path", "--", "true")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "traceleft: a rollup in the kernel: the kernel has no key path\n"


@pytest.mark.kernel
def test_the_status_is_the_command_s_and_the_table_comes_all_the_same(live: Live) -> None:
    done = live.run("-e", "exit_group", "--", "sh", "-c", "exit 7")

    assert done.returncode == 7
    assert done.stdout.splitlines()[2].split()[-2:] == ["1", "exit_group"]
    assert done.stderr.endswith("0 lost, 0 dropped, 0 undecodable, 0 unaccounted\n")


@pytest.mark.kernel
def test_a_rollup_s_events_are_what_is_traced(live: Live, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        '[rollup.opens]\nevents = ["openat"]\nby = ["event", "path"]\nmeasures = ["count"]\n'
    )

    rows = live.rows("--rollup", str(tmp_path / "r.toml"), "--", "cat", "/etc/hostname")

    assert {row["event"] for row in rows} == {"openat"}
    assert {"event": "openat", "path": "/etc/hostname", "count": 1} in rows
    assert set(json.loads(live.ledger_file.read_text())["by_event"]) == {"openat"}


@pytest.mark.kernel
def test_tracepoints_are_added_up_with_calls(live: Live) -> None:
    rows = live.rows("-e", "sched:sched_process_exec,getppid", "--", sys.executable, "-c", KNOWN)

    figures = {row["event"]: (row["count"], row["errors"], row["duration_ns_max"]) for row in rows}
    assert figures["sched:sched_process_exec"] == (1, 0, None)
    assert figures["getppid"][:2] == (50, 0)


@pytest.mark.kernel
def test_stacks_are_a_key(live: Live) -> None:
    rows = live.rows("-e", "getppid", "-k", "--measure", "bytes", "--", sys.executable, "-c", KNOWN)

    assert sum(row["count"] for row in rows) >= 50
    assert list(rows[0]) == ["event", "stack", "count", "errors", "bytes"]
    assert any("getppid" in (row["stack"] or "") for row in rows)


@pytest.mark.kernel
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_rows_so_far(live: Live, number: signal.Signals) -> None:
    script = "import os, time\nwhile True: os.getppid(); time.sleep(0.02)"
    arguments = ["-e", "getppid", "--interval", "0.2", "--format", "json", "--", sys.executable, "-c", script]

    with live.start(*arguments) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=120)

    assert process.returncode == 128 + number
    assert err.endswith("unaccounted\n")
    assert all(json.loads(line)["event"] == "getppid" for line in out.splitlines())


@pytest.mark.kernel
def test_intervals_come_while_nothing_happens(live: Live) -> None:
    script = "import os, time\nos.getppid(); time.sleep(60)"
    begun = time.time_ns()

    with live.start("-e", "getppid", "--interval", "0.1", "--", sys.executable, "-c", script) as process:
        told = time.time_ns()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)

    # The only call was made long before the command's end.
    assert told - begun < 50 * SECOND


@pytest.mark.kernel
def test_a_closed_pipe_ends_it_quietly(live: Live) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [*STAT, "-e", "getppid", "--interval", "0.1", "--", sys.executable, "-c", KNOWN]

    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120)

    os.close(write)
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("unaccounted\n")
