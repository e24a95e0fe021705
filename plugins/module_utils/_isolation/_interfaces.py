# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which interfaces an isolation takes down, and how they come back. What decides is pure; `Interfaces` talks to the kernel.

Whatever carries the management session stays up, with all that it is built on, and so does every interface over which a system
that may still talk to the host is reached.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Callable, Mapping, Sequence

from .._errors import HostError
from .._host import _netback
from .._host._netstate import dump
from .._text import printable
from ._commands import find
from . import _undo

if TYPE_CHECKING:
    from typing import Any

    from .._host._session import Session
    from ._policy import Network, Plan

    Link = Mapping[str, object]

_UP, _LOOPBACK = 1, 8  # IFF_* of linux/if.h
_JOINED = ("bridge", "bond", "team")  # built on those whose master they are
_SAMPLES = 20000
_SESSION = "carries the management session"


def built_on(links: Mapping[object, Link], start: object) -> list[object]:
    """The numbers of the interfaces that one is built on, itself not among them: a VLAN's parent, a bond's members, a bridge's ports,
    the other end of a pair with what that is a port of, and the VRF that it belongs to. `links`: by number."""
    waiting, found = [start], [start]
    while waiting:
        one = links.get(waiting.pop())
        if one is None:
            continue
        more: list[object] = []
        under = links.get(one.get("link"))
        if under is not None and (one.get("kind") != "veth" or under.get("link") == one.get("index")):
            more.append(under.get("index"))
            # Whatever comes out of the other end of a pair comes from the bridge that it is a port of.
            more += [under.get("master")] if one.get("kind") == "veth" else []
        if one.get("kind") in _JOINED:
            more += [index for index, other in links.items() if other.get("master") == one.get("index")]
        if links.get(one.get("master"), {}).get("kind") == "vrf":
            more.append(one.get("master"))
        for index in more:
            if index in links and index not in found:
                found.append(index)
                waiting.append(index)
    return found[1:]


def carriers(
    session: Session, links: Mapping[object, Link], addresses: Sequence[Mapping[str, object]], ways: Callable[[str, str], list[int]],
) -> list[object]:
    """The interfaces by which the management session comes in. Raises HostError where that cannot be told.

    `ways`: (address, the host's own) -> interfaces that lead there, as `_netback.ways`.
    """
    owners = [one.get("index") for one in addresses if (one.get("local") or one.get("address")) == session.server_address]
    if ipaddress.ip_address(session.server_address).is_link_local:
        out: list[object] = list(owners) if len(owners) == 1 else []
    else:
        out = list(ways(session.peer_address, session.server_address))
    found = [index for index in out if index in owners]
    if not found or any(number(links.get(index, {}).get("flags")) & _LOOPBACK for index in found):
        raise HostError(
            "interfaces_down: which interface carries management cannot be told: the management session's own address and the way to its"
            " peer are not at the same one; nothing was changed. Leave interfaces_down out, or come in at the address of the interface"
            " that leads to you")
    return sorted({*found, *out}, key=str)


def number(value: object) -> int:
    """A number of the kernel's; 0 where there is none."""
    return value if isinstance(value, int) else 0


def samples(network: Network, inner: Sequence[tuple[int, int, int]]) -> list[str]:
    """Addresses of a network of which each is reached by another route, or might be: where its parts begin, and what follows on them.

    `inner`: (version, first address, last address) of where routes lead to, of any network.
    """
    start, last = int(network.network_address), int(network.broadcast_address)
    marks = {start}
    for version, first, end in inner:
        if version == network.version and start <= first and end <= last:
            marks |= {first, end + 1}
    kind = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    # The very first address of a network may be one of the host's own kinds: broadcast or anycast.
    return [str(kind(value)) for mark in sorted(marks) for value in (mark, mark + 1) if value <= last]


def destination(route: Mapping[str, object]) -> Network | None:
    """Where a unicast route leads to, unless everywhere."""
    if route.get("type") != 1 or not route.get("destination_prefix") or not route.get("destination"):
        return None
    return ipaddress.ip_network("{0}/{1}".format(route["destination"], route["destination_prefix"]), strict=False)


def kept(
    plan: Plan, session: Session, links: Mapping[object, Link], addresses: Sequence[Mapping[str, object]],
    routes: Sequence[Mapping[str, object]], ways: Callable[[str, str], list[int]],
) -> dict[object, str]:
    """The interfaces that stay up, by number, and why. Raises HostError where the one of the session cannot be told."""
    why: dict[object, str] = dict.fromkeys(carriers(session, links, addresses, ways), _SESSION)
    asked = 0
    inner = sorted({(one.version, int(one.network_address), int(one.broadcast_address)) for one in map(destination, routes) if one is not None})
    for network in plan.peers():
        # Who comes in is answered from the address that he came in at; of management that is known.
        own = session.server_address if any(network.overlaps(one) for one in plan.management if one.version == network.version) else ""
        same = bool(own) and ipaddress.ip_address(own).version == network.version
        for address in samples(network, inner):
            asked += 1
            if asked > _SAMPLES:
                raise HostError("interfaces_down: the host has too many routes to tell which interfaces must stay up; nothing was changed")
            for out in {*ways(address, ""), *(ways(address, own) if same else [])}:
                why.setdefault(out, "leads to {0}".format(network))
    for index in list(why):
        for under in built_on(links, index):
            why.setdefault(under, "is under {0}".format(printable(str(links[index].get("name")), 64)) if index in links else "")
    return {index: reason for index, reason in why.items() if index in links and not number(links[index].get("flags")) & _LOOPBACK}


def in_order(links: Mapping[object, Link], names: Sequence[str]) -> list[str]:
    """Names of interfaces, those that others are built on first: a VLAN cannot be up while its parent is down."""
    by_name = {str(one.get("name")): index for index, one in links.items()}
    return sorted(names, key=lambda name: (len(built_on(links, by_name.get(name))), number(by_name.get(name))))


def touching(messages: Sequence[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    """Those of the recorded messages that give something to one of the interfaces, and the rules, which belong to none."""
    return [one for one in messages if not one["of"] or set(texts(one["of"])) & names]


def texts(value: object) -> list[str]:
    """A list of names in a record."""
    return [str(one) for one in value] if isinstance(value, list) else []


def whole(record: object) -> dict[str, Any]:
    """A record as the work folder has it, without what somebody may have made of it: {"names": of what shall be down, "up": of those
    the ones that were up, "kept": [{"device", "why"}], "messages": as `_netback.gather` gives them}."""
    data = record if isinstance(record, dict) else {}
    stay, messages = data.get("kept"), data.get("messages")
    return {
        "names": texts(data.get("names")), "up": texts(data.get("up")),
        "kept": [{"device": str(one.get("device")), "why": str(one.get("why"))} for one in stay if isinstance(one, dict)] if isinstance(stay, list) else [],
        "messages": [one for one in messages if isinstance(one, dict) and _hex(one.get("body")) and isinstance(one.get("of"), list)]
        if isinstance(messages, list) else [],
    }


def _hex(text: object) -> bool:
    try:
        return len(bytes.fromhex(str(text))) >= 8
    except ValueError:
        return False


def together(now: object, then: object) -> dict[str, Any]:
    """A record by which what either of two took down comes back."""
    new, old = whole(now), whole(then)
    return {
        "names": sorted({*new["names"], *old["names"]}), "up": [*old["up"], *(name for name in new["up"] if name not in old["up"])],
        "kept": new["kept"] if isinstance(now, dict) else old["kept"],
        "messages": [*old["messages"], *(one for one in new["messages"] if one not in old["messages"])],
    }


def back(now: object, then: object) -> list[dict[str, object]]:
    """Steps for `_undo.perform` from one record to another; a record is what `Interfaces.record` gives, or nothing."""
    new, old = whole(now), whole(then)
    down, before = new["up"], old["up"]
    up = set(down) - set(before)
    steps: list[dict[str, object]] = []
    if up:
        steps.append({"netlink": touching(new["messages"], up)})
    if set(before) - set(down):
        steps.append({"netlink": [_netback.switched(name, False) for name in before if name not in down]})
    return steps


class Interfaces:
    """What is to be done about the interfaces. lower: names of those that are up and shall not be; lift: of those that are down and
    shall be up again; again: of those that somebody has taken up meanwhile."""

    def __init__(self, record: object, root: str = "/") -> None:
        self.old = whole(record)
        self.there = isinstance(record, dict)
        self.record: dict[str, Any] | None = None
        self.root = root
        self.lower: list[str] = []
        self.lift: list[str] = []
        self.again: list[str] = []

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.lower or self.lift) or self.there != (self.record is not None)

    def choose(self, plan: Plan, session: Session, same_plan: bool) -> None:
        """Decide, and record what the kernel will forget. Nothing is changed. Raises HostError where it cannot be.

        `same_plan`: what is in force was made of this very plan, so that what stayed up for it stays up.
        """
        if session.source == "none":
            raise HostError(
                "interfaces_down: no SSH session tells which interface carries management, so that it could be left up; nothing was"
                " changed. Leave interfaces_down out where the connection is a local one")
        if find("ip", self.root) is None:
            raise HostError("interfaces_down: the host has no ip (iproute2), by which they would be kept down; nothing was changed")
        try:
            found, routes = dump("links"), dump("routes")
            links: dict[object, Link] = {one.get("index"): one for one in found}
            stay = kept(plan, session, links, dump("addresses"), routes, _netback.ways)
            names = {str(links[index].get("name")): reason for index, reason in stay.items()}
            for one in self._kept_before(plan, same_plan):
                names.setdefault(one["device"], one["why"])
            others = {str(one.get("name")): one for one in found if not number(one.get("flags")) & _LOOPBACK and str(one.get("name")) not in names}
            was = self.old["up"]
            self.lower = in_order(links, [name for name, one in others.items() if number(one.get("flags")) & _UP])[::-1]
            self.again = [name for name in self.lower if name in was]
            self.lift = [name for name in was if name in names]
            fresh = {number(others[one].get("index")): one for one in self.lower if one not in was}
            messages = _netback.gather(
                fresh, [name for name in reversed(self.lower) if name not in was], {number(index): str(one.get("name")) for index, one in links.items()},
            ) if fresh else []
        except OSError as error:
            raise HostError("interfaces_down: the host's interfaces and routes cannot be read ({0}); nothing was changed".format(
                error.strerror)) from error
        self.record = {
            "names": sorted((set(self.old["names"]) | set(others)) - set(names)),
            "up": [name for name in was if name not in names] + list(fresh.values()),
            "kept": [{"device": name, "why": reason} for name, reason in sorted(names.items())],
            "messages": [one for one in self.old["messages"] if not set(texts(one["of"])) & set(self.lift)] + messages,
        }

    def _kept_before(self, plan: Plan, same_plan: bool) -> list[dict[str, str]]:
        """What stays up though no route says so any more: the routes of an interface that is down are in the record alone."""
        if same_plan:
            return list(self.old["kept"])
        found = []
        for message in self.old["messages"]:
            read = _netback.read_route(message)
            where = destination(read) if read is not None else None
            for network in plan.peers():
                if where is not None and where.version == network.version and where.overlaps(network):
                    found += [{"device": str(name), "why": "leads to {0}".format(network)} for name in message["of"]]
        return found

    def predicted(self) -> dict[str, object]:
        """The same as `standing` as it would be, for check mode."""
        after = whole(self.record)
        return {"down": sorted(printable(name, 64) for name in after["names"]), "up": [], "kept": _shown(after)}

    def difference(self) -> tuple[str, str]:
        """What changes, a line each: before and after."""
        lines = sorted([(name, "up", "down") for name in self.lower] + [(name, "down", "up") for name in self.lift])
        before, after = ("".join("interface {0} {1}\n".format(printable(one[0], 64), one[which]) for one in lines) for which in (1, 2))
        return before, after

    def give_up(self) -> None:
        """Nothing shall be down any more."""
        self.lift = list(self.old["up"])

    def apply(self) -> None:
        """Take down and up as decided; how it came out `standing` tells."""
        if self.lift:
            _undo.replay(touching(self.old["messages"], set(self.lift)))
        _undo.replay([_netback.switched(name, False) for name in self.lower], 1.0)


def give_back(record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Take up what was taken down, with all that it had: (what the kernel refuses, what there is no more), a sentence each."""
    refused, gone = _undo.replay(record.get("messages"))
    left = ["the kernel refused {0} of the addresses, routes and neighbours that interfaces were to have back".format(refused)] if refused else []
    return left, ["{0} of the interfaces that were taken down are gone from the host meanwhile".format(len(gone))] if gone else []


def standing(record: object) -> dict[str, object] | None:
    """For the proof, of a record: {"down", "up": [those that should be down], "kept": [{"device", "why"}]}; None where nothing is to be down."""
    if not isinstance(record, dict):
        return None
    wanted = set(texts(record.get("names")))
    down: list[str] = []
    up: list[str] = []
    try:
        for one in dump("links"):
            if str(one.get("name")) in wanted:
                (up if number(one.get("flags")) & _UP else down).append(printable(str(one.get("name")), 64))
    except OSError:
        up = sorted(printable(name, 64) for name in wanted)
    return {"down": sorted(down), "up": sorted(up), "kept": _shown(whole(record))}


def _shown(record: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"device": printable(one["device"], 64), "why": printable(one["why"], 200)} for one in record["kept"]]
