"""``traceleft trace`` on the live kernel: statuses, outputs, filters, ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipes import await_full

pytestmark = pytest.mark.kernel

COMMAND = [sys.executable, "-m", "traceleft"]
HEAD = ("emitted", "delivered", "lost", "dropped", "undecodable", "unaccounted", "compat", "missed")


@pytest.fixture
def traceleft(kernel_battery: Path, tmp_path: Path) -> "Runner":
    return Runner(kernel_battery, tmp_path)


class Runner:
    """Runs ``traceleft trace`` with a battery, the account going to a file."""

    def __init__(self, battery: Path, directory: Path) -> None:
        self.directory = directory
        self.ledger_file = directory / "ledger.json"
        self._begin = [*COMMAND, "trace", "--battery", str(battery), "--ledger", str(self.ledger_file)]

    def trace(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return subprocess.run(
            [*self._begin, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, **how
        )

    def events(self, *arguments: str) -> list[dict[str, Any]]:
        """Run to the end and return the events of the JSON output."""
        done = self.trace("--format", "json", "-o", str(self.directory / "events"), *arguments)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in (self.directory / "events").read_text().splitlines()]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start, and return when the first line has come."""
        process = subprocess.Popen(
            [*self._begin, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    def ledger(self) -> dict[str, Any]:
        """Return the account."""
        document: dict[str, Any] = json.loads(self.ledger_file.read_text())
        return document


def test_json_line_has_the_documented_keys_in_order(traceleft: Runner) -> None:
    events = traceleft.events("-e", "openat", "--", "cat", "/etc/hostname")
    opened = next(event for event in events if event["args"]["filename"] == "/etc/hostname")

    keys = "ts event pid tid comm uid gid cpu seq cgroup_id args ret error duration_ns"
    assert list(opened) == keys.split()
    assert opened["event"] == "openat"
    assert opened["comm"] == "cat"
    assert opened["args"] == {"dfd": "AT_FDCWD", "filename": "/etc/hostname", "flags": "O_RDONLY", "mode": 0}
    assert opened["ret"] >= 0
    assert opened["error"] is None
    assert opened["duration_ns"] is None
    assert abs(opened["ts"] - time.time_ns()) < 60e9


def test_first_event_is_the_execve_that_starts_the_command(traceleft: Runner) -> None:
    events = traceleft.events("--", "cat", "/etc/hostname")

    assert events[0]["event"] == "execve"
    assert events[0]["args"]["argv"] == ["cat", "/etc/hostname"]
    assert [event["event"] for event in events].count("execve") == 1
    assert [event["event"] for event in events[-2:]] == ["exit_group", "process_exit"]
    assert events[-1]["ret"] is None


def test_text_line_is_strace_s_with_argument_names(traceleft: Runner) -> None:
    done = traceleft.trace("-e", "openat", "--", "cat", "/etc/hostname")

    line = next(line for line in done.stdout.splitlines() if "/etc/hostname" in line)
    call = 'openat(dfd: AT_FDCWD, filename: "/etc/hostname", flags: O_RDONLY, mode: 0) = 3'
    assert line.endswith(call)
    clock, task = line.removesuffix(f" {call}").split(" ")
    assert len(clock) == len("12:01:02.123456")
    assert task.startswith("cat[")


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_status_is_the_command_s(traceleft: Runner, script: str, status: int) -> None:
    assert traceleft.trace("-e", "openat", "--", "sh", "-c", script).returncode == status


def test_account_adds_up_and_counts_what_was_printed(traceleft: Runner) -> None:
    events = traceleft.events("-f", "--", "sh", "-c", "cat /etc/hostname; cat /etc/hostname")

    ledger = traceleft.ledger()

    assert [key for key in ledger if key not in ("by_event", "by_cpu")] == list(HEAD)
    assert ledger["emitted"] == ledger["delivered"] == len(events)
    assert ledger["lost"] == ledger["dropped"] == ledger["undecodable"] == ledger["unaccounted"] == 0
    assert sum(each["delivered"] for each in ledger["by_event"].values()) == len(events)
    assert sum(each["delivered"] for each in ledger["by_cpu"].values()) == len(events)


def test_account_ends_stderr_as_one_line(traceleft: Runner) -> None:
    done = traceleft.trace("-e", "openat", "--", "true")

    assert done.stderr.startswith("traceleft: ")
    assert done.stderr.count("\n") == 1
    assert "0 lost" in done.stderr
    assert "0 unaccounted" in done.stderr


def test_children_are_followed_only_when_asked(traceleft: Runner) -> None:
    script = ("--", "sh", "-c", "cat /etc/hostname; true")

    alone = {event["comm"] for event in traceleft.events("-e", "openat", *script)}
    followed = {event["comm"] for event in traceleft.events("-f", "-e", "openat", *script)}

    assert alone == {"sh"}
    assert followed == {"sh", "cat"}


def test_a_hundred_children_are_all_followed(traceleft: Runner) -> None:
    script = "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done"

    events = traceleft.events("-f", "-e", "execve", "--", "sh", "-c", script)

    assert sum(event["args"]["filename"] == "/bin/true" and event["ret"] == 0 for event in events) == 100


def test_output_file_holds_events_only(traceleft: Runner, tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("what was there before\n" * 1000)

    done = traceleft.trace("-e", "openat", "-o", str(file), "--", "echo", "said")

    assert done.stdout == "said\n"
    assert all(" openat(" in line for line in file.read_text().splitlines())


def test_output_file_exists_without_events(traceleft: Runner, tmp_path: Path) -> None:
    traceleft.trace("-e", "reboot", "-o", str(tmp_path / "out"), "--", "true")

    assert (tmp_path / "out").read_bytes() == b""


def test_counting_prints_strace_s_columns_and_no_event(traceleft: Runner) -> None:
    done = traceleft.trace("-c", "-e", "openat,close", "--", "cat", "/etc/hostname")

    lines = done.stdout.splitlines()
    assert "% time     seconds  usecs/call     calls    errors syscall" in lines
    assert {line.split()[-1] for line in lines if line.endswith((" openat", " close"))} == {"openat", "close"}
    assert " openat(" not in done.stdout


def test_counting_too_prints_events_first(traceleft: Runner) -> None:
    done = traceleft.trace("-C", "-e", "openat", "--", "cat", "/etc/hostname")

    assert 0 < done.stdout.index(" openat(") < done.stdout.index("% time")


def test_failed_and_successful_calls_are_told_apart(traceleft: Runner) -> None:
    program = ("--", "sh", "-c", "cat /nosuch; cat /etc/hostname")

    failed = traceleft.trace("-Z", "-f", "-e", "openat", "-o", "/dev/stdout", *program).stdout
    succeeded = traceleft.trace("-z", "-f", "-e", "openat", *program).stdout
    by_errno = traceleft.trace("--errno", "ENOENT", "-f", "-e", "openat", *program).stdout

    assert "/nosuch" in failed
    assert '"/etc/hostname"' not in failed
    assert "/nosuch" not in succeeded
    assert '"/etc/hostname"' in succeeded
    assert "ENOENT" in by_errno
    assert "= 3" not in by_errno


def test_running_process_is_traced_by_pid(traceleft: Runner) -> None:
    with subprocess.Popen(["sh", "-c", "while :; do cat /etc/hostname >/dev/null; done"]) as shell:
        try:
            events = traceleft.events("-p", str(shell.pid), "--max-events", "20")
        finally:
            shell.kill()

    assert len(events) == 20
    assert {event["pid"] for event in events} == {shell.pid}


def test_trace_ends_with_the_process_that_it_follows(traceleft: Runner) -> None:
    with subprocess.Popen(["sleep", "1"]) as sleeper:
        done = traceleft.trace("-p", str(sleeper.pid), "-e", "exit_group")

    assert done.returncode == 0
    assert "exit_group" in done.stdout


def test_duration_ends_a_trace_of_everything(traceleft: Runner) -> None:
    begun = time.monotonic()

    done = traceleft.trace("-e", "close", "--duration", "0.5", "-o", "/dev/null")

    assert done.returncode == 0
    assert 0.5 <= time.monotonic() - begun < 120


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_trace_and_the_account_is_written(traceleft: Runner, number: int, status: int) -> None:
    process = traceleft.start("-f", "-e", "execve,clock_nanosleep", "--", "sh", "-c", "while :; do sleep 0.05; done")

    process.send_signal(number)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == status
    assert "unaccounted" in errors
    assert "Traceback" not in errors
    assert traceleft.ledger()["unaccounted"] == 0


@pytest.mark.parametrize("form", ("text", "json"))
def test_signal_ends_a_trace_whose_events_nobody_reads(traceleft: Runner, form: str) -> None:
    loop = "import os\nwhile True: os.getppid()"
    process = traceleft.start("--format", form, "-e", "getppid", "--", sys.executable, "-c", loop)
    assert process.stdout is not None
    await_full(process.stdout)

    process.send_signal(signal.SIGTERM)
    status = process.wait(timeout=120)
    assert process.stderr is not None
    errors = process.stderr.read()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    ledger = traceleft.ledger()

    assert (status, "Traceback" in errors) == (143, False)
    assert ledger["unaccounted"] == 0
    assert ledger["emitted"] > ledger["delivered"] > 0
    assert f"{ledger['emitted']:,} emitted" in errors


def test_second_signal_leaves_the_account_whole_and_nothing_behind(traceleft: Runner, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    stubborn = f"trap '' INT TERM; echo $$ >{file}; while :; do sleep 0.05; done"
    process = traceleft.start("-f", "-e", "execve,clock_nanosleep", "--", "sh", "-c", stubborn)

    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.1)
    status = process.wait(timeout=120)
    # It holds our pipes.
    os.kill(int(file.read_text()), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)

    assert status in (130, 143)
    assert "Traceback" not in errors
    assert traceleft.ledger()["unaccounted"] == 0


def test_closed_pipe_ends_the_trace_and_the_account_is_written(traceleft: Runner) -> None:
    process = traceleft.start("-f", "--", "sh", "-c", "for i in $(seq 50); do cat /etc/hostname; done >/dev/null")

    assert process.stdout is not None
    process.stdout.close()
    process.wait(timeout=120)
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()

    assert process.returncode == 0
    assert "Traceback" not in errors
    assert traceleft.ledger()["unaccounted"] == 0


def test_full_disk_is_one_line_and_an_account(traceleft: Runner) -> None:
    done = traceleft.trace("-o", "/dev/full", "--", "true")

    assert done.returncode == 1
    assert "/dev/full: No space left on device" in done.stderr
    assert traceleft.ledger()["delivered"] == 0


# Logs the signals that it gets, goes on for a while, and ends with 7.
LASTING = "trap 'echo got >>log' TERM INT HUP CONT; for i in $(seq 60); do sleep 0.05; done; echo end >>log; exit 7"
WAITS = "waiting for the command (Ctrl-C ends the waiting)"


@pytest.mark.parametrize(
    ("options", "status"),
    [(("--max-events", "1"), 7), (("--duration", "0.5"), 7), (("-o", "/dev/full"), 1)],
    ids=["enough events", "time is over", "full disk"],
)
def test_command_goes_on_when_the_trace_ends_first(
    traceleft: Runner, tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    done = traceleft.trace("-e", "execve,clone,vfork,wait4", *options, "--", "sh", "-c", f"cd {tmp_path}; {LASTING}")

    assert (done.returncode, (tmp_path / "log").read_text()) == (status, "end\n"), done.stderr
    assert done.stderr.count(WAITS) == 1
    if status == 1:
        assert "before its command: No space left on device" in done.stderr


def test_command_goes_on_when_nobody_reads_the_events(traceleft: Runner, tmp_path: Path) -> None:
    process = traceleft.start("-e", "execve,wait4", "--", "sh", "-c", f"cd {tmp_path}; {LASTING}")

    assert process.stdout is not None
    process.stdout.close()
    status = process.wait(timeout=120)
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()

    assert (status, (tmp_path / "log").read_text()) == (7, "end\n"), errors
    assert WAITS in errors


def test_command_is_ended_with_the_trace_where_asked_for(traceleft: Runner, tmp_path: Path) -> None:
    command = ("sh", "-c", "exec sleep 60")

    done = traceleft.trace("--kill", "-e", "execve", "--duration", "0.5", "-o", "/dev/null", "--", *command)

    assert (done.returncode, WAITS in done.stderr) == (0, False)


@pytest.mark.parametrize("is_asked", [True, False], ids=["--kill", "signal"])
def test_command_that_ignores_sigterm_is_reported(traceleft: Runner, tmp_path: Path, is_asked: bool) -> None:
    deaf = "trap '' TERM; echo $$ >pid; exec sleep 600 >/dev/null 2>&1 <&-"
    options = ("--kill", "--duration", "0.5", "-o", "/dev/null") if is_asked else ()
    command = (*options, "-e", "execve", "--", "sh", "-c", f"cd {tmp_path}; {deaf}")
    if is_asked:
        errors = traceleft.trace(*command).stderr
    else:
        process = traceleft.start(*command)
        process.terminate()
        _, errors = process.communicate(timeout=120)
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGKILL)

    line = f"traceleft: the command was sent SIGTERM and still runs as process {pid}; kill -KILL {pid} ends it"
    assert errors.splitlines()[-1] == line
    assert traceleft.ledger()["unaccounted"] == 0


def test_small_buffer_loses_and_says_so(traceleft: Runner) -> None:
    program = "import os\nfor i in range(300000): os.getppid()"

    done = traceleft.trace(
        "-e", "getppid", "--buffer-pages", "1", "--fail-on-loss", "-o", "/dev/null", "--", sys.executable, "-c", program
    )
    ledger = traceleft.ledger()

    assert ledger["emitted"] == 300_000
    assert ledger["delivered"] + ledger["lost"] + ledger["dropped"] == 300_000
    assert ledger["unaccounted"] == 0
    assert done.returncode == (3 if ledger["delivered"] < 300_000 else 0)


def test_tracepoint_is_an_event_like_others(traceleft: Runner) -> None:
    events = traceleft.events("-f", "-e", "sched:sched_process_exec", "--", "sh", "-c", "/bin/true; exit 0")
    child = events[-1]

    assert child["event"] == "sched:sched_process_exec"
    assert child["args"]["filename"] == "/bin/true"
    assert child["args"]["pid"] == child["pid"]
    assert child["ret"] is None


def test_tracepoint_is_a_line_of_text(traceleft: Runner) -> None:
    done = traceleft.trace("-e", "sched:sched_process_exec", "--", "true")

    assert "sched:sched_process_exec(filename: " in done.stdout


def test_command_keeps_stdin_and_environment(traceleft: Runner) -> None:
    done = subprocess.run(
        [*traceleft._begin, "-e", "reboot", "--", "sh", "-c", "cat; echo $MARK"],
        input="from stdin\n",
        capture_output=True,
        text=True,
        env={**os.environ, "MARK": "from environment"},
        timeout=120,
    )

    assert done.stdout == "from stdin\nfrom environment\n"


def test_json_adds_raw_arguments_when_asked(traceleft: Runner) -> None:
    events = traceleft.events("--raw", "-e", "close", "--", "true")

    assert events
    assert all(len(event["raw"]) == 6 for event in events)
    assert all(event["raw"][0] == event["args"]["fd"] for event in events)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["-e", "opnat", "--", "true"], 2, "nearest: openat"),
        (["-p", "999999999"], 1, "no such process"),
        (["--", "nosuchcommand"], 1, "nosuchcommand: not found"),
        (["--", "/etc/hostname-not-there"], 1, "No such file"),
        (["-o", "/nosuch/file", "--", "true"], 1, "/nosuch/file"),
        (["-o", "/", "--", "true"], 1, "Is a directory"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    traceleft: Runner, arguments: list[str], status: int, words: str
) -> None:
    done = traceleft.trace(*arguments)

    assert done.returncode == status
    assert words.lower() in done.stderr.lower()
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_without_privileges_the_remedy_is_named(traceleft: Runner) -> None:
    done = traceleft.trace("--", "true", user=65534, group=65534, extra_groups=[])

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "root" in done.stderr or "Permission denied" in done.stderr


@pytest.mark.parametrize("variable", ["--battery", "environment"])
def test_named_battery_that_is_missing_is_refused_and_none_is_built(tmp_path: Path, variable: str) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    option = ["--battery", "/nosuch"] if variable == "--battery" else []
    if not option:
        environment["TRACELEFT_BATTERY"] = "/nosuch"

    done = subprocess.run(
        [*COMMAND, "trace", *option, "--", "true"], env=environment, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 1
    assert done.stderr.startswith("traceleft: /nosuch: no such battery")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("closed", [1, 2])
def test_closed_stream_is_not_replaced_by_a_file_of_ours(traceleft: Runner, tmp_path: Path, closed: int) -> None:
    file = tmp_path / "out"
    line = f'exec "$@" {closed}>&-'
    command = [*traceleft._begin, "-e", "openat", "-o", str(file), "--", "sh", "-c", "echo said; echo said >&2"]

    done = subprocess.run(["sh", "-c", line, "sh", *command], capture_output=True, text=True, timeout=120)

    assert "said" not in file.read_text()
    assert " openat(" in file.read_text()
    assert "openat" not in done.stdout
    assert "unaccounted" in (done.stderr if closed == 1 else traceleft.ledger_file.read_text())
