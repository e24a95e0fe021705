# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan -> text for nft, and what nft's listing tells. Pure: runs nothing.

Only what nft 0.9.8 and kernel 5.10 know is used. No rule looks at connection tracking: it is the attacker's to bend.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Sequence

from . import _leases
from ._commands import TABLE
from ._policy import EGRESS, OBSERVE

if TYPE_CHECKING:
    from ._policy import Network, Plan

# Idempotent, for "delete" alone fails where there is no table and old nft does not know "destroy".
REMOVE = "add table inet {0}\ndelete table inet {0}\n".format(TABLE)
# Not the first packet of a connection, so what answers cannot begin (RFC 9293, section 3.5).
_ANSWER = "tcp flags & (syn|ack) != syn"
# RFC 4861: 133 to 136 come and go with hop limit 255 only, which no router lets through. RFC 3810: 143, 131, 132
# are reports. To the link or to those who may talk with us, for a raw socket could send them anywhere.
NEIGHBOURS_IN = (
    "ip6 hoplimit 255 ip6 saddr fe80::/10 icmpv6 type { 134, 135 } accept",
    "ip6 hoplimit 255 ip6 saddr :: icmpv6 type 135 accept",
    "ip6 hoplimit 255 ip6 saddr @peers_6 icmpv6 type 135 accept",
    # A router that the host knows by a global address answers from that one (RFC 4861, section 7.2.4).
    "ip6 hoplimit 255 icmpv6 type 136 accept",
    "ip6 hoplimit 1 ip6 saddr fe80::/10 icmpv6 type 130 accept",
)
NEIGHBOURS_OUT = (
    "ip6 hoplimit 255 ip6 daddr { fe80::/10, ff02::/16 } icmpv6 type { 133, 135, 136 } accept",
    "ip6 hoplimit 255 ip6 daddr @peers_6 icmpv6 type { 135, 136 } accept",
    "ip6 hoplimit 1 ip6 daddr ff02::/16 icmpv6 type { 131, 132, 143 } accept",
)
# How many packets a rule with a counter has seen, in the listing of a chain.
COUNTED = r"counter packets (\d+)"
# Without them path MTU discovery fails and the responder's stream stalls.
TOO_BIG = ("icmp type 3 icmp code 4 accept", "icmpv6 type 2 accept")
# An IPv4 fragment that is not the first has no ports, yet nft (seen on Linux 6.18) reads them out of its data. Only raw sockets bring
# such ones to our chains: what is too long is cut up after them.
_LATER_FRAGMENT = "ip frag-off & 8191 != 0 return"
# Of what would be cut, in each direction: all packets are counted, so many of them logged.
LOGGED = 5  # a second
DIRECTIONS = (("input", "inbound"), ("forward", "forwarded"), ("output", "outbound"))
_COUNTER = re.compile(r"^\tchain (\w+) \{\n(?:\t\t.*\n)*?\t\tcounter packets (\d+) ", re.MULTILINE)
_CASE = re.compile(r"^\s*chain case\.([A-Za-z0-9._-]{1,64}) \{", re.MULTILINE)


def address_set(name: str, family: int, networks: list[Network]) -> list[str]:
    """The lines of a set NAME_FAMILY (4 or 6) that holds the networks of this family; it may be empty."""
    members = [str(network) for network in networks if network.version == family]
    lines = ["\tset {0}_{1} {{".format(name, family), "\t\ttype ipv{0}_addr".format(family), "\t\tflags interval"]
    if members:
        lines.append("\t\telements = {{ {0} }}".format(", ".join(members)))
    return lines + ["\t}"]


def _pair(name: str, protocol: str, port: int | None, direction: str, families: Sequence[int]) -> tuple[list[str], list[str]]:
    """The rules in and out for one group, the side that answers bound to answers."""
    rules_in, rules_out = [], []
    for family in families:
        ip = "ip" if family == 4 else "ip6"
        source, target = "{0} saddr @{1}_{2} ".format(ip, name, family), "{0} daddr @{1}_{2} ".format(ip, name, family)
        if protocol == "icmp":
            kind, ask, reply = ("icmp", 8, 0) if family == 4 else ("icmpv6", 128, 129)
            first, second = (reply, ask) if direction == "out" else (ask, reply)
            rules_in.append("{0}{1} type {2} accept".format(source, kind, first))
            rules_out.append("{0}{1} type {2} accept".format(target, kind, second))
            continue
        answer = " " + _ANSWER if protocol == "tcp" else ""
        if direction == "out":
            rules_in.append("{0}{1} sport {2}{3} accept".format(source, protocol, port, answer))
            rules_out.append("{0}{1} dport {2} accept".format(target, protocol, port))
        else:
            rules_in.append("{0}{1} dport {2} accept".format(source, protocol, port))
            rules_out.append("{0}{1} sport {2}{3} accept".format(target, protocol, port, answer))
    return rules_in, rules_out


def render(plan: Plan, case: str) -> str:
    """The whole table as a file for `nft -f`: it takes the place of an earlier one in one transaction.

    Early chains decide before anybody else's rules have rewritten a packet, and the last one looks again after all
    NAT, so that an allowed flow cannot be steered elsewhere on the way. Rules of others stay in force beside ours.
    Each ends with a rule that drops: the kernel puts rules in force all at once, but policies chain by chain after them.
    """
    lines = [REMOVE + "table inet {0} {{".format(TABLE)]
    rules_in: list[str] = []
    rules_out: list[str] = []
    peers = plan.peers()
    for family in (4, 6):
        lines += address_set("peers", family, peers)
    for name, protocol, port, direction, networks in _groups(plan):
        families = sorted({network.version for network in networks})
        for family in families:
            lines += address_set(name, family, networks)
        more_in, more_out = _pair(name, protocol, port, direction, families)
        rules_in += more_in
        rules_out += more_out
    silent: list[str] = []
    for family in sorted({network.version for network in plan.silent}) if plan.mode != OBSERVE else []:
        lines += address_set("silent", family, plan.silent)
        silent.append("{0} daddr @silent_{1} drop".format("ip" if family == 4 else "ip6", family))
    lease_in, lease_out = _leases.for_nft(plan.leases)
    caller = plan.caller
    # Counts the connections that the responder begins; whether they come to anything is another question (_undo.py).
    ip = "ip6" if ":" in caller else "ip"
    knocks = ["{0} saddr {1} tcp dport {2} tcp flags & (syn|ack) == syn counter".format(ip, caller, port)
              for port in plan.ports if caller and plan.mode != OBSERVE]
    guard = ['oif "lo" tcp dport {0} tcp flags & (syn|ack) == syn reject with tcp reset'.format(port) for port in plan.guarded]
    seen = {chain: ("counter", 'limit rate {0}/second log prefix "firebreak observe {1}: "'.format(LOGGED, direction))
            for chain, direction in DIRECTIONS}
    chains: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        # Says on the host itself whose isolation this is.
        ("case." + case, "", ()),
        ("inbound", "", (*knocks, *rules_in, *lease_in, *NEIGHBOURS_IN, *TOO_BIG)),
        ("outbound", "", (_LATER_FRAGMENT, *rules_out, *lease_out, *NEIGHBOURS_OUT)),
        # Sources alone, before defragmentation, raw and any rewriting: nobody's chain comes earlier.
        ("prerouting", "prerouting priority -2147483648; policy drop", (
            'iif "lo" accept', "ip saddr @peers_4 accept", "ip6 saddr @peers_6 accept", *lease_in, *NEIGHBOURS_IN, *TOO_BIG, "drop")),
        ("input", "input priority -310; policy drop", ('iif "lo" accept', "jump inbound", "drop")),
        ("forward", "forward priority -310; policy drop", ("drop",)),
        ("output", "output priority -310; policy drop", (
            *guard, 'oif "lo" accept', "jump outbound", *silent, "meta l4proto tcp reject with tcp reset",
            "reject with icmpx type admin-prohibited")),
        ("postrouting", "postrouting priority 2147483647; policy drop", ('oif "lo" accept', "jump outbound", "drop")),
    )
    if plan.mode == EGRESS:
        counting = {"inbound": ("inbound", "", tuple(knocks)), "input": ("input", "input priority -310; policy accept", ("jump inbound",))}
        chains = tuple(counting.get(chain[0], chain) for chain in chains if chain[0] != "prerouting")
    elif plan.mode == OBSERVE:
        chains = (
            *chains[:3],
            ("input", "input priority -310; policy accept", ('iif "lo" accept', "jump inbound", *seen["input"])),
            ("forward", "forward priority -310; policy accept", seen["forward"]),
            ("output", "output priority -310; policy accept", ('oif "lo" accept', "jump outbound", *seen["output"])),
        )
    for name, hook, rules in chains:
        lines.append("\tchain {0} {{".format(name))
        if hook:
            lines.append("\t\ttype filter hook {0};".format(hook))
        lines += ["\t\t" + rule for rule in rules]
        lines.append("\t}")
    return "\n".join(lines) + "\n}\n"


def _groups(plan: Plan) -> list[tuple[str, str, int | None, str, list[Network]]]:
    """Name, protocol, port, direction and networks of every group; the management path comes first."""
    groups: list[tuple[str, str, int | None, str, list[Network]]] = [
        ("management_{0}".format(port), "tcp", port, "in", plan.management) for port in plan.ports]
    for (protocol, port, direction), networks in plan.groups().items():
        name = "_".join([direction, protocol] + ([] if port is None else [str(port)]))
        groups.append((name, protocol, port, direction, networks))
    return groups


def counted(listing: str) -> dict[str, int]:
    """Packets that a listing with counters says would have been cut: "inbound", "forwarded" and "outbound"."""
    names = dict(DIRECTIONS)
    return {names[chain]: int(packets) for chain, packets in _COUNTER.findall(listing) if chain in names}


def holder(listing: str) -> str | None:
    """The case whose isolation a listing shows; "" where the table is not of our making, None where there is none."""
    if not listing.strip():
        return None
    found = _CASE.search(listing)
    return found.group(1) if found else ""
