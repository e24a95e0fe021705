# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages to and from ctnetlink, and sockets as the kernel's diagnosis shows them."""

from __future__ import annotations

import socket
import struct

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._host import _conntrack, _sock_there


def attribute(number: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)


def side(source: str, target: str, protocol: int, ports: tuple[int, int] | None) -> bytes:
    """The inside of a CTA_TUPLE."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    first = 3 if ":" in source else 1
    ends = attribute(first, socket.inet_pton(family, source)) + attribute(first + 1, socket.inet_pton(family, target))
    kind = attribute(1, bytes([protocol]))
    for number, port in enumerate(ports or (), 2):
        kind += attribute(number, struct.pack("!H", port))
    return attribute(0x8001, ends) + attribute(0x8002, kind)


def message(first: bytes, reply: bytes, family: int = socket.AF_INET, zone: int | None = None) -> bytes:
    body = struct.pack("=BBH", family, 0, 0) + attribute(0x8001, first) + attribute(0x8002, reply)
    if zone is not None:
        body += attribute(18, struct.pack("!H", zone))
    return body + attribute(3, struct.pack("!I", 14))


FIRST = side("172.19.0.2", "203.0.113.66", 6, (40000, 4444))
REPLY = side("203.0.113.66", "10.66.0.113", 6, (4444, 40000))


def test_an_entry_has_the_ends_of_both_directions():
    entry = _conntrack.parse(message(FIRST, REPLY))
    assert entry is not None
    assert entry[:-1] == (4, 6, "172.19.0.2", 40000, "203.0.113.66", 4444, "203.0.113.66", 4444, "10.66.0.113", 40000, False)


@pytest.mark.parametrize(("state", "over"), [(3, False), (6, False), (7, True), (8, True)])
def test_a_connection_that_has_ended_is_known(state, over):
    told = attribute(0x8004, attribute(0x8001, attribute(1, bytes([state]))))
    entry = _conntrack.parse(message(FIRST, REPLY) + told)
    assert entry is not None and entry.over is over


def test_an_entry_of_ipv6_without_ports():
    entry = _conntrack.parse(message(side("fd66::1", "2001:db8::1", 58, None), side("2001:db8::1", "fd66::1", 58, None), socket.AF_INET6))
    assert entry is not None
    assert (entry.family, entry.protocol, entry.source, entry.source_port, entry.answer_source) == (6, 58, "fd66::1", 0, "2001:db8::1")


@pytest.mark.parametrize("body", [
    b"", bytes(4), bytes(100), b"\x02\x00\x00\x00\xff\xff\x01\x80", message(FIRST, REPLY)[:40], message(FIRST, REPLY, 7), message(FIRST, b""),
    message(attribute(0x8001, attribute(1, b"\x01\x02")) + attribute(0x8002, attribute(1, b"\x06")), REPLY)])
def test_what_is_no_entry_is_left_out(body):
    assert _conntrack.parse(body) is None


def test_a_deletion_names_the_entry_and_its_zone():
    entry = _conntrack.parse(message(FIRST, REPLY, zone=7))
    assert entry is not None
    sent = _conntrack.request(entry, 5)
    length, kind, flags, number, _pid = struct.unpack_from("=IHHII", sent)
    assert (length, kind, flags, number) == (len(sent), 0x102, 5, 5)
    assert sent[16:20] == struct.pack("=BBH", socket.AF_INET, 0, 0)
    assert sent[20:] == attribute(0x8001, FIRST) + attribute(18, struct.pack("!H", 7))


def test_no_message_deletes_everything():
    entry = _conntrack.parse(message(FIRST, REPLY))
    assert entry is not None
    with pytest.raises(ValueError, match="key"):
        _conntrack.request(entry._replace(key=b"\x02"))


def test_nothing_is_tracked_where_the_kernel_shows_no_count(tmp_path):
    assert _conntrack.tracked(str(tmp_path)) == 0
    count = tmp_path / "proc/sys/net/netfilter/nf_conntrack_count"
    count.parent.mkdir(parents=True)
    count.write_text("12\n", encoding="ascii")
    assert _conntrack.tracked(str(tmp_path)) == 12


@pytest.mark.parametrize(("family", "source", "shown"), [
    (socket.AF_INET, socket.inet_aton("10.0.0.2") + bytes(12), "10.0.0.2"),
    (socket.AF_INET6, bytes(10) + b"\xff\xff" + socket.inet_aton("10.0.0.2"), "10.0.0.2"),
    (socket.AF_INET6, socket.inet_pton(socket.AF_INET6, "fd66::2"), "fd66::2")])
def test_a_socket_is_known_by_its_ends(family, source, shown):
    diagnosed = bytes([family, 1, 0, 0]) + struct.pack("!HH", 40000, 4444) + source + source + bytes(12)
    assert _sock_there.ends_of(family, "tcp", diagnosed) == ("tcp", shown, 40000, shown, 4444)
