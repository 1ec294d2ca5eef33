"""``--sink`` and ``--rules`` on the live kernel and over recordings."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from traceleft import Battery, Tracer
from traceleft.aggregator.sinks.urls import open_sinks

pytestmark = pytest.mark.kernel

COMMAND = [sys.executable, "-m", "traceleft"]
RULES = """\
[rule.shadow]
events = ["openat"]
where = 'error is not None and path.startswith("/nonexistent/")'
by = ["path"]
count = ">20"
window = "1h"
slide = "1h"
severity = "critical"
message = "{count} failed opens of {path}"
cooldown = "1h"
"""
# Two files are opened 21 times, one 20 times, and one that is there 30 times.
FAILING = """\
import os
def open_often(path, times):
    for _ in range(times):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            pass
open_often("/nonexistent/a", 21)
open_often("/nonexistent/b", 20)
open_often("/dev/null", 30)
open_often("/nonexistent/c", 21)
"""


class Runner:
    """Runs traceleft with a battery in a directory."""

    def __init__(self, battery: Path, directory: Path) -> None:
        self.directory = directory
        self._battery = battery
        (directory / "rules.toml").write_text(RULES)

    def trace(self, *arguments: str, command: str = "trace") -> subprocess.CompletedProcess[str]:
        """Trace to the end."""
        return self.run(command, "--battery", str(self._battery), *arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            cwd=self.directory,
        )

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return a file's lines."""
        return [json.loads(line) for line in (self.directory / name).read_text().splitlines()]


@pytest.fixture
def traceleft(kernel_battery: Path, tmp_path: Path) -> Runner:
    return Runner(kernel_battery, tmp_path)


def test_events_go_to_a_sink_instead_of_stdout(traceleft: Runner) -> None:
    done = traceleft.trace("--sink", "ndjson:x", "--ledger", "ledger", "--", "cat", "/etc/hostname")

    assert done.returncode == 0, done.stderr
    assert done.stdout == Path("/etc/hostname").read_text()
    events = traceleft.lines("x")
    (ledger,) = traceleft.lines("ledger")
    assert events[0]["event"] == "execve"
    assert len(events) == ledger["delivered"] == ledger["emitted"]
    assert "sinks" not in ledger


@pytest.mark.parametrize("form", ["text", "json"])
def test_events_are_printed_too_where_a_form_is_asked_for(traceleft: Runner, form: str) -> None:
    done = traceleft.trace("--sink", "ndjson:x", "--format", form, "-o", "out", "-e", "openat", "--", "true")

    printed = (traceleft.directory / "out").read_text().splitlines()
    events = traceleft.lines("x")
    assert done.returncode == 0, done.stderr
    assert len(printed) == len(events) > 0
    if form == "json":
        assert [json.loads(line) for line in printed] == events


def test_events_are_printed_where_no_sink_takes_them(traceleft: Runner) -> None:
    done = traceleft.trace("--sink", "ndjson:x?take=alerts", "-e", "openat", "--", "true")

    assert "openat(" in done.stdout
    assert traceleft.lines("x") == []


def test_loop_of_failed_opens_gives_exactly_the_alerts_expected(traceleft: Runner) -> None:
    done = traceleft.trace(
        *("-e", "openat", "--rules", "rules.toml", "--sink", "ndjson:alerts?take=alerts", "-o", "events"),
        *("--", sys.executable, "-S", "-c", FAILING),
    )

    assert done.returncode == 0, done.stderr
    alerts = traceleft.lines("alerts")
    assert [(alert["alert"], alert["keys"], alert["values"], alert["severity"]) for alert in alerts] == [
        ("shadow", {"path": f"/nonexistent/{name}"}, {"count": 21}, "critical") for name in "ac"
    ]
    assert alerts[0]["message"] == "21 failed opens of /nonexistent/a"
    assert alerts[0]["host"] == os.uname().nodename
    assert "critical" not in done.stderr


def test_alerts_are_lines_on_stderr_without_a_sink_for_them(traceleft: Runner) -> None:
    done = traceleft.trace(
        "-e", "openat", "--rules", "rules.toml", "-o", "events", "--", sys.executable, "-S", "-c", FAILING
    )

    told = [line for line in done.stderr.splitlines() if "shadow" in line]
    assert told == [f"traceleft: critical: shadow: 21 failed opens of /nonexistent/{name}" for name in "ac"]


def test_recording_gives_the_alerts_that_the_trace_gave(traceleft: Runner) -> None:
    rules = ("--rules", "rules.toml")
    done = traceleft.trace(
        *("-o", "r.rec", "-e", "openat", *rules, "--sink", "ndjson:live?take=alerts"),
        *("--", sys.executable, "-S", "-c", FAILING),
        command="record",
    )
    again = traceleft.run("replay", "r.rec", *rules, "--sink", "ndjson:replayed?take=alerts", "-o", "events")

    assert done.returncode == again.returncode == 0, done.stderr + again.stderr
    assert len(traceleft.lines("live")) == 2
    assert traceleft.lines("replayed") == traceleft.lines("live")


def test_recording_gives_sinks_all_of_its_events(traceleft: Runner) -> None:
    traceleft.trace("-o", "r.rec", "--", "true", command="record")

    done = traceleft.run("replay", "r.rec", "--sink", "ndjson:x?queue=1KiB", "--sink", "parquet:data")
    shown = traceleft.run("replay", "r.rec", "--format", "json")

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert (traceleft.directory / "x").read_text() == shown.stdout
    assert len([*(traceleft.directory / "data").rglob("*.parquet")]) == 1


def test_replay_into_the_recording_itself_is_refused(traceleft: Runner) -> None:
    traceleft.trace("-o", "r.rec", "--", "true", command="record")
    before = (traceleft.directory / "r.rec").read_bytes()

    done = traceleft.run("replay", "r.rec", "--sink", "ndjson:r.rec")

    assert done.returncode == 2
    assert "is the recording itself" in done.stderr
    assert (traceleft.directory / "r.rec").read_bytes() == before


def test_what_a_sink_dropped_is_told_and_loss(traceleft: Runner) -> None:
    done = traceleft.trace("--sink", "ndjson:/dev/full", "--fail-on-loss", "--ledger", "ledger", "--", "true")

    (ledger,) = traceleft.lines("ledger")
    account = ledger["sinks"]["ndjson:/dev/full"]
    assert done.returncode == 3
    assert account["dropped"] == account["accepted"] == ledger["delivered"]
    assert "records dropped: no space left on device" in done.stderr
    assert ledger["dropped"] == 0


def test_port_in_use_is_told_before_anything_runs(traceleft: Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = traceleft.trace("--sink", f"prometheus:{port}", "--", "touch", "ran")

    assert done.returncode == 1
    assert (
        done.stderr
        == f"traceleft: prometheus:127.0.0.1:{port}: address already in use; choose another port or address\n"
    )
    assert not (traceleft.directory / "ran").exists()


@pytest.mark.parametrize(
    ("rules", "status", "message"),
    [
        ("[rule.x]\n", 1, "rules.toml:1: rule x: says nothing of events"),
        ('[rule.x]\nevents = ["opennat"]\n', 1, "rules.toml:2: rule x: "),
        ('[rule.x]\nevents = ["connect"]\n', 1, "rules.toml:2: rule x: none of its events is there; choose them with"),
        ("rule", 1, "rules.toml:1: is not TOML"),
    ],
)
def test_mistake_in_a_rule_is_one_line(traceleft: Runner, rules: str, status: int, message: str) -> None:
    (traceleft.directory / "rules.toml").write_text(rules)

    done = traceleft.trace("-e", "openat", "--rules", "rules.toml", "--", "touch", "ran")

    assert done.returncode == status
    assert done.stderr.startswith(f"traceleft: {message}")
    assert done.stderr.count("\n") == 1
    assert not (traceleft.directory / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-c", "--sink", "ndjson:x"), "-c prints no events for --sink"),
        (("-c", "--rules", "rules.toml"), "-c prints no events for --rules"),
        (("--sink", "nonsense"), "begin with one of ndjson:"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(traceleft: Runner, arguments: tuple[str, ...], message: str) -> None:
    done = traceleft.trace(*arguments, "--", "true")

    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


SCRAPE = """\
import sys, time, urllib.request
while True:
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics") as answer:
        text = answer.read().decode()
    if "traceleft_events_delivered_total 0.0" not in text and "traceleft_events_delivered_total" in text:
        break
    time.sleep(0.05)
print(text)
"""


def test_account_is_shown_while_the_trace_runs(traceleft: Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

    done = traceleft.trace("--sink", f"prometheus:{port}", "-o", "events", "--", sys.executable, "-c", SCRAPE, port)

    assert done.returncode == 0, done.stderr
    samples = {
        sample.name: sample.value for family in text_string_to_metric_families(done.stdout) for sample in family.samples
    }
    assert samples["traceleft_events_emitted_total"] >= samples["traceleft_events_delivered_total"] > 0
    assert samples["traceleft_events_lost_total"] == 0
    assert (traceleft.directory / "events").stat().st_size > 0


def test_sink_that_is_never_read_costs_the_trace_nothing(traceleft: Runner) -> None:
    os.mkfifo(traceleft.directory / "fifo")
    reader = os.open(traceleft.directory / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        done = traceleft.trace(
            *("--sink", "ndjson:fifo?queue=64KiB", "-e", "read", "--ledger", "ledger", "--buffer-pages", "16384"),
            *("--", "dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=20000"),
        )
    finally:
        os.close(reader)

    (ledger,) = traceleft.lines("ledger")
    account = ledger["sinks"]["ndjson:fifo?queue=64KiB"]
    assert done.returncode == 0
    assert ledger["delivered"] == ledger["emitted"] >= 20_000
    assert account["accepted"] == ledger["delivered"] == account["written"] + account["dropped"]
    assert account["dropped"] > 0


def test_null_device_leaves_alerts_alone(traceleft: Runner) -> None:
    done = traceleft.trace(
        *("-e", "openat", "--rules", "rules.toml", "-o", "/dev/null", "--ledger", "ledger"),
        *("--", sys.executable, "-S", "-c", FAILING),
    )

    (ledger,) = traceleft.lines("ledger")
    assert done.stderr.count("shadow") == 2
    assert ledger["delivered"] == ledger["emitted"] > 60


def test_tracer_writes_into_sinks_from_python(kernel_battery: Path, tmp_path: Path) -> None:
    tracer = Tracer(Battery.open(kernel_battery), events=["getppid"], command=["sh", "-c", "exec true"], follow=True)
    with open_sinks([f"ndjson:{tmp_path}/x"]) as sinks, tracer:
        tracer.write_json(sinks)
        sinks.start()
        tracer.run()

    (account,) = sinks.account().values()
    assert account["written"] == tracer.ledger.total.delivered == (tmp_path / "x").read_bytes().count(b"\n")
    assert tracer.ledger.total.delivered > 0
