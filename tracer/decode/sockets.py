"""Decode socket addresses, control messages and struct msghdr."""

import struct
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Final

from traceleft.tracer.decode.lists import Part, show_bases, show_iovec, split_iovec, take_part
from traceleft.tracer.decode.texts import to_text
from traceleft.tracer.decode.value import Value
from traceleft.tracer.decode.values import ByteOrder, show_pointer

AF_UNIX, AF_NETLINK, AF_PACKET = 1, 16, 17
SOL_SOCKET, SCM_RIGHTS, SCM_CREDENTIALS = 1, 1, 2
MSGHDR_BYTES: Final = 56
CMSG_HEAD_BYTES: Final = 16

FAMILIES: Final = (
    *("AF_UNSPEC", "AF_UNIX", "AF_INET", "AF_AX25", "AF_IPX", "AF_APPLETALK", "AF_NETROM", "AF_BRIDGE", "AF_ATMPVC"),
    *("AF_X25", "AF_INET6", "AF_ROSE", "AF_DECnet", "AF_NETBEUI", "AF_SECURITY", "AF_KEY", "AF_NETLINK", "AF_PACKET"),
    *("AF_ASH", "AF_ECONET", "AF_ATMSVC", "AF_RDS", "AF_SNA", "AF_IRDA", "AF_PPPOX", "AF_WANPIPE", "AF_LLC", "AF_IB"),
    *("AF_MPLS", "AF_CAN", "AF_TIPC", "AF_BLUETOOTH", "AF_IUCV", "AF_RXRPC", "AF_ISDN", "AF_PHONET", "AF_IEEE802154"),
    *("AF_CAIF", "AF_ALG", "AF_NFC", "AF_VSOCK", "AF_KCM", "AF_QIPCRTR", "AF_SMC", "AF_XDP", "AF_MCTP"),
)


def show_sockaddr(data: bytes, order: ByteOrder) -> dict[str, Value]:
    """Return a socket address as an object that names its family; ``data`` where it is unknown or cut short."""
    if len(data) < 2:
        return {"family": "AF_UNSPEC", "data": to_text(data)}
    family, rest = int.from_bytes(data[:2], order), data[2:]
    shown: dict[str, Value] = {"family": FAMILIES[family] if family < len(FAMILIES) else f"0x{family:x}"}
    if family == AF_INET and len(data) >= 8:
        return shown | {"addr": inet_ntop(AF_INET, data[4:8]), "port": int.from_bytes(data[2:4], "big")}
    if family == AF_INET6 and len(data) >= 24:
        return shown | _show_inet6(data, order)
    if family == AF_UNIX:
        return shown | {"path": _show_unix_path(rest)}
    if family == AF_NETLINK and len(data) >= 12:
        pid, groups = int.from_bytes(data[4:8], order), int.from_bytes(data[8:12], order)
        return shown | {"pid": pid, "groups": f"0x{groups:x}" if groups else "0"}
    if family == AF_PACKET and len(data) >= 12:
        return shown | _show_packet(data, order)
    return shown | {"data": to_text(rest)}


def _show_inet6(data: bytes, order: ByteOrder) -> dict[str, Value]:
    shown: dict[str, Value] = {"addr": inet_ntop(AF_INET6, data[8:24]), "port": int.from_bytes(data[2:4], "big")}
    if flowinfo := int.from_bytes(data[4:8], "big"):
        shown["flowinfo"] = flowinfo
    if scope_id := int.from_bytes(data[24:28], order):
        shown["scope_id"] = scope_id
    return shown


def _show_unix_path(path: bytes) -> str:
    """Return a path up to its NUL; an abstract name, which begins with NUL and holds any bytes, after an ``@``."""
    if path[:1] == b"\0" and len(path) > 1 and path.strip(b"\0"):
        return "@" + to_text(path[1:])
    return to_text(path.partition(b"\0")[0])


def _show_packet(data: bytes, order: ByteOrder) -> dict[str, Value]:
    length = min(data[11], 8)
    return {
        "protocol": f"0x{int.from_bytes(data[2:4], 'big'):x}",
        "ifindex": int.from_bytes(data[4:8], order, signed=True),
        "hatype": int.from_bytes(data[8:10], order),
        "pkttype": data[10],
        "addr": data[12 : 12 + length].hex(":"),
    }


def show_control(data: bytes, order: ByteOrder) -> list[Value]:
    """Return control messages; what does not hold together ends the list."""
    messages: list[Value] = []
    at = 0
    while at + CMSG_HEAD_BYTES <= len(data):
        length, level, kind = struct.unpack_from("<Qii" if order == "little" else ">Qii", data, at)
        if length < CMSG_HEAD_BYTES:
            break
        messages.append(_show_message(level, kind, data[at + CMSG_HEAD_BYTES : at + length], order))
        at += length + 7 & ~7
    return messages


def _show_message(level: int, kind: int, data: bytes, order: ByteOrder) -> dict[str, Value]:
    integers = [int.from_bytes(data[at : at + 4], order, signed=True) for at in range(0, len(data) - 3, 4)]
    if level == SOL_SOCKET and kind == SCM_RIGHTS:
        return {"level": "SOL_SOCKET", "type": "SCM_RIGHTS", "fds": list(integers)}
    if level == SOL_SOCKET and kind == SCM_CREDENTIALS and len(integers) == 3:
        pid, uid, gid = integers
        return {"level": "SOL_SOCKET", "type": "SCM_CREDENTIALS", "pid": pid, "uid": uid, "gid": gid}
    return {"level": "SOL_SOCKET" if level == SOL_SOCKET else level, "type": kind, "data": to_text(data)}


def split_msghdr(data: bytes, order: ByteOrder) -> tuple[Part, Part, Part, list[Part]]:
    """Return a message's own bytes, its name, its control messages and its iovec; ``ValueError`` if cut."""
    if len(data) < MSGHDR_BYTES:
        raise ValueError("a msghdr does not fit")
    at = MSGHDR_BYTES
    if at == len(data):
        return Part(data, 0), Part(b"", 0), Part(b"", 0), []
    name, at = take_part(data, at, order)
    control, at = take_part(data, at, order)
    return Part(data[:MSGHDR_BYTES], 0), name, control, split_iovec(data, order, at)


def show_msghdr(
    parts: tuple[Part, Part, Part, list[Part]], order: ByteOrder, *, is_written: bool = True
) -> dict[str, Value]:
    """Return a message as an object; ``flags`` is still a number. What could not be read is its address.

    Of one that is not written, where it was to be, all is addresses and lengths.
    """
    message, name, control, iov = parts
    name_at, control_at = (show_pointer(int.from_bytes(message.data[at : at + 8], order)) for at in (0, 32))
    flags = int.from_bytes(message.data[48:52], order)
    if not is_written:
        return {"name": name_at, "iov": show_bases(iov), "control": control_at, "flags": flags}
    shown_name = show_sockaddr(name.data, order) if name.data else None
    return {
        "name": name_at if name.status < 0 else shown_name,
        "iov": show_iovec(iov),
        "control": control_at if control.status < 0 else show_control(control.data, order),
        "flags": flags,
    }
