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
_SOCK_DESTROY = 21
_FLAGS = 0x5  # NLM_F_REQUEST | NLM_F_ACK
_NLMSG_ERROR = 2
_PROTOCOLS = {"tcp": 6, "udp": 17, "udplite": 136, "raw": 255}
_WAIT = 2.0  # seconds for an answer that the kernel gives while it handles the request


def request(socket: Socket, interface: int = 0) -> bytes:
    """The netlink message that asks for the end of `socket` (struct inet_diag_req_v2 of linux/inet_diag.h)."""
    family = _socket.AF_INET if socket.family == 4 else _socket.AF_INET6
    protocol = _PROTOCOLS[socket.protocol]
    pad = socket.local_port & 0xFF if socket.protocol == "raw" else 0
    body = struct.pack("=BBBBI", family, protocol, 0, pad, 0xFFFFFFFF)
    body += struct.pack("!HH", socket.local_port, socket.remote_port)
    body += _packed(family, socket.local_address) + _packed(family, socket.remote_address)
    body += struct.pack("=III", interface, 0xFFFFFFFF, 0xFFFFFFFF)  # INET_DIAG_NOCOOKIE
    return struct.pack("=IHHII", 16 + len(body), _SOCK_DESTROY, _FLAGS, 1, 0) + body


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
            for interface in [0] + [index for index, _name in _socket.if_nameindex()]:
                channel.send(request(socket, interface))
                code = answer(channel.recv(4096))
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
