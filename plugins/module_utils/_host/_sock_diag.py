# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""End a socket through the kernel: NETLINK_SOCK_DIAG with SOCK_DESTROY (include/uapi/linux/sock_diag.h).

Needs CAP_NET_ADMIN and a kernel with INET_DIAG_DESTROY (4.5 and later, where built so).
"""

from __future__ import annotations

import errno
import socket as _socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._sockets import Socket

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_SOCK_DESTROY = 21
_FLAGS = {_SOCK_DIAG_BY_FAMILY: 0x1, _SOCK_DESTROY: 0x5}  # NLM_F_REQUEST; NLM_F_ACK where nothing else would be answered
_ANY = b"\xff" * 8  # INET_DIAG_NOCOOKIE
_LEAST = 68  # bytes up to the end of the cookie in struct inet_diag_msg, after the header
_NLMSG_ERROR = 2
_PROTOCOLS = {"tcp": 6, "udp": 17, "udplite": 136, "raw": 255}
_WAIT = 2.0  # seconds for an answer that the kernel gives while it handles the request


def request(socket: Socket, interface: int = 0, kind: int = _SOCK_DESTROY, cookie: bytes = _ANY) -> bytes:
    """The netlink message that asks for `socket`, or for its end (struct inet_diag_req_v2 of linux/inet_diag.h)."""
    family = _socket.AF_INET if socket.family == 4 else _socket.AF_INET6
    protocol = _PROTOCOLS[socket.protocol]
    pad = socket.local_port & 0xFF if socket.protocol == "raw" else 0
    body = struct.pack("=BBBBI", family, protocol, 0, pad, 0xFFFFFFFF)
    body += struct.pack("!HH", socket.local_port, socket.remote_port)
    body += _packed(family, socket.local_address) + _packed(family, socket.remote_address)
    body += struct.pack("=I", interface) + cookie
    return struct.pack("=IHHII", 16 + len(body), kind, _FLAGS[kind], 1, 0) + body


def _packed(family: int, address: str) -> bytes:
    if family == _socket.AF_INET:
        return _socket.inet_aton(address) + b"\x00" * 12
    if ":" in address:
        return _socket.inet_pton(_socket.AF_INET6, address)
    return b"\x00" * 10 + b"\xff\xff" + _socket.inet_aton(address)


def answer(data: bytes) -> int:
    """The errno in the kernel's answer, 0 for success. An answer that is none counts as EPROTO."""
    if len(data) < 20:
        return errno.EPROTO
    _length, kind = struct.unpack_from("=IH", data)
    if kind != _NLMSG_ERROR:
        return errno.EPROTO
    code: int = struct.unpack_from("=i", data, 16)[0]
    return -code


def found(socket: Socket, data: bytes) -> bytes:
    """The cookie of the very socket that the kernel tells of (struct inet_diag_msg); b"" where that is another one or none.

    For a connection that has just ended the kernel takes the socket that listens there, or one of UDP without a peer.
    """
    if len(data) < _LEAST or struct.unpack_from("=IH", data)[1] != _SOCK_DIAG_BY_FAMILY:
        return b""
    remote: int = struct.unpack_from("!H", data, 22)[0]
    return data[60:_LEAST] if remote == socket.remote_port and any(data[40:56]) else b""


def _end(channel: _socket.socket, socket: Socket, interface: int) -> int:
    """End the socket if it is the one that is bound to this interface: 0, or the errno."""
    asked = socket
    if socket.protocol in ("udp", "udplite"):  # "src and dst are swapped for historical reasons" (net/ipv4/udp_diag.c); for the end not
        asked = socket._replace(local_address=socket.remote_address, local_port=socket.remote_port,
                                remote_address=socket.local_address, remote_port=socket.local_port)
    channel.send(request(asked, interface, _SOCK_DIAG_BY_FAMILY))
    data = channel.recv(4096)
    if len(data) >= 6 and struct.unpack_from("=IH", data)[1] != _SOCK_DIAG_BY_FAMILY:
        return answer(data)
    cookie = found(socket, data)
    if not cookie:
        return errno.ENOENT
    channel.send(request(socket, interface, _SOCK_DESTROY, cookie))
    return answer(channel.recv(4096))


def destroy(socket: Socket) -> str:
    """End one socket: "destroyed", "gone", "unsupported" or "failed: ERRNO".

    A socket that is bound to a device is found only under that device's number, so each is tried before it is
    called gone. The program that holds it sees ECONNABORTED; a TCP peer would get a RST, which the rules hold back
    once they are in force.
    """
    if socket.protocol not in _PROTOCOLS:
        return "unsupported"
    try:
        with _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as channel:
            channel.settimeout(_WAIT)
            code = _end(channel, socket, 0)
            if code == errno.ENOENT:
                for interface, _name in _socket.if_nameindex():
                    code = _end(channel, socket, interface)
                    if code != errno.ENOENT:
                        break
    except OSError as error:  # a time-out is an OSError too
        code = error.errno or errno.ETIMEDOUT
    if code == 0:
        return "destroyed"
    if code == errno.ENOENT:
        return "gone"
    if code in (errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        return "unsupported"
    return "failed: {0}".format(errno.errorcode.get(code, code))
