# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel tracks of the connections that were cut: deleted, so that none goes on after release by an old entry, NAT included.

Our rules do not need connection tracking, and where none is loaded this file is not even imported.
"""

from __future__ import annotations

import ipaddress
import os

from .._host._conntrack import Entry, delete, read, tracked
from .._host._sockets import Socket, own_addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._policy import Plan

    End = tuple[str, int]

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp", 136: "udplite"}
# An attacker can fill the table: entries that are looked at, seconds for that, for what is deleted, and for sockets of containers.
_MOST, _READING, _DELETING, _ENDING = 50000, 1.0, 1.0, 1.0
_NAMED = 100
_DHCP = ({67, 68}, {546, 547})
LOCAL, FORWARDED = "local", "forwarded"


def cut(plan: Plan, entry: Entry, own: set[str]) -> str:
    """Whether the plan cuts what an entry stands for: LOCAL, FORWARDED or "", which is left alone."""
    # The real ends: whoever began, and whoever answers, which is not always whom the first packet was sent to.
    began, answers = (entry.source, entry.source_port), (entry.answer_source, entry.answer_source_port)
    seen_answering, seen_beginning = (entry.target, entry.target_port), (entry.answer_target, entry.answer_target_port)
    ours, theirs = _own(entry.source, own), _own(entry.answer_source, own)
    if ours and theirs:
        return ""
    if ours:
        views = [(began, seen_answering), (seen_beginning, answers)]
    elif theirs or _to_many(entry.target):
        views = [(answers, seen_beginning), (seen_answering, began)]
    else:
        return FORWARDED  # by every rule of ours for what passes through
    sockets = [_socket(entry, *view) for view in views]
    kept = any(plan.is_session(one) for one in sockets) or all(plan.allows(one) or _leased(plan, one) for one in sockets)
    return "" if kept else LOCAL


def _own(address: str, own: set[str]) -> bool:
    return address in own or ipaddress.ip_address(address).is_loopback


def _to_many(address: str) -> bool:
    return address == "255.255.255.255" or ipaddress.ip_address(address).is_multicast


def _socket(entry: Entry, local: End, remote: End) -> Socket:
    return Socket(_PROTOCOLS.get(entry.protocol, str(entry.protocol)), entry.family, *local, *remote, "ESTABLISHED", 0, 0)


def _leased(plan: Plan, one: Socket) -> bool:
    """Whether this may be how the host keeps an address that it has for a time only."""
    return one.protocol == "udp" and bool(plan.leases) and {one.local_port, one.remote_port} in _DHCP


def end(plan: Plan, root: str = "/") -> dict[str, object]:
    """Delete the entries of what the plan cuts, and end the sockets of containers at which forwarded ones of them end.

    {"deleted": n; "forwarded": what of it only passed through the host, in words, at most 100; "ended": sockets of other network
    namespaces; "not_ended": forwarded connections of TCP whose ends are not on this host, or stayed; "left": entries that could not
    be deleted; "not_looked_at": entries that there was no time for}.
    """
    result: dict[str, object] = {"deleted": 0, "forwarded": [], "ended": 0, "not_ended": 0, "left": 0, "not_looked_at": 0}
    own = own_addresses(os.path.join(root, "proc"))
    try:
        entries, complete = read(_MOST, _READING)
    except OSError:
        result["not_looked_at"] = tracked(root)
        return result
    if not complete:
        result["not_looked_at"] = max(1, tracked(root) - len(entries))
    forbidden = {entry: kind for entry in entries for kind in [cut(plan, entry, own)] if kind}
    try:
        result["deleted"], result["left"] = delete(list(forbidden), _DELETING)
    except OSError:
        result["left"] = len(forbidden)
    through = [entry for entry, kind in forbidden.items() if kind == FORWARDED]
    if through:
        result["forwarded"] = [_words(entry) for entry in through[:_NAMED]]
        result["ended"], result["not_ended"] = _end_sockets(through)
    return result


def _words(entry: Entry) -> str:
    protocol = _PROTOCOLS.get(entry.protocol, "protocol {0}".format(entry.protocol))
    return "{0} {1} > {2}".format(protocol, _end(entry.source, entry.source_port), _end(entry.answer_source, entry.answer_source_port))


def _end(address: str, port: int) -> str:
    if not port:
        return address
    return "[{0}]:{1}".format(address, port) if ":" in address else "{0}:{1}".format(address, port)


def _end_sockets(through: list[Entry]) -> tuple[int, int]:
    """How many sockets of containers were ended, and how many connections of TCP had none.

    Without its entry a connection is taken up again as a new one as soon as the container sends (tcp_loose): the socket must go.
    """
    from .._host._sock_there import end as end_there

    sides = {}
    for entry in through:
        protocol = _PROTOCOLS.get(entry.protocol, "")
        if protocol in ("tcp", "udp"):
            sides[entry] = [(protocol, entry.source, entry.source_port, entry.target, entry.target_port),
                            (protocol, entry.answer_source, entry.answer_source_port, entry.answer_target, entry.answer_target_port)]
    try:
        ended = set(end_there([side for both in sides.values() for side in both], _ENDING))
    except OSError:  # the other network namespaces cannot be told
        ended = set()
    return len(ended), sum(1 for entry, both in sides.items() if both[0][0] == "tcp" and not entry.over and not ended.intersection(both))
