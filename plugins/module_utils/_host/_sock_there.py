# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""End sockets of other network namespaces, such as those of containers, by what the kernel itself shows of them there."""

from __future__ import annotations

import json
import socket as _socket
import struct
import time

from ._child import Child, enter_network
from ._elsewhere import namespaces
from ._netstate import ask
from ._sock_diag import answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    # protocol ("tcp", "udp"), address, port, peer's address, peer's port
    Ends = tuple[str, str, int, str, int]

_SOCK_DIAG, _BY_FAMILY, _DESTROY = 4, 20, 21  # NETLINK_SOCK_DIAG; SOCK_DIAG_BY_FAMILY and SOCK_DESTROY of linux/sock_diag.h
_ACK = 0x5  # NLM_F_REQUEST | NLM_F_ACK
# By number of state (include/net/tcp_states.h): what has a peer and may still deliver something.
_STATES = sum(1 << number for number in (1, 2, 3, 4, 5, 8, 9, 11))
_PROTOCOLS = {"tcp": 6, "udp": 17}
_ID = slice(4, 52)  # struct inet_diag_sockid in struct inet_diag_msg of linux/inet_diag.h
_MAPPED = bytes(10) + b"\xff\xff"
_MOST = 64  # namespaces that are looked into


def ends_of(family: int, protocol: str, message: bytes) -> Ends:
    """Both ends of the socket that a message describes; an IPv4-mapped address is IPv4."""
    port, peer_port = struct.unpack_from("!HH", message, 4)
    return protocol, _text(family, message[8:24]), port, _text(family, message[24:40]), peer_port


def _text(family: int, data: bytes) -> str:
    if family == _socket.AF_INET:
        return _socket.inet_ntoa(data[:4])
    return _socket.inet_ntoa(data[12:]) if data[:12] == _MAPPED else _socket.inet_ntop(family, data)


def end(wanted: Iterable[Ends], seconds: float) -> list[Ends]:
    """Those of the connections whose socket in another network namespace was ended; a child alone goes there."""
    flows = set(wanted)
    found = [path for _inode, path in list(namespaces().items())[:_MOST]] if flows else []
    if not found:
        return []
    until = time.monotonic() + seconds

    def there() -> str:
        ended: list[Ends] = []
        for path in found:
            if time.monotonic() < until and enter_network(path):
                ended += _end_here(flows)
        return json.dumps(ended)

    said = Child(there).result()
    return [(str(one[0]), str(one[1]), int(one[2]), str(one[3]), int(one[4])) for one in json.loads(said)] if said else []


def _end_here(flows: set[Ends]) -> list[Ends]:
    """Those of the flows that had a socket in this network namespace, which is gone now."""
    ended = []
    for protocol in sorted({flow[0] for flow in flows}):
        for family in (_socket.AF_INET, _socket.AF_INET6):
            head = struct.pack("=BBBB", family, _PROTOCOLS[protocol], 0, 0)
            try:
                messages = ask(_SOCK_DIAG, _BY_FAMILY, head + struct.pack("=I", _STATES) + bytes(48))
            except OSError:
                continue
            for message in messages:
                ends = ends_of(family, protocol, message) if len(message) >= 52 else None
                # With the cookie that the kernel gave it, so that it cannot be the program's other socket, which listens.
                if ends in flows and ends is not None and _destroy(head + struct.pack("=I", 0xFFFFFFFF) + message[_ID]):
                    ended.append(ends)
    return ended


def _destroy(body: bytes) -> bool:
    try:
        with _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _SOCK_DIAG) as channel:
            channel.settimeout(2.0)
            channel.send(struct.pack("=IHHII", 16 + len(body), _DESTROY, _ACK, 1, 0) + body)
            return answer(channel.recv(4096)) == 0
    except OSError:
        return False
