"""What sockets, pidfds and signalfds stand for, by those of this process."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from traceleft.tracer.output.socket_names import describe_fd
from traceleft.tracer.output.text import _quote_path
from traceleft.tracer.output.unix_peers import UnixPeers, read_peer

AF_NETLINK, NETLINK_ROUTE = 16, 0
PID = os.getpid()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def described(fd: int) -> str:
    return describe_fd(PID, fd, os.readlink(f"/proc/self/fd/{fd}").encode())


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.parametrize(
    ("family", "host", "shown", "protocol"),
    [(socket.AF_INET, "127.0.0.1", "127.0.0.1", "TCP"), (socket.AF_INET6, "::1", "[::1]", "TCPv6")],
)
def test_connection_has_both_its_ends(family: int, host: str, shown: str, protocol: str, stack: ExitStack) -> None:
    server = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    client = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    assert described(client.fileno()) == f"{protocol}:[{inode(client)}]"
    try:
        server.bind((host, 0))
    except OSError:
        pytest.skip(f"no address {host} here")
    server.listen()
    client.connect(server.getsockname()[:2])
    there, here = server.getsockname()[1], client.getsockname()[1]

    assert described(server.fileno()) == f"{protocol}:[{shown}:{there}]"
    assert described(client.fileno()) == f"{protocol}:[{shown}:{here}->{shown}:{there}]"


def test_datagram_socket_has_its_address(stack: ExitStack) -> None:
    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))

    assert described(sock.fileno()) == f"UDP:[127.0.0.1:{sock.getsockname()[1]}]"


def test_local_sockets_have_their_names(stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A socket's path is short.
    monkeypatch.chdir(tmp_path)
    named, abstract = (stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) for _ in range(2))
    one, _ = (stack.enter_context(each) for each in socket.socketpair())
    named.bind("a b")
    abstract.bind("\0hidden" + str(PID))
    protocol = described(one.fileno()).partition(":")[0]

    assert protocol.startswith("UNIX")
    assert described(one.fileno()) == f"{protocol}:[{inode(one)}]"
    assert described(named.fileno()) == f'{protocol}:[{inode(named)},"a b"]'
    assert described(abstract.fileno()) == f'{protocol}:[{inode(abstract)},@"hidden{PID}"]'


def peered(fd: int) -> str:
    return describe_fd(PID, fd, os.readlink(f"/proc/self/fd/{fd}").encode(), UnixPeers().find)


def test_local_sockets_have_their_peers(stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = (stack.enter_context(each) for each in socket.socketpair())
    server, client = (stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) for _ in range(2))
    server.bind("server")
    server.listen()
    client.connect("server")
    accepted, _ = server.accept()
    stack.enter_context(accepted)
    if UnixPeers().find(inode(one)) is None:
        pytest.skip("the kernel has no unix_diag")
    protocol = described(one.fileno()).partition(":")[0]

    assert peered(one.fileno()) == f"{protocol}:[{inode(one)}->{inode(other)}]"
    assert peered(other.fileno()) == f"{protocol}:[{inode(other)}->{inode(one)}]"
    assert peered(server.fileno()) == f'{protocol}:[{inode(server)},"server"]'
    assert peered(client.fileno()) == f"{protocol}:[{inode(client)}->{inode(accepted)}]"
    assert peered(accepted.fileno()) == f'{protocol}:[{inode(accepted)}->{inode(client)},"server"]'


def test_peers_of_many_sockets_are_found_one_after_the_other(stack: ExitStack) -> None:
    pairs = [[stack.enter_context(each) for each in socket.socketpair()] for _ in range(20)]
    peers = UnixPeers()
    if peers.find(inode(pairs[0][0])) is None:
        pytest.skip("the kernel has no unix_diag")

    assert [peers.find(inode(one)) for one, _ in pairs] == [inode(other) for _, other in pairs]
    assert [peers.find(number) for number in (0, -1, 1, 1 << 32)] == [None] * 4


def answer(number: int, *attributes: bytes, kind: int = 20) -> bytes:
    """Return a netlink message about a socket."""
    body = struct.pack("=4xI8x", number) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


NAME = struct.pack("=HH", 8, 0) + b"path"
PEER = struct.pack("=HHI", 8, 2, 77)


@pytest.mark.parametrize(
    ("message", "peer"),
    [
        (answer(5, PEER), 77),
        (answer(5, NAME, PEER), 77),
        (answer(5, struct.pack("=HH", 5, 0) + b"a\0\0\0", PEER), 77),
        (answer(5), None),
        (answer(6, PEER), None),
        (answer(5, PEER, kind=2), None),
        (answer(5, struct.pack("=HHI", 8, 2, 0)), None),
        (answer(5, PEER[:6]), None),
        (answer(5, struct.pack("=HH", 0, 0), PEER), 77),
        (answer(5, struct.pack("=HH", 0xFFFF, 0), PEER), None),
        (answer(5, PEER)[:20], None),
    ],
    ids=["peer", "after a name", "after padding", "none", "other", "error", "zero", "cut", "empty", "long", "short"],
)
def test_answer_about_a_socket_is_read_within_its_bounds(message: bytes, peer: int | None) -> None:
    assert read_peer(message, 5) == peer


def test_netlink_has_its_protocol_and_port(stack: ExitStack) -> None:
    sock = stack.enter_context(socket.socket(AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE))
    sock.bind((0, 0))

    assert described(sock.fileno()) == f"NETLINK:[ROUTE:{sock.getsockname()[0]}]"


def test_pidfd_and_others() -> None:
    with closing(os.fdopen(os.pidfd_open(PID), "rb")) as file:
        assert described(file.fileno()) == f"pid:{PID}"
    with closing(os.fdopen(os.eventfd(0), "rb")) as file:
        assert described(file.fileno()) == "anon_inode:[eventfd]"


@pytest.mark.parametrize("link", [b"socket:[1]", b"anon_inode:[pidfd]", b"anon_inode:[signalfd]", b"/etc/\xff"])
def test_what_is_gone_is_its_link(link: bytes) -> None:
    assert describe_fd(PID, 1_000_000, link) == os.fsdecode(link)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TCP:[127.0.0.1:1->127.0.0.1:2]", "TCP:[127.0.0.1:1->127.0.0.1:2]"),
        ("TCPv6:[[::1]:1->[::1]:2]", "TCPv6:[[::1]:1->[::1]:2]"),
        ("UNIX-STREAM:[7->8]", "UNIX-STREAM:[7->8]"),
        ('UNIX-STREAM:[7,"/a->b"]', 'UNIX-STREAM:[7,"/a-\\x3eb"]'),
        ("/tmp/TCP:[1->2]", "/tmp/TCP:[1-\\x3e2]"),
    ],
)
def test_arrow_is_shown_between_the_ends_of_a_connection_alone(name: str, text: str) -> None:
    assert _quote_path(name) == text
