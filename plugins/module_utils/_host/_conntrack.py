# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connections that the kernel tracks, read and deleted by ctnetlink (linux/netfilter/nfnetlink_conntrack.h).

`parse` and `request` are pure. Nobody asks or deletes who has not seen by `tracked` that something is: a request to ctnetlink would have
the kernel load modules, on hosts that do well without them.
"""

from __future__ import annotations

import errno
import os
import socket as _socket
import struct
import time
from typing import NamedTuple

from ._netstate import attributes, pieces
from ._sock_diag import answer

_NETFILTER = 12  # NETLINK_NETFILTER of linux/netlink.h
_GET, _DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET and _DELETE
_ACK = 0x5  # NLM_F_REQUEST | NLM_F_ACK
_ORIGINAL, _REPLY, _ZONE = 1, 2, 18  # CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ZONE
_STATE, _OVER = 4, (b"\x07", b"\x08")  # CTA_PROTOINFO; TCP_CONNTRACK_TIME_WAIT and _CLOSE of nf_conntrack_tcp.h
_FAMILIES = {int(_socket.AF_INET): 4, int(_socket.AF_INET6): 6}
_AT_ONCE = 64  # messages: their answers must fit a socket's buffer
_COUNT = "proc/sys/net/netfilter/nf_conntrack_count"


class Entry(NamedTuple):
    """One tracked connection: the first packet's ends as it was sent, and those of its answer, which differ where it is rewritten.

    family: 4 or 6; protocol: the number in the IP header; ports are 0 where a protocol has none; over: whether the kernel saw a
    connection of TCP end; key: what it knows the entry by.
    """

    family: int
    protocol: int
    source: str
    source_port: int
    target: str
    target_port: int
    answer_source: str
    answer_source_port: int
    answer_target: str
    answer_target_port: int
    over: bool
    key: bytes


def tracked(root: str = "/") -> int:
    """How many connections this network namespace tracks; 0 where nothing does, or that is not loaded."""
    try:
        with open(os.path.join(root, _COUNT), "rb") as count:
            return int(count.read(32))
    except (OSError, ValueError):
        return 0


def parse(body: bytes) -> Entry | None:
    """The entry in one message of the dump; None where it is none."""
    family = _FAMILIES.get(body[0]) if len(body) > 4 else None
    found = attributes(body, 4)
    if family is None or _ORIGINAL not in found or _REPLY not in found:
        return None
    first, reply = _tuple(found[_ORIGINAL]), _tuple(found[_REPLY])
    if first is None or reply is None:
        return None
    key = _attribute(_ORIGINAL | 0x8000, found[_ORIGINAL])  # NLA_F_NESTED
    if _ZONE in found:
        key += _attribute(_ZONE, found[_ZONE])
    state = attributes(attributes(found.get(_STATE, b"")).get(1, b"")).get(1, b"")  # CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE
    return Entry(family, first[0], *first[1:], *reply[1:], state in _OVER, bytes([body[0]]) + key)


def _tuple(data: bytes) -> tuple[int, str, int, str, int] | None:
    """Protocol, source, port, target, port of a nested CTA_TUPLE."""
    parts = attributes(data)
    ends, kind = attributes(parts.get(1, b"")), attributes(parts.get(2, b""))  # CTA_TUPLE_IP, CTA_TUPLE_PROTO
    source, target = ends.get(1) or ends.get(3, b""), ends.get(2) or ends.get(4, b"")
    if len(source) not in (4, 16) or len(target) != len(source) or not kind.get(1):
        return None
    family = _socket.AF_INET if len(source) == 4 else _socket.AF_INET6
    ports = [struct.unpack("!H", kind[number])[0] if len(kind.get(number, b"")) == 2 else 0 for number in (2, 3)]
    return kind[1][0], _socket.inet_ntop(family, source), ports[0], _socket.inet_ntop(family, target), ports[1]


def _attribute(number: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)


def read(most: int, seconds: float) -> tuple[list[Entry], bool]:
    """Entries of this network namespace, at most so many, read for so long; and whether that is all of them. Raises OSError."""
    found: list[Entry] = []
    end = time.monotonic() + seconds
    for bodies in pieces(_NETFILTER, _GET, bytes(4), seconds + 1):
        found += [entry for entry in map(parse, bodies) if entry is not None]
        if len(found) >= most or time.monotonic() > end:
            return found[:most], False
    return found, True


def request(entry: Entry, number: int = 1) -> bytes:
    """The netlink message that deletes one entry. Without a key it would delete all of them, so there is none without."""
    if len(entry.key) < 5:
        raise ValueError("an entry without a key")
    body = struct.pack("=BBH", entry.key[0], 0, 0) + entry.key[1:]
    return struct.pack("=IHHII", 16 + len(body), _DELETE, _ACK, number, 0) + body


def delete(entries: list[Entry], seconds: float) -> tuple[int, int]:
    """How many of the entries were deleted, and how many could not be in that time; some may have gone by themselves. Raises OSError."""
    deleted = failed = 0
    end = time.monotonic() + seconds
    with _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETFILTER) as channel:
        channel.settimeout(seconds)
        for begin in range(0, len(entries), _AT_ONCE):
            if time.monotonic() > end:
                return deleted, failed + len(entries) - begin
            some = entries[begin:begin + _AT_ONCE]
            channel.send(b"".join(request(entry, number) for number, entry in enumerate(some, 1)))
            for _entry in some:
                code = answer(channel.recv(4096))
                deleted += code == 0
                failed += code not in (0, errno.ENOENT)
    return deleted, failed
