# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links, addresses, routes, rules and neighbours of the network namespace, straight from NETLINK_ROUTE.

`parse` and `split` take bytes of the kernel and are tested without it; `ask` alone talks to it, and `dump` by it. Numbers of messages and attributes are
those of linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h, neighbour.h and fib_rules.h.
"""

from __future__ import annotations

import os
import socket
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_INT = struct.Struct("=I")

# name: (request, struct of the fixed part, names of its fields, {attribute: (name, kind)}); kinds: a address, i 32-bit
# number, c the seconds that are left by IFA_CACHEINFO, k the kind within IFLA_LINKINFO, m hardware address, s text,
# x whether IFLA_XDP says that a program is attached.
TABLES: dict[str, tuple[int, str, tuple[str, ...], dict[int, tuple[str, str]]]] = {
    "links": (
        18, "=BxHiII", ("family", "type", "index", "flags", "change"),
        {1: ("address", "m"), 3: ("name", "s"), 4: ("mtu", "i"), 5: ("link", "i"), 6: ("qdisc", "s"),
         10: ("master", "i"), 18: ("kind", "k"), 20: ("alias", "s"), 30: ("promiscuity", "i"), 43: ("xdp", "x")},
    ),
    "qdiscs": (38, "=BxxxiIII", ("family", "index", "handle", "parent", "info"), {1: ("kind", "s")}),
    "addresses": (
        22, "=BBBBI", ("family", "prefix", "flags", "scope", "index"),
        {1: ("address", "a"), 2: ("local", "a"), 3: ("label", "s"), 4: ("broadcast", "a"), 6: ("valid", "c")},
    ),
    "routes": (
        26, "=BBBBBBBBI", ("family", "destination_prefix", "source_prefix", "tos", "table", "protocol", "scope", "type", "flags"),
        {1: ("destination", "a"), 2: ("source", "a"), 4: ("out", "i"), 5: ("gateway", "a"), 6: ("priority", "i"),
         7: ("preferred_source", "a"), 15: ("table", "i")},
    ),
    "rules": (
        34, "=BBBBBBBBI", ("family", "destination_prefix", "source_prefix", "tos", "table", "res1", "res2", "action", "flags"),
        {1: ("destination", "a"), 2: ("source", "a"), 3: ("in", "s"), 6: ("priority", "i"), 10: ("mark", "i"),
         15: ("table", "i"), 17: ("out", "s")},
    ),
    "neighbours": (
        30, "=BxxxiHBB", ("family", "index", "state", "flags", "type"),
        {1: ("address", "a"), 2: ("hardware", "m")},
    ),
}


def _value(kind: str, data: bytes) -> object:
    if kind == "a" and len(data) in (4, 16):
        return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)
    if kind == "i" and len(data) == 4:
        return _INT.unpack(data)[0]
    if kind == "c" and len(data) >= 8:
        return _INT.unpack_from(data, 4)[0]
    if kind == "s":
        return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    if kind == "k":  # IFLA_INFO_KIND
        return _nested(data, 1).split(b"\0", 1)[0].decode("ascii", "replace")
    if kind == "x":  # IFLA_XDP_ATTACHED
        return _nested(data, 2)[:1] not in (b"", b"\0")
    return data.hex(":") if kind == "m" else data.hex()


def _nested(data: bytes, wanted: int) -> bytes:
    """One of the attributes inside an attribute; empty where there is none."""
    return attributes(data).get(wanted, b"")


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """The attributes in some bytes, from a place on, by number."""
    found: dict[int, bytes] = {}
    while at + 4 <= len(data):
        size, number = _ATTRIBUTE.unpack_from(data, at)
        if size < 4:
            break
        found.setdefault(number & 0x3FFF, data[at + 4: at + size])
        at += (size + 3) & ~3
    return found


def parse(table: str, data: bytes) -> tuple[list[dict[str, object]], bool]:
    """The records of one answer, and whether the dump ends with it. Raises OSError where the kernel answers an error."""
    bodies, done = split(data)
    return [one for one in (record(table, body) for body in bodies) if one is not None], done


def split(data: bytes) -> tuple[list[bytes], bool]:
    """What stands in the messages of one answer to any dump, and whether it ends with them. Raises OSError for an error in it."""
    bodies: list[bytes] = []
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _flags, _sequence, _pid = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            break
        body = data[at + _HEADER.size: at + length]
        at += (length + 3) & ~3
        if kind == _DONE:
            return bodies, True
        if kind == _ERROR:
            code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 5
            raise OSError(code, os.strerror(code))
        bodies.append(body)
    return bodies, False


def record(table: str, body: bytes) -> dict[str, object] | None:
    """One record, of what stands in a message; None where that is too short."""
    _request, fixed, names, attributes = TABLES[table]
    head = struct.Struct(fixed)
    if len(body) < head.size:
        return None
    found: dict[str, object] = dict(zip(names, head.unpack_from(body)))
    offset = (head.size + 3) & ~3
    while offset + 4 <= len(body):
        size, number = _ATTRIBUTE.unpack_from(body, offset)
        if size < 4 or offset + size > len(body):
            break
        known = attributes.get(number & 0x3FFF)
        if known is not None:
            found[known[0]] = _value(known[1], body[offset + 4: offset + size])
        offset += (size + 3) & ~3
    return found


def dump(table: str, seconds: float = 2.0) -> list[dict[str, object]]:
    """All records of one of `TABLES`, every family, every routing table. Raises OSError, also where time runs out."""
    request, fixed = TABLES[table][:2]
    bodies = ask(socket.NETLINK_ROUTE, request, bytes(struct.calcsize(fixed)), seconds)
    return [one for one in (record(table, body) for body in bodies) if one is not None]


def ask(protocol: int, request: int, body: bytes, seconds: float = 2.0) -> list[bytes]:
    """What stands in every message of the kernel's answer to a dump, by any netlink protocol. Raises OSError, also where time runs out."""
    return [one for bodies in pieces(protocol, request, body, seconds) for one in bodies]


def pieces(protocol: int, request: int, body: bytes, seconds: float = 2.0) -> Iterator[list[bytes]]:
    """The same piece by piece, for whoever may have enough before the end."""
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as channel:
        channel.settimeout(seconds)
        channel.send(_HEADER.pack(_HEADER.size + len(body), request, _DUMP, 1, 0) + body)
        done = False
        while not done:
            if time.monotonic() > end:
                raise OSError(110, "the kernel's answer does not end")
            bodies, done = split(channel.recv(262144))
            yield bodies
