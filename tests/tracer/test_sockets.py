"""Socket addresses, control messages, msghdr."""

import struct
from socket import AF_INET6, inet_pton

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.records import iovec, part
from traceleft.tracer.decode.sockets import show_control, show_msghdr, show_sockaddr, split_msghdr

IN6 = struct.pack("<H", 10) + struct.pack(">HI", 443, 0) + inet_pton(AF_INET6, "fe80::1")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (
            struct.pack("<H", 2) + struct.pack(">H", 80) + bytes([127, 0, 0, 1]) + bytes(8),
            {"family": "AF_INET", "addr": "127.0.0.1", "port": 80},
        ),
        (IN6 + bytes(4), {"family": "AF_INET6", "addr": "fe80::1", "port": 443}),
        (
            IN6[:4] + struct.pack(">I", 5) + IN6[8:] + struct.pack("<I", 2),
            {"family": "AF_INET6", "addr": "fe80::1", "port": 443, "flowinfo": 5, "scope_id": 2},
        ),
        (b"\1\0/run/x.sock\0rest", {"family": "AF_UNIX", "path": "/run/x.sock"}),
        (b"\1\0\0name\0x", {"family": "AF_UNIX", "path": "@name\0x"}),
        (b"\1\0", {"family": "AF_UNIX", "path": ""}),
        (struct.pack("<HHII", 16, 0, 77, 0x11), {"family": "AF_NETLINK", "pid": 77, "groups": "0x11"}),
        (
            struct.pack("<H", 17) + struct.pack(">H", 0x800) + struct.pack("<iHBB", 2, 1, 0, 6) + bytes(range(8)),
            {
                "family": "AF_PACKET",
                "protocol": "0x800",
                "ifindex": 2,
                "hatype": 1,
                "pkttype": 0,
                "addr": "00:01:02:03:04:05",
            },
        ),
        (b"\2\0\0\x50", {"family": "AF_INET", "data": "\0P"}),
        (b"\xfe\0ab", {"family": "0xfe", "data": "ab"}),
        (b"\2", {"family": "AF_UNSPEC", "data": "\2"}),
    ],
    ids=["inet", "inet6", "inet6 scope", "unix", "abstract", "unnamed", "netlink", "packet", "cut", "unknown", "short"],
)
def test_address_is_an_object_that_names_its_family(data: bytes, shown: dict[str, object]) -> None:
    assert show_sockaddr(data, "little") == shown


@given(st.binary(max_size=140))
def test_any_bytes_show_as_an_address(data: bytes) -> None:
    assert "family" in show_sockaddr(data, "little")


def test_control_messages_show_passed_fds_and_credentials() -> None:
    rights = struct.pack("<Qii2i", 24, 1, 1, 5, 6)
    credentials = struct.pack("<Qii3i4x", 28, 1, 2, 10, 0, 0)
    other = struct.pack("<Qii", 16, 0, 8)

    assert show_control(rights + credentials + other, "little") == [
        {"level": "SOL_SOCKET", "type": "SCM_RIGHTS", "fds": [5, 6]},
        {"level": "SOL_SOCKET", "type": "SCM_CREDENTIALS", "pid": 10, "uid": 0, "gid": 0},
        {"level": 0, "type": 8, "data": ""},
    ]


@pytest.mark.parametrize("length", [0, 15, 2**64 - 1])
def test_control_message_of_a_nonsense_length_ends_the_list(length: int) -> None:
    assert len(show_control(struct.pack("<Qii", length, 1, 1), "little")) <= 1


def test_message_shows_name_iovec_control_and_flags() -> None:
    head = struct.pack("<QIIQQQQII", 1, 16, 0, 2, 1, 0, 0, 0x40, 0)
    name = b"\1\0/run/x"

    parts = split_msghdr(head + part(name) + part(b"") + iovec(b"hello"), "little")

    assert show_msghdr(parts, "little") == {
        "name": {"family": "AF_UNIX", "path": "/run/x"},
        "iov": [{"base": "0x1000", "len": 5, "data": "hello"}],
        "control": [],
        "flags": 0x40,
    }


@given(st.binary(max_size=200))
def test_message_of_any_bytes_shows_or_is_refused(data: bytes) -> None:
    try:
        parts = split_msghdr(data, "little")
    except ValueError:
        return

    assert show_msghdr(parts, "little")
