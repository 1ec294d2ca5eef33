"""A command that waits until it is traced."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from traceleft.errors import CommandError
from traceleft.tracer.session.command import Command, find_command


def finish(command: Command, *, timeout_s: float = 10) -> int:
    deadline = time.monotonic() + timeout_s
    while command.poll() is None:
        assert time.monotonic() < deadline, "the command does not end"
        time.sleep(0.005)
    status = command.poll()
    command.close()
    assert status is not None
    return status


def run(*arguments: str) -> int:
    command = Command(arguments)
    command.release()
    return finish(command)


def test_status_is_passed_on() -> None:
    assert run("sh", "-c", "exit 7") == 7


def test_status_of_a_signal_is_128_and_its_number() -> None:
    assert run("sh", "-c", "kill -9 $$") == 137


def test_command_waits_until_it_is_released(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = Command(["touch", str(mark)])
    time.sleep(0.1)
    before = mark.exists()
    command.release()

    assert finish(command) == 0
    assert not before
    assert mark.exists()


def test_command_has_default_signals_and_our_mask(tmp_path: Path) -> None:
    out = tmp_path / "status"
    copy = ["dd", "if=/proc/self/status", f"of={out}", "status=none"]
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        assert run(*copy) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    masks = {name: int(value, 16) for name, value in re.findall(r"(Sig\w+):\t([0-9a-f]+)\n", out.read_text())}

    assert not masks["SigIgn"] >> (signal.SIGPIPE - 1) & 1
    assert not masks["SigIgn"] >> (signal.SIGXFSZ - 1) & 1
    assert masks["SigBlk"] >> (signal.SIGUSR1 - 1) & 1


def test_command_keeps_environment_and_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACELEFT_TEST", "kept")

    assert run("sh", "-c", 'test "$TRACELEFT_TEST" = kept && touch here') == 0
    assert (tmp_path / "here").exists()


def test_command_inherits_no_descriptor_of_ours(tmp_path: Path) -> None:
    out = tmp_path / "fds"
    theirs = {
        name for name in os.listdir("/dev/fd") if Path(f"/dev/fd/{name}").exists() and os.get_inheritable(int(name))
    }
    with (tmp_path / "mine").open("w"):
        assert (
            run(
                sys.executable,
                "-c",
                f"import os; l = os.listdir('/dev/fd'); open({str(out)!r}, 'w').write(' '.join(l))",
            )
            == 0
        )

    # 3 and 4 may be what lists the directory.
    assert set(out.read_text().split()) <= theirs | {"3", "4"}


def test_name_is_looked_up_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "own-tool"
    tool.write_text("#!/bin/sh\nexit 5\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert find_command("own-tool") == str(tool)
    assert run("own-tool") == 5


@pytest.mark.parametrize("name", ["", "no-such-command-anywhere", "/no/such/command", "/etc/passwd", "/etc", "a\0b"])
def test_command_that_cannot_be_executed_is_refused_before_the_fork(name: str) -> None:
    with pytest.raises(CommandError):
        Command([name])


def test_no_command_is_refused() -> None:
    with pytest.raises(CommandError):
        Command([])


def test_command_that_the_kernel_refuses_is_an_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    command = Command([str(broken)])

    with pytest.raises(CommandError, match="exec format error"):
        command.release()
    command.close()
    assert command.poll() == 127


def test_close_ends_a_command_that_was_never_released() -> None:
    command = Command(["sleep", "100"])
    command.close()
    command.close()

    assert command.poll() is not None
    assert not Path(f"/proc/{command.pid}").exists()


def test_close_ends_a_running_command() -> None:
    command = Command(["sleep", "100"])
    command.release()
    command.close()

    assert command.poll() == 128 + signal.SIGTERM


def test_stopped_command_can_be_ended() -> None:
    command = Command(["sleep", "100"])
    command.release()
    os.kill(command.pid, signal.SIGSTOP)
    command.close()

    assert command.poll() == 128 + signal.SIGTERM


def test_process_that_signals_the_command_does_so() -> None:
    command = Command(["sleep", "100"], has_ender=True)
    command.release()
    command.close(grace_s=10)
    command.close_ender()

    assert command.poll() == 128 + signal.SIGTERM


def test_command_that_cannot_be_signalled_is_no_error() -> None:
    command = Command(["sleep", "100"], has_ender=True)
    command.release()
    assert command._ender is not None
    os.kill(command._ender._pid, signal.SIGKILL)
    command.close(grace_s=0.1)
    command.close_ender()

    assert command.was_sent_sigterm and command.poll() is None
    os.kill(command.pid, signal.SIGKILL)
    assert finish(command) == 128 + signal.SIGKILL


def test_nothing_is_left_where_no_process_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "resource temporarily unavailable")

    before = set(os.listdir("/proc/self/fd"))
    fork = os.fork
    children: list[int] = []

    def first_only() -> int:
        if children:
            raise BlockingIOError(11, "resource temporarily unavailable")
        children.append(fork())
        return children[0]

    for fails in (refuse, first_only):
        monkeypatch.setattr(os, "fork", fails)
        with pytest.raises(BlockingIOError):
            Command(["true"], has_ender=True)

    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(children[0], 0)
