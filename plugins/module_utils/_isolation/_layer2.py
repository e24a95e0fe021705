# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan and devices -> text for nft that also holds back frames which never meet the IP layer. Pure: runs nothing.

Rules look at the frame's type and at addresses, never at ports, which a fragment does not have, but for DHCP where the host's
address is leased. Beside the plan's peers only that, ARP and neighbour discovery pass. The egress hook needs Linux 5.16 and nft 1.0.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Mapping, NamedTuple

from . import _leases
from ._commands import TABLE
from ._nftables import NEIGHBOURS_IN, NEIGHBOURS_OUT, TOO_BIG, address_set
from ._policy import EGRESS, OBSERVE

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._policy import Plan

FAMILY = "netdev"
REMOVE = "add table netdev {0}\ndelete table netdev {0}\n".format(TABLE)
# include/uapi/linux/if_arp.h
_LOOPBACK = 772
_ETHERNET = 1
BARE = (512, 768, 769, 776, 778, 823, 65534)  # PPP, tunnels of all kinds and TUN: packets without a frame around them
_ON_TOP = ("vlan", "macsec")  # what these put around a packet, a rule for addresses does not see through
MOST = 255  # measured; NFT_NETDEVHOOK_MAX of net/netfilter/nf_tables_api.c is the first number that is refused
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}")
_HOOK = re.compile(r"(?<= hook )(egress|ingress) (?:device (?P<one>\S+)|devices = \{(?P<many>[^}]*)\})")
_CHAIN = re.compile(r"^\tchain (\w+) \{\n\t\ttype filter hook (?:egress|ingress) devices = \{ ([^}]*) \}", re.MULTILINE)
# Our filters of tc, where nft cannot do it: the first of all, and told from others' by this handle.
PREFERENCE, HANDLE = 1, 0xF12EB
DIRECTIONS = ("egress", "ingress")
_BY_TC = re.compile(r"^\t(\S+) egress by tc: ", re.MULTILINE)
# In a private network nothing else exists.
TRIAL = "lo"


class Devices(NamedTuple):
    """The interfaces of one network namespace: those with frames, those without, and those left out (name -> why)."""

    ethernet: list[str]
    bare: list[str]
    left: dict[str, str]

    @property
    def covered(self) -> list[str]:
        """Every device that rules can be bound to."""
        return sorted([*self.ethernet, *self.bare])


def sort(links: list[dict[str, object]]) -> Devices:
    """The links of `_netstate.dump` by what can be done about their frames; loopback is no concern of ours."""
    found = Devices([], [], {})
    names = {link.get("index"): str(link.get("name")) for link in links}
    kinds = {link.get("index"): str(link.get("kind", "")) for link in links}
    guests = {link.get("master") for link in links if link.get("kind") == "tun" and link.get("master")}
    # Each looked up, none searched for: root on the host can make thousands of interfaces, and this comes before the cut.
    upper = {one.get("link"): one.get("index") for one in links if one.get("kind") in _ON_TOP}
    # The oldest first: what is made later cannot push the host's own out of the number that a chain takes.
    for link in sorted(links, key=lambda one: int(str(one.get("index", 0)))):
        name, kind = str(link.get("name")), link.get("type")
        if kind == _LOOPBACK:
            continue
        if _NAME.fullmatch(name) is None:
            found.left[name] = "its name cannot be written into a rule"
        elif link.get("index") in upper:
            above = upper[link.get("index")]
            found.left[name] = "it carries {0} ({1})".format(names[above], kinds[above])
        elif kinds.get(link.get("master")) in ("bond", "team"):
            found.left[name] = "it is part of {0}".format(names[link.get("master")])
        elif link.get("master") in guests and link.get("master"):
            found.left[name] = "it is a port of {0}, by which virtual machines are connected".format(names[link.get("master")])
        elif kind == _ETHERNET or kind in BARE:
            place = found.ethernet if kind == _ETHERNET else found.bare
            if len(place) < MOST:
                place.append(name)
            else:
                found.left[name] = "a chain takes {0} interfaces".format(MOST)
        else:
            found.left[name] = "interfaces of type {0} are not known".format(kind)
    found.ethernet.sort()
    found.bare.sort()
    return found


def programs(links: list[dict[str, object]], qdiscs: list[dict[str, object]], strangers: Collection[str]) -> list[tuple[str, str]]:
    """Interfaces with somebody's programs that can send frames past every rule of ours, and what it is.

    strangers: those on which filters of others hang; a qdisc without any does nothing, and may be ours.
    """
    names = {link.get("index"): str(link.get("name")) for link in links}
    found = [(str(link.get("name")), "XDP program") for link in links if link.get("xdp")]
    found += [(names[one.get("index")], "tc programs ({0})".format(one["kind"])) for one in qdiscs
              if one.get("kind") in ("clsact", "ingress") and names.get(one.get("index")) in strangers]
    return sorted(set(found))


def _bound(rules: tuple[str, ...], ethernet: bool) -> list[str]:
    """The rules bound to the version that the packet itself names, and to the frame's own type where there is one.

    A packet socket can write both otherwise than the kernel's note of the type, and IPv6 with an allowed IPv4 address in its bytes.
    """
    bound = []
    for rule in rules:
        ip, version = ("ip6", 6) if rule.startswith(("ip6 ", "icmpv6 ")) else ("ip", 4)
        bound.append("{0}{1} version {2} {3}".format("ether type {0} ".format(ip) if ethernet else "", ip, version, rule))
    return bound


def render(plan: Plan, devices: Devices) -> str:
    """The whole table for `nft -f`; it takes the place of an earlier one. "" where there is no device to bind it to, or nothing to cut."""
    if not devices.covered or plan.mode == OBSERVE:
        return ""
    lines = [REMOVE + "table netdev {0} {{".format(TABLE)]
    for family in (4, 6):
        lines += address_set("peers", family, plan.peers())
    lease_in, lease_out = _leases.for_nft(plan.leases)
    leaving = ("ip daddr @peers_4 accept", "ip6 daddr @peers_6 accept", *lease_out, *NEIGHBOURS_OUT)
    entering = ("ip saddr @peers_4 accept", "ip6 saddr @peers_6 accept", *lease_in, *NEIGHBOURS_IN, *TOO_BIG)
    for kind, names in (("ethernet", devices.ethernet), ("bare", devices.bare)):
        # Ingress at the very first place, egress at the very last: nobody's rewriting comes before or after it.
        for hook, priority, rules in (("egress", 2147483647, leaving), ("ingress", -2147483648, entering)):
            if names and not (hook == "ingress" and plan.mode == EGRESS):
                lines += [
                    "\tchain {0}_{1} {{".format(hook, kind),
                    "\t\ttype filter hook {0} devices = {{ {1} }} priority {2}; policy drop;".format(
                        hook, ", ".join('"{0}"'.format(name) for name in names), priority)]
                neighbours = ["ether type arp accept"] if kind == "ethernet" else []
                lines += ["\t\t" + rule for rule in [*neighbours, *_bound(rules, kind == "ethernet")]]
                # The policy comes into force after the rules: where a table takes the place of another, frames would pass in between.
                lines.append("\t\tdrop")
                lines.append("\t}")
    return "\n".join(lines) + "\n}\n"


def on_trial(devices: Devices) -> Devices:
    """The same kinds of chains, for a private network."""
    return Devices([TRIAL] if devices.ethernet else [], [TRIAL] if devices.bare else [], {})


def normal(listing: str, devices: Mapping[str, list[str]] | None = None) -> str:
    """A listing by any nft with the devices in one form; `devices`: those to write instead, by "ethernet" and "bare"."""
    lines = []
    kind = ""
    for line in listing.splitlines(True):
        if line.startswith("\tchain "):
            kind = line.split()[1].rpartition("_")[2]
        found = _HOOK.search(line)
        if found is not None:
            told = [name.strip().strip('"') for name in (found.group("one") or found.group("many")).split(",")]
            names = sorted(told) if devices is None else devices.get(kind, [])
            line = line[:found.start()] + "{0} devices = {{ {1} }}".format(found.group(1), ", ".join(names)) + line[found.end():]
        lines.append(line)
    return "".join(lines)


def bound(listing: str) -> list[str]:
    """The devices of which a normal listing holds back what leaves."""
    return sorted({name for chain, names in _CHAIN.findall(listing) if chain.startswith("egress_") for name in names.split(", ")})


def bound_by_tc(listing: str) -> list[str]:
    """The devices of which tc holds back what leaves, by the listing of `_tc_backend`."""
    return sorted(set(_BY_TC.findall(listing)))


def line(verb: str, device: str, direction: str, program: str = "") -> str:
    """A line of tc(8)'s batch mode that is about our filter; `program`: as `_layer2_tc.written` gives it."""
    more = " da bytecode '{0}'".format(program) if program else ""
    return "filter {0} dev {1} {2} pref {3} protocol all handle {4:#x} bpf{5}\n".format(verb, device, direction, PREFERENCE, HANDLE, more)


def commands(tc: str, lines: list[str]) -> dict[str, object]:
    """A step of the way back: all the lines, one failing or not."""
    return {"argv": [tc, "-force", "-batch", "-"], "stdin": "".join(lines), "may_fail": True}


def taken_away(tc: str, devices: list[str], made: list[str]) -> list[dict[str, object]]:
    """Steps of the way back: our filters of devices away, and the clsact where we made it, unless something else hangs on it."""
    steps = [commands(tc, [line("delete", name, direction) for name in devices for direction in DIRECTIONS])] if devices else []
    return steps + [{"argv": [tc, "qdisc", "del", "dev", name, "clsact"], "may_fail": True,
                     "if_silent": [[tc, "filter", "show", "dev", name, direction] for direction in DIRECTIONS]} for name in made]
