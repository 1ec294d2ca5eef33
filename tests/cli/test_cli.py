"""What the command line refuses, and how: one line on stderr, the right status, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def traceleft(
    *arguments: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command and return what became of it."""
    command = [sys.executable, "-m", "traceleft", *arguments]
    variables = {name: value for name, value in os.environ.items() if name != "TRACELEFT_BATTERY"} | (environment or {})
    return subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )


def assert_refused(done: subprocess.CompletedProcess[str], *, status: int, words: str) -> None:
    """Check that the run ended with the status and one line that contains the words."""
    lines = done.stderr.splitlines()
    assert done.returncode == status, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("traceleft: ")
    assert words in lines[0]
    assert done.stdout == ""


USAGE = {
    "unknown command": (["tarce"], "tarce"),
    "unknown option": (["trace", "--nosuch"], "--nosuch"),
    "pid that is no number": (["trace", "-p", "12x"], "12x"),
    "pid of zero": (["trace", "-p", "0"], "'0'"),
    "negative pid": (["trace", "-p", "-4"], "'-4'"),
    "pid list with a gap": (["trace", "-p", "1,,2"], "1,,2"),
    "pid beyond all bounds": (["trace", "-p", "9" * 5000], "process ids"),
    "command together with pid": (["trace", "--uid", "nosuchuser", "--", "true"], "nosuchuser"),
    "uid beyond all bounds": (["trace", "--uid", "4294967296"], "4294967296"),
    "comm that no task can have": (["trace", "--comm", "a" * 16], "15 bytes"),
    "errno that is none": (["trace", "--errno", "ENOSUCH"], "ENOSUCH"),
    "errno of zero": (["trace", "--errno", "0"], "'0'"),
    "unknown hook": (["trace", "--attach", "uprobe"], "uprobe"),
    "unknown format": (["trace", "--format", "xml"], "xml"),
    "buffer of nothing": (["trace", "--buffer-pages", "0"], "--buffer-pages"),
    "no events at all": (["trace", "--max-events", "0"], "--max-events"),
    "no time at all": (["trace", "--duration", "0"], "--duration"),
    "endless time": (["trace", "--duration", "nan"], "--duration"),
    "negative text": (["trace", "-s", "-1"], "-s"),
    "text beyond all bounds": (["trace", "-s", "99999999"], "-s"),
    "counting twice": (["trace", "-c", "-C", "--", "true"], "-C"),
    "succeeded and failed": (["trace", "-z", "-Z", "--", "true"], "-Z"),
    "two clocks": (["trace", "-r", "-tt", "--", "true"], "-r"),
    "cgroup that is not there": (["trace", "--cgroup", "/nosuch", "--", "true"], "/nosuch"),
    "generate to nowhere": (["generate"], "-o"),
    "snapshot to nowhere": (["snapshot"], "-o"),
    "build of nothing": (["build"], "DIR"),
    "build of what is not there": (["build", "/nosuch"], "/nosuch"),
    "no compilers": (["build", "-j", "0", "."], "-j"),
}


@pytest.mark.parametrize(("arguments", "words"), USAGE.values(), ids=USAGE.keys())
def test_usage_error_is_one_line_and_status_two(arguments: list[str], words: str) -> None:
    assert_refused(traceleft(*arguments), status=2, words=words)


def test_usage_error_says_where_help_is() -> None:
    assert "traceleft trace --help" in traceleft("trace", "--nosuch").stderr


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands_in_order_of_the_work(arguments: list[str]) -> None:
    done = traceleft(*arguments)
    text = done.stdout + done.stderr

    positions = [text.index(f"\n  {name} ") for name in ("doctor", "snapshot", "list", "generate", "build", "trace")]

    assert positions == sorted(positions)


@pytest.mark.parametrize("command", ["doctor", "snapshot", "list", "generate", "build", "trace"])
def test_every_command_has_help(command: str) -> None:
    done = traceleft(command, "--help")

    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: traceleft {command}")


def test_version_is_the_package_version() -> None:
    from traceleft.version import __version__

    assert traceleft("--version").stdout == f"traceleft {__version__}\n"


def test_runs_from_an_empty_directory_without_a_terminal(tmp_path: Path) -> None:
    done = traceleft("--help", cwd=tmp_path, environment={"PYTHONPATH": str(ROOT)})

    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_closed_stdout_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "traceleft", "--help"]

    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)

    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_full_disk_is_one_line() -> None:
    command = [sys.executable, "-m", "traceleft", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)

    assert done.returncode == 1
    assert done.stderr == "traceleft: No space left on device\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_script_is_offered(shell: str) -> None:
    done = traceleft(environment={"_TRACELEFT_COMPLETE": f"{shell}_source"})

    assert "_TRACELEFT_COMPLETE" in done.stdout


def complete(line: str) -> list[str]:
    """Return what bash would offer for the last word of a line."""
    words = line.split(" ")
    environment = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_TRACELEFT_COMPLETE": "bash_complete"}
    return [item.split(",", 1)[1] for item in traceleft(environment=environment).stdout.splitlines()]


def test_commands_complete() -> None:
    assert complete("traceleft tr") == ["trace"]


def test_event_names_complete() -> None:
    assert "openat" in complete("traceleft trace -e opena")


def test_last_name_of_a_comma_list_completes() -> None:
    assert "close,openat" in complete("traceleft trace -e close,opena")


def test_negated_class_completes() -> None:
    assert "!%network" in complete("traceleft trace -e !%net")
