"""``-y``: descriptors of children, across an exec, and of connections."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.live import HOOKS
from traceleft.battery import Battery
from traceleft.tracer.output.unix_peers import UnixPeers

pytestmark = pytest.mark.kernel

# The child uses what it inherits before its parent's fork returns, and is gone before it is asked for.
FORKED = """
import os
fd = os.open("log", os.O_WRONLY | os.O_CREAT)
for _ in range(20):
    if os.fork() == 0:
        os.write(fd, b"child")
        os._exit(0)
    os.wait()
"""
EXECUTED = """
import os
kept = os.open("kept", os.O_RDWR | os.O_CREAT)
os.set_inheritable(kept, True)
os.open("closed", os.O_RDWR | os.O_CREAT)
os.execvp("sh", ["sh", "-c", f"echo x >&{kept}"])
"""
CONNECTED = """
import socket, time
server, client = socket.socket(), socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
client.connect(server.getsockname())
client.send(b"hello")
print(client.getsockname()[1], server.getsockname()[1], flush=True)
# Its sockets have to be there until they were asked for.
late = time.monotonic() + 60
while "hello" not in open("out").read() and time.monotonic() < late:
    time.sleep(0.05)
"""
PAIRED = """
import os, socket, time
one, other = socket.socketpair()
one.send(b"hello")
print(os.fstat(one.fileno()).st_ino, os.fstat(other.fileno()).st_ino, flush=True)
# Its sockets have to be there until they were asked for.
late = time.monotonic() + 60
while "hello" not in open("out").read() and time.monotonic() < late:
    time.sleep(0.05)
"""


def trace(battery: Battery, hook: str, script: str, directory: Path) -> tuple[list[dict[str, Any]], str]:
    command = [sys.executable, "-m", "traceleft", "trace", "-y", "-f", "--format", "json", "-o", "out"]
    command += ["--battery", str(battery.path), "--attach", hook, "--", sys.executable, "-c", script]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True, timeout=120)
    return [json.loads(line) for line in (directory / "out").read_text().splitlines()], done.stdout


@pytest.mark.parametrize("hook", HOOKS)
def test_child_has_its_parent_s_descriptors(battery: Battery, tmp_path: Path, hook: str) -> None:
    events, _ = trace(battery, hook, FORKED, tmp_path)
    writes = [event for event in events if event["event"] == "write" and event["args"]["buf"] == "child"]

    assert len(writes) == 20
    assert {event["paths"]["fd"] for event in writes} == {os.path.realpath(tmp_path / "log")}


@pytest.mark.parametrize("hook", HOOKS)
def test_exec_keeps_what_stays_open(battery: Battery, tmp_path: Path, hook: str) -> None:
    events, _ = trace(battery, hook, EXECUTED, tmp_path)
    (write,) = (event for event in events if event["event"] == "write" and event["args"]["buf"] == "x\n")
    (kept,) = (event for event in events if event["event"] == "dup2" and event.get("paths", {}).get("oldfd"))

    assert kept["paths"]["oldfd"] == write["paths"]["fd"] == os.path.realpath(tmp_path / "kept")


@pytest.mark.parametrize("hook", HOOKS)
def test_connection_has_both_its_ends(battery: Battery, tmp_path: Path, hook: str) -> None:
    events, printed = trace(battery, hook, CONNECTED, tmp_path)
    here, there = printed.split()
    (sent,) = (event for event in events if event["event"] == "sendto" and event["args"]["buff"] == "hello")

    assert sent["paths"]["fd"] == f"TCP:[127.0.0.1:{here}->127.0.0.1:{there}]"


def has_peers() -> bool:
    one, other = socket.socketpair()
    with one, other:
        return UnixPeers().find(os.fstat(one.fileno()).st_ino) is not None


@pytest.mark.parametrize("hook", HOOKS)
def test_local_socket_has_its_peer(battery: Battery, tmp_path: Path, hook: str) -> None:
    events, printed = trace(battery, hook, PAIRED, tmp_path)
    here, there = map(int, printed.split())
    if not has_peers():
        pytest.skip("the kernel has no unix_diag")
    (sent,) = (event for event in events if event["event"] == "sendto" and event["args"]["buff"] == "hello")

    assert sent["paths"]["fd"] in (f"UNIX:[{here}->{there}]", f"UNIX-STREAM:[{here}->{there}]")
