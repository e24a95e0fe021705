# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages to and from NETLINK_SOCK_DIAG."""

from __future__ import annotations

import errno
import struct

from ansible_collections.firebreak.response.plugins.module_utils._host import _sock_diag
from ansible_collections.firebreak.response.plugins.module_utils._host._sockets import Socket


def test_request_carries_both_ends_in_network_order():
    message = _sock_diag.request(Socket("tcp", 4, "10.0.0.2", 40092, "198.51.100.7", 4444, "ESTABLISHED", 0, 1))
    assert len(message) == struct.unpack_from("=I", message)[0] == 72
    assert message[24:28] == struct.pack("!HH", 40092, 4444)
    assert message[28:32] == bytes([10, 0, 0, 2]) and message[44:48] == bytes([198, 51, 100, 7])


def test_mapped_address_is_asked_for_as_ipv6():
    message = _sock_diag.request(Socket("tcp", 6, "10.0.0.2", 1, "10.0.0.1", 2, "ESTABLISHED", 0, 1))
    assert message[28:44] == b"\x00" * 10 + b"\xff\xff" + bytes([10, 0, 0, 2])


def told(port: int, peer: int, address: bytes, kind: int = 20) -> bytes:
    """What the kernel says of an IPv4 socket, with the cookie "cookie.."."""
    ends = struct.pack("!HH16s16s", port, peer, bytes([10, 0, 0, 2]), address)
    return struct.pack("=IHHIIBBBB", 88, kind, 0, 0, 0, 2, 1, 0, 0) + ends + struct.pack("=I8s5I", 0, b"cookie..", 0, 0, 0, 0, 7)


def test_only_the_very_socket_is_taken_for_it():
    ours = Socket("tcp", 4, "10.0.0.2", 22, "198.51.100.7", 4444, "ESTABLISHED", 0, 1)
    peer = bytes([198, 51, 100, 7])
    assert _sock_diag.found(ours, told(22, 4444, peer)) == b"cookie.."
    assert _sock_diag.request(ours, cookie=b"cookie..").endswith(b"cookie..")
    for other in (told(22, 0, bytes(4)), told(22, 4445, peer), told(22, 4444, peer, 2), told(22, 4444, peer)[:60], b""):
        assert _sock_diag.found(ours, other) == b""


def test_answers_that_are_none_are_errors():
    assert _sock_diag.answer(b"") == errno.EPROTO
    assert _sock_diag.answer(struct.pack("=IHHII", 20, 3, 0, 0, 0) + b"\x00" * 4) == errno.EPROTO
    assert _sock_diag.answer(struct.pack("=IHHIIi", 36, 2, 0, 0, 0, -errno.ENOENT)) == errno.ENOENT


def test_a_protocol_that_the_kernel_cannot_end_is_said():
    assert _sock_diag.destroy(Socket("sctp", 4, "10.0.0.2", 1, "10.0.0.1", 2, "ESTABLISHED", 0, 1)) == "unsupported"
