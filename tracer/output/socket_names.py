"""What a socket, a pidfd or a signalfd stands for, as ``strace -yy`` shows it: asked of /proc while it is there.

The kernel tells a socket's protocol as an extended attribute (``system.sockprotoname``), its addresses in the tables of
/proc/PID/net, which are those of the process's network namespace. These tables lack the peers of UNIX sockets;
``unix_peers`` asks the kernel for them.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from traceleft.tracer.decode.signals import SIGNALS
from traceleft.tracer.decode.texts import to_text

TABLE_BYTES_MAX: Final = 32 << 20
PROTOCOL_NAME: Final = "system.sockprotoname"
# The tables of protocols that have addresses and ports.
INTERNET: Final = {
    "TCP": "tcp",
    "TCPv6": "tcp6",
    "UDP": "udp",
    "UDPv6": "udp6",
    "UDP-Lite": "udplite",
    "UDPLITEv6": "udplite6",
    "RAW": "raw",
    "RAWv6": "raw6",
    "PING": "icmp",
    "PINGv6": "icmp6",
}
NETLINK: Final = (
    *("ROUTE", "UNUSED", "USERSOCK", "FIREWALL", "SOCK_DIAG", "NFLOG", "XFRM", "SELINUX", "ISCSI", "AUDIT"),
    *("FIB_LOOKUP", "CONNECTOR", "NETFILTER", "IP6_FW", "DNRTMSG", "KOBJECT_UEVENT", "GENERIC", "17", "SCSITRANSPORT"),
    *("ECRYPTFS", "RDMA", "CRYPTO", "SMC"),
)
_SOCKET: Final = re.compile(rb"socket:\[([0-9]{1,20})\]")
_INFO: Final = {b"anon_inode:[pidfd]": b"Pid:", b"anon_inode:[signalfd]": b"sigmask:"}


def describe_fd(pid: int, fd: int, link: bytes, peer_of: Callable[[int], int | None] = lambda inode: None) -> str:
    """Return what a link of /proc/PID/fd stands for; the link itself where no more is known.

    ``peer_of`` maps the inode of a UNIX socket to the inode of its peer.
    """
    found = _SOCKET.fullmatch(link)
    try:
        if found is not None:
            return _describe_socket(pid, fd, int(found[1]), peer_of)
        if link in _INFO:
            return _describe_by_info(pid, fd, link)
    except (OSError, ValueError, IndexError):
        pass
    return to_text(link)


def _describe_socket(pid: int, fd: int, inode: int, peer_of: Callable[[int], int | None]) -> str:
    protocol = to_text(os.getxattr(f"/proc/{pid}/fd/{fd}", PROTOCOL_NAME).rstrip(b"\0"))
    what: str | None = None
    if protocol in INTERNET:
        what = _find_addresses(pid, INTERNET[protocol], inode)
    elif protocol.startswith("UNIX"):
        peer = peer_of(inode)
        what = f"{inode}{'' if peer is None else f'->{peer}'}{_find_path(pid, inode)}"
    elif protocol == "NETLINK":
        what = _find_port(pid, inode)
    return f"{protocol}:[{inode if what is None else what}]"


def _rows(pid: int, table: str) -> Iterator[list[bytes]]:
    """Yield the rows of one of a process's tables, split into words; the last word of a path may hold spaces."""
    with open(f"/proc/{pid}/net/{table}", "rb") as file:
        yield from (line.split(maxsplit=10) for line in file.read(TABLE_BYTES_MAX).splitlines()[1:])


def _find_addresses(pid: int, table: str, inode: int) -> str | None:
    """Return a socket's address, and its peer's; None for one that has none yet."""
    wanted = b"%d" % inode
    for row in _rows(pid, table):
        if row[9] == wanted:
            local, peer = _show_address(row[1]), _show_address(row[2])
            return local if int(row[2].replace(b":", b""), 16) == 0 else f"{local}->{peer}"
    return None


def _show_address(text: bytes) -> str:
    """Return an address and a port: the kernel prints each word of an address as a number of this machine."""
    address, _, port = text.partition(b":")
    data = bytes.fromhex(address.decode())
    if sys.byteorder == "little":
        data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    if len(data) == 4:
        return f"{IPv4Address(data)}:{int(port, 16)}"
    return f"[{IPv6Address(data)}]:{int(port, 16)}"


def _find_path(pid: int, inode: int) -> str:
    """Return a socket's name after a comma, if it has one: quoted, an abstract one after an ``@``."""
    wanted = b"%d" % inode
    for row in _rows(pid, "unix"):
        if row[6] == wanted and len(row) > 7:
            path = b" ".join(row[7:])
            sign = "@" if path.startswith(b"@") else ""
            return f',{sign}"{to_text(path.removeprefix(b"@"))}"'
    return ""


def _find_port(pid: int, inode: int) -> str | None:
    wanted = b"%d" % inode
    for row in _rows(pid, "netlink"):
        if row[9].strip() == wanted:
            protocol, port = int(row[1]), int(row[2])
            name = NETLINK[protocol] if protocol < len(NETLINK) else str(protocol)
            return f"{name}:{port}"
    return None


def _describe_by_info(pid: int, fd: int, link: bytes) -> str:
    with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
        lines = dict(line.split(maxsplit=1) for line in file.read().splitlines() if line.startswith(_INFO[link]))
    value = lines[_INFO[link]].strip()
    if link == b"anon_inode:[pidfd]":
        return f"pid:{int(value)}"
    mask = int(value, 16)
    names = [name.removeprefix("SIG") for number, name in enumerate(SIGNALS) if mask >> number & 1]
    return f"signalfd:[{' '.join(names)}]"
