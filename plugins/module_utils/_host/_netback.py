# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel forgets of an interface that is taken down, as the netlink messages that give it back; and by which way it sends.

The kernel's own answers are kept, so that no attribute is lost on the way through anybody's words; `_undo.replay` sends them, also
after a reboot, when interfaces have other numbers: a message says at which places of it which interface's number belongs. Everything
but `gather` and `ways` is pure. Numbers are those of linux/rtnetlink.h, if_addr.h, neighbour.h, nexthop.h and fib_rules.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import time
from typing import TYPE_CHECKING, Iterator, Mapping

from ._netstate import ask, record, split

if TYPE_CHECKING:
    from typing import Any

_U32 = struct.Struct("=I")
_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_REPLACE, _EXCL, _CREATE, _APPEND = 0x100, 0x200, 0x400, 0x800  # NLM_F_* of linux/netlink.h
_SETLINK, _NEWADDR, _NEWROUTE, _NEWNEIGH, _NEWRULE, _NEWNEXTHOP = 19, 20, 24, 28, 32, 104
_GETADDR, _GETROUTE, _GETNEIGH, _GETRULE, _GETNEXTHOP = 22, 26, 30, 34, 106
_UP = 1  # IFF_UP of linux/if.h
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_FOREVER = 0xFFFFFFFF
_ONLINK = 4  # the one of RTNH_F_* that says how a route is meant; the others say how it stands
_BY_KERNEL, _BY_ROUTERS = 2, 9  # RTPROT_KERNEL; RTPROT_RA: they announce it again
_LOCAL = 255
_OBJECT = 30  # RTA_NH_ID: then the next hop is not the route's own, though it is shown with it
_OF_OBJECT = (4, 5, 9, 18, 21, 22)  # RTA_OIF, RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA, RTA_ENCAP_TYPE, RTA_ENCAP
_TICKS = 100  # USER_HZ, in which RTA_CACHEINFO counts
MOST = 20000  # messages that are kept


def attributes(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """(number, content) of the attributes from an offset on."""
    while at + 4 <= len(body):
        size, number = _ATTRIBUTE.unpack_from(body, at)
        if size < 4 or at + size > len(body):
            return
        yield number & 0x3FFF, body[at + 4: at + size]
        at += (size + 3) & ~3


def _attribute(number: int, content: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(content), number) + content + bytes(-len(content) % 4)


def _hops(content: bytes) -> Iterator[tuple[int, int]]:
    """(offset, interface) of the next hops in RTA_MULTIPATH; struct rtnexthop."""
    at = 0
    while at + 8 <= len(content):
        size = struct.unpack_from("=H", content, at)[0]
        if size < 8:
            return
        yield at, _U32.unpack_from(content, at + 4)[0]
        at += (size + 3) & ~3


def outgoing(body: bytes) -> list[int]:
    """The interfaces that a route sends by."""
    found = []
    for number, content in attributes(body, 12):
        if number == 4 and len(content) == 4:
            found.append(_U32.unpack(content)[0])
        elif number == 9:
            found += [index for _at, index in _hops(content)]
    return found


def _message(kind: int, flags: int, body: bytes, at: list[list[object]], ages: list[int] | None = None) -> dict[str, Any]:
    """at: [offset, name of the interface whose number belongs there], ...; ages: offsets of what counts down, the last to the end."""
    return {"type": kind, "flags": flags, "body": body.hex(), "at": at, "ages": ages or [], "seconds": int(time.time()) if ages else 0,
            "of": sorted({str(name) for _offset, name in at})}


def switched(name: str, up: bool) -> dict[str, Any]:
    """The message that takes an interface up or down."""
    return _message(_SETLINK, 0, struct.pack("=BxHiII", 0, 0, 0, _UP if up else 0, _UP), [[4, name]])


def route(body: bytes, names: Mapping[int, str], every: Mapping[int, str] | None = None) -> dict[str, Any] | None:
    """The message for a route; None where it comes back by itself, or leads over none of the interfaces of which `names` are.

    `every`: the names of the others too, for a route with several next hops.
    """
    called = {**(every or {}), **names}
    family, table, protocol = body[0], body[4], body[5]
    if family not in _FAMILIES or (table == _LOCAL and protocol == _BY_KERNEL) or (family == socket.AF_INET6 and protocol == _BY_ROUTERS):
        return None
    found = list(attributes(body, 12))
    by_object = any(number == _OBJECT for number, _content in found)
    new = bytearray(body[:8] + _U32.pack(_U32.unpack_from(body, 8)[0] & _ONLINK))
    at: list[list[object]] = []
    ages: list[int] = []
    over = outgoing(body)
    for number, content in found:
        if number == 12:  # RTA_CACHEINFO, which only tells; RTA_EXPIRES sets
            left = struct.unpack_from("=i", content, 8)[0] // _TICKS if len(content) >= 12 else 0
            if left > 0:
                ages.append(len(new) + 4)
                new += _attribute(23, _U32.pack(left))
        elif by_object and number in _OF_OBJECT:
            continue
        else:
            start = len(new) + 4
            if number == 4 and len(content) == 4:
                at.append([start, called.get(_U32.unpack(content)[0], "")])
            elif number == 9:
                hops = bytearray(content)
                for offset, index in _hops(content):
                    hops[offset + 2] &= _ONLINK
                    at.append([start + offset + 4, called.get(index, "")])
                content = bytes(hops)
            new += _attribute(number, content)
    if not any(index in names for index in over):
        return None
    return _message(_NEWROUTE, _CREATE | _APPEND, bytes(new), [one for one in at if one[1]], ages)


def address(body: bytes, names: Mapping[int, str]) -> dict[str, Any] | None:
    """The message for an address; None for a temporary one, which the kernel makes anew, and for one of another interface."""
    index = _U32.unpack_from(body, 4)[0]
    flags, ages, offset = body[2], [], 8
    for number, content in attributes(body, 8):
        if number == 8 and len(content) == 4:  # IFA_FLAGS
            flags = _U32.unpack(content)[0]
        if number == 6 and len(content) >= 8 and _U32.unpack_from(content, 4)[0] != _FOREVER:
            ages = [offset + 8] if _U32.unpack_from(content)[0] == _FOREVER else [offset + 4, offset + 8]
        offset += (4 + len(content) + 3) & ~3
    if index not in names or body[0] not in _FAMILIES or (body[0] == socket.AF_INET6 and flags & 0x09):  # IFA_F_TEMPORARY, _DADFAILED
        return None
    return _message(_NEWADDR, _CREATE | _EXCL, body, [[4, names[index]]], ages)


def neighbour(body: bytes, names: Mapping[int, str]) -> dict[str, Any] | None:
    """The message for a neighbour that somebody has set, or whom the host answers for; None for those that are learned."""
    index, state, flags = struct.unpack_from("=iHB", body, 4)
    if index not in names or body[0] not in _FAMILIES or not (state & 0x80 or flags & 0x08):  # NUD_PERMANENT, NTF_PROXY
        return None
    kept = b"".join(_attribute(number, content) for number, content in attributes(body, 12) if number in (1, 2, 12, 15))
    return _message(_NEWNEIGH, _CREATE | _REPLACE, body[:12] + kept, [[4, names[index]]])


def hop(body: bytes, names: Mapping[int, str], lost: set[int]) -> dict[str, Any] | None:
    """The message for a next hop that is an object of its own, or a group with one of the `lost` ones, to which it is added then."""
    at: list[list[object]] = []
    # The scope is for the kernel to find; what is not for asking stands in the first eight attributes.
    new = bytearray(struct.pack("=BBBB", body[0], 0, body[2], 0) + _U32.pack(_U32.unpack_from(body, 4)[0] & _ONLINK))
    identity, group = 0, False
    for number, content in attributes(body, 8):
        if number == 1:
            identity = _U32.unpack(content)[0]
        elif number == 2:  # NHA_GROUP: struct nexthop_grp, 8 bytes
            group = any(_U32.unpack_from(content, start)[0] in lost for start in range(0, len(content) - 7, 8))
        elif number == 5 and _U32.unpack(content)[0] in names:
            at.append([len(new) + 4, names[_U32.unpack(content)[0]]])
        if number <= 8:
            new += _attribute(number, content)
    if not (at or group):
        return None
    lost.add(identity)
    return _message(_NEWNEXTHOP, _CREATE | (_REPLACE if group else _EXCL), bytes(new), at)


def rule(body: bytes, names: set[str], tables: set[int]) -> dict[str, Any] | None:
    """The message for a rule that speaks of one of the interfaces, or of a table that has a route over one."""
    said = dict(attributes(body, 12))
    named = {said.get(number, b"").split(b"\0")[0].decode("utf-8", "surrogateescape") for number in (3, 17)}  # FRA_IIFNAME, FRA_OIFNAME
    table = _U32.unpack(said[15])[0] if len(said.get(15, b"")) == 4 else body[4]
    if body[0] not in _FAMILIES or not (named & names or table in tables):
        return None
    body = body[:8] + _U32.pack(_U32.unpack_from(body, 8)[0] & 2) + body[12:]  # of the flags only FIB_RULE_INVERT is for us to say
    return _message(_NEWRULE, _CREATE | _EXCL, body, [])


def table_of(body: bytes) -> int:
    """The routing table of a route."""
    return next((_U32.unpack(content)[0] for number, content in attributes(body, 12) if number == 15 and len(content) == 4), body[4])


def read_route(message: Mapping[str, Any]) -> dict[str, object] | None:
    """Of a message: the route in it, as `_netstate.dump` tells routes."""
    return record("routes", bytes.fromhex(str(message["body"]))) if message.get("type") == _NEWROUTE else None


def gather(names: Mapping[int, str], up: list[str], every: Mapping[int, str]) -> list[dict[str, Any]]:
    """The messages, in the order in which they are to be sent, that give the interfaces of `names` (number -> name) back what they have;
    `up`: in which order they are taken up; `every`: of all interfaces. Raises OSError, also where that would be more than `MOST`."""
    route_bodies = ask(socket.NETLINK_ROUTE, _GETROUTE, bytes(12))
    routes = [message for message in (route(body, names, every) for body in route_bodies) if message is not None]
    tables = {table_of(body) for body in route_bodies if set(outgoing(body)) & set(names)} - {253, 254, _LOCAL}
    addresses = [message for message in (address(body, names) for body in ask(socket.NETLINK_ROUTE, _GETADDR, bytes(8))) if message is not None]
    four, six = ([one for one in addresses if one["body"].startswith(family)] for family in ("02", "0a"))
    asked = ask(socket.NETLINK_ROUTE, _GETNEIGH, bytes(12)) + ask(socket.NETLINK_ROUTE, _GETNEIGH, bytes(10) + b"\x08\0")  # NTF_PROXY
    neighbours = [message for message in (neighbour(body, names) for body in asked) if message is not None]
    rules = [message for message in (rule(body, set(names.values()), tables) for body in ask(socket.NETLINK_ROUTE, _GETRULE, bytes(12)))
             if message is not None]
    lost: set[int] = set()
    try:
        hops = [message for message in (hop(body, names, lost) for body in ask(socket.NETLINK_ROUTE, _GETNEXTHOP, bytes(8))) if message is not None]
    except OSError:  # before Linux 5.3 there are none
        hops = []
    # The kernel puts a new address of IPv6 before the others of its scope.
    found = [*(switched(name, True) for name in up), *four, *reversed(six), *neighbours, *hops,
             *routes, *rules]
    if len(found) > MOST:
        raise OSError(errno.E2BIG, "more than {0} addresses, routes and neighbours".format(MOST))
    return found


def ways(target: str, source: str = "") -> list[int]:
    """The interfaces by which this host sends to an address, as its rules and routes say; none where it has no way. Raises OSError."""
    to = ipaddress.ip_address(target).packed
    wanted = _attribute(1, to)
    if source:
        wanted += _attribute(2, ipaddress.ip_address(source).packed)
    size = len(to) * 8
    for flags in (0x2000, 0):  # RTM_F_FIB_MATCH: the whole route, with every next hop; where that shows none, the one that is taken
        body = struct.pack("=BBBBBBBBI", socket.AF_INET if size == 32 else socket.AF_INET6, size, size if source else 0, 0, 0, 0, 0, 0, flags)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as channel:
            channel.settimeout(2)
            channel.send(_HEAD.pack(_HEAD.size + len(body + wanted), _GETROUTE, 1, 1, 0) + body + wanted)
            try:
                bodies, _done = split(channel.recv(65536))
            except OSError as error:
                if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
                    return []
                raise
        found = [index for answer in bodies for index in outgoing(answer)]
        if found:
            return found
    return []
