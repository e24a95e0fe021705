# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random policies and packets, and what a policy says of a packet, in plain words and by nothing that the product computes."""

from __future__ import annotations

import ipaddress
import random
from typing import NamedTuple

from hypothesis import strategies as st

from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import Plan, make_plan

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
OTHERS = (ICMP, 2, 4, 33, 41, 47, 50, ICMP6, 132, 136)  # IGMP, tunnels, DCCP, ESP, SCTP, UDP-Lite; either ICMP in either family
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
FLAGS = (0, SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK, SYN | FIN, SYN | RST, FIN, FIN | PSH | 32)
OWN = {4: "192.0.2.1", 6: "2001:db8:f::1"}
OWN_LINK = ("fe80::1", "fe80::")  # the second one is every router's, RFC 4291, section 2.6.1
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
ANY6 = "::"
LOOPBACKS = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))
LINK, GROUPS = ipaddress.ip_network("fe80::/10"), ipaddress.ip_network("ff02::/16")
# Nobody's; each is in a policy only by chance.
STRANGERS = {4: ("203.0.113.66", "10.0.0.77", "169.254.169.254"), 6: ("2001:db8:66::66", "fd00::77", "fe80::77")}
EVERYBODY = {4: ("224.0.0.1", "255.255.255.255"), 6: ("ff02::1", "ff02::2", "ff02::16", "ff05::2")}


class Allowed(NamedTuple):
    """One entry of `allow`; protocol: tcp, udp or icmp, with port None; direction: out or in."""

    network: str
    protocol: str
    port: int | None
    direction: str

    def text(self, spelt: bool) -> str:
        """As an operator writes it; `spelt`: also what could be left out."""
        what = "icmp" if self.port is None else f"{self.port}/{self.protocol}"
        where = self.network if spelt else self.network.removesuffix("/128" if ":" in self.network else "/32")
        return f"{where} {what}" + (" in" if self.direction == "in" else " out" if spelt else "")


class Policy(NamedTuple):
    """What a run is asked for. peer: of the live session, "" for none; port: that its sshd answers on, 0 for none; silent: peers of
    suspects, of which the host alone tells, so that they must neither open nor close anything."""

    peer: str
    port: int
    management: list[str]
    networks: list[str]
    allow: list[Allowed]
    spelt: bool
    case: str
    silent: tuple[str, ...] = ()

    def plan(self) -> Plan:
        """What the product makes of it."""
        session = Session("", 0, "", 0, "none", [1])
        if self.peer:
            session = Session(self.peer, 40000, OWN[6 if ":" in self.peer else 4], self.port, "sshd-socket", [1])
        plan = make_plan(session, [entry.text(self.spelt) for entry in self.allow], self.management, self.networks, "local")
        plan.silence(self.silent)
        return plan

    def responders(self) -> list[str]:
        """Who may reach sshd: the live peer, or what was given in its place, and the networks of all responders."""
        return (self.management or ([self.peer] if self.peer else [])) + self.networks

    def sshd(self) -> int:
        """The port of the way in."""
        return self.port or 22

    def known(self) -> list[str]:
        """Every network that is named in some way."""
        return self.responders() + [entry.network for entry in self.allow]


class Packet(NamedTuple):
    """A packet. way: in, out, lo (the host to itself) or through (forwarded); first, second: ports, or ICMP type and code.

    hops: TTL or hop limit; header: an IPv6 extension header comes first; later: a fragment that is not the first one.
    """

    way: str
    version: int
    source: str
    target: str
    protocol: int
    first: int
    second: int
    flags: int = ACK
    hops: int = 64
    header: bool = False
    later: bool = False


def _within(address: str, networks: list[str]) -> bool:
    one = ipaddress.ip_address(address)
    return any(one in ipaddress.ip_network(network) for network in networks)


def permits(policy: Policy, packet: Packet) -> bool:
    """Whether the policy lets this packet pass."""
    begins = packet.protocol == TCP and packet.flags & SYN and not packet.flags & ACK
    if packet.way == "lo":
        # What stays on the host is nobody's business, but its own programs must not take sshd's places.
        over_itself = policy.peer in OWN.values() or any(
            ipaddress.ip_network(network).overlaps(own) for network in policy.responders() for own in LOOPBACKS)
        guarded = packet.protocol == TCP and packet.second == policy.sshd() and bool(policy.responders()) and not over_itself
        return not (begins and guarded)
    if packet.way == "through" or packet.later:
        return False
    inward = packet.way == "in"
    other = packet.source if inward else packet.target
    theirs, ours = (packet.first, packet.second) if inward else (packet.second, packet.first)
    if packet.protocol == TCP and ours == policy.sshd() and _within(other, policy.responders()) and (inward or not begins):
        return True
    for entry in policy.allow:
        if not _within(other, [entry.network]):
            continue
        we_begin = entry.direction == "out"
        answers = inward == we_begin
        if entry.protocol == "icmp":
            request, reply = (8, 0) if packet.version == 4 else (128, 129)
            if packet.protocol == (ICMP if packet.version == 4 else ICMP6) and packet.first == (reply if answers else request):
                return True
        elif packet.protocol == (TCP if entry.protocol == "tcp" else UDP) and entry.port == (theirs if we_begin else ours):
            if not (answers and begins):
                return True
    return _upkeep(policy, packet, other, inward)


def _upkeep(policy: Policy, packet: Packet, other: str, inward: bool) -> bool:
    """What the network itself needs: packet-too-big, neighbour discovery and MLD reports."""
    if packet.version == 4:
        return inward and packet.protocol == ICMP and (packet.first, packet.second) == (3, 4)
    if packet.protocol != ICMP6:
        return False
    kind, address = packet.first, ipaddress.ip_address(other)
    if packet.hops == 255 and kind in (135, 136) and _within(other, policy.known()):
        return True
    if inward:
        # A router that is known by a global address answers from that one (RFC 4861, section 7.2.4).
        return kind == 2 or (packet.hops == 255 and (kind == 136 or address in LINK and kind in (134, 135) or other == ANY6 and kind == 135)) or (
            packet.hops == 1 and address in LINK and kind == 130)
    return (packet.hops == 255 and kind in (133, 135, 136) and (address in LINK or address in GROUPS)) or (
        packet.hops == 1 and kind in (131, 132, 143) and address in GROUPS)


def permits_frame(policy: Policy, packet: Packet) -> bool:
    """Whether frames with this packet may pass where only addresses are looked at."""
    inward = packet.way == "in"
    other = packet.source if inward else packet.target
    return _within(other, policy.known()) or (not packet.later and _upkeep(policy, packet, other, inward))


# --- random policies -------------------------------------------------------------------------------------------------

_BASES = [int(ipaddress.ip_address(text)) for text in ("10.0.0.0", "10.0.0.77", "172.16.5.0", "198.51.100.0", "203.0.113.0")]
_BASES6 = [int(ipaddress.ip_address(text)) for text in ("2001:db8::", "2001:db8:66::", "fd00::", "fe80::", "2600::1")]


def _network(version: int, base: int, noise: int, length: int) -> str | None:
    bits = 32 if version == 4 else 128
    number = (base ^ noise) >> (bits - length) << (bits - length)
    network = ipaddress.ip_network((number.to_bytes(bits // 8, "big"), length))
    # What the policy refuses, or what no packet on a wire has: a test of its own.
    refused = network.is_multicast or network.is_unspecified or network.is_loopback or (
        version == 6 and network.network_address.ipv4_mapped is not None)
    return None if refused else str(network)


def networks() -> st.SearchStrategy[str]:
    """Networks and addresses of both families, many of which overlap or touch."""
    four = st.builds(_network, st.just(4), st.sampled_from(_BASES), st.one_of(st.integers(0, 1023), st.integers(0, 2**32 - 1)),
                     st.one_of(st.sampled_from([32, 24, 25, 16, 31]), st.integers(1, 32)))
    six = st.builds(_network, st.just(6), st.sampled_from(_BASES6), st.one_of(st.integers(0, 1023), st.integers(0, 2**128 - 1)),
                    st.one_of(st.sampled_from([128, 64, 65, 48, 127]), st.integers(1, 128)))
    return st.one_of(four, six).filter(lambda network: network is not None)


_PORTS = st.one_of(st.sampled_from([1, 22, 53, 443, 514, 65535]), st.integers(1, 65535))
_DIRECTIONS = st.sampled_from(["in", "out"])


def _entries(named: st.SearchStrategy[str]) -> st.SearchStrategy[Allowed]:
    return st.one_of(st.builds(Allowed, named, st.sampled_from(["tcp", "udp"]), _PORTS, _DIRECTIONS),
                     st.builds(Allowed, named, st.just("icmp"), st.none(), _DIRECTIONS))


@st.composite
def policies(draw: st.DrawFn, most: int = 12) -> Policy:
    """A policy with up to `most` allow entries."""
    # Few different networks, so that entries share them; sizes drawn evenly, for lists by themselves are mostly short.
    size, count = draw(st.integers(0, most)), draw(st.integers(2, max(2, most // 2)))
    named = st.sampled_from(draw(st.lists(networks(), min_size=count, max_size=count)))
    hosts = named.map(lambda network: str(ipaddress.ip_network(network)[-1])).filter(
        lambda address: not ipaddress.ip_address(address).is_multicast)
    peer = draw(st.one_of(st.just(""), hosts, hosts, st.sampled_from(["127.0.0.1", "::1", *OWN.values()])))
    return Policy(
        peer, draw(st.one_of(st.sampled_from([22, 2222, 443]), _PORTS)) if peer else 0, draw(st.lists(named, max_size=2)),
        draw(st.lists(named, max_size=3)), draw(st.lists(_entries(named), min_size=size, max_size=size)), draw(st.booleans()),
        draw(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", fullmatch=True)),
        tuple(draw(st.lists(st.one_of(hosts, st.sampled_from([*STRANGERS[4], *STRANGERS[6], *LOOPBACK.values(), "0.0.0.0/0", "x"])), max_size=4))))


@st.composite
def crowded(draw: st.DrawFn) -> Policy:
    """A policy with many small networks near each other for few purposes, as a fleet's monitoring systems are."""
    version, base = draw(st.sampled_from([*((4, base) for base in _BASES), *((6, base) for base in _BASES6)]))
    bits = 32 if version == 4 else 128
    sizes = st.tuples(st.integers(0, 4095), st.integers(bits - 3, bits))
    named = [_network(version, base, noise, length) for noise, length in draw(st.lists(sizes, min_size=8, max_size=60))]
    purposes = draw(st.lists(st.tuples(st.sampled_from(["tcp", "udp"]), _PORTS, _DIRECTIONS), min_size=1, max_size=2))
    allow = [Allowed(network, *draw(st.sampled_from(purposes))) for network in named if network is not None]
    return Policy("", 0, [], draw(st.lists(networks(), max_size=1)), allow, False, "crowd")


# --- random packets for a policy -----------------------------------------------------------------------------------------


def _usable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a kernel without rules takes a packet from there, or sends one there."""
    nobody = address.is_multicast or address.is_loopback or address.is_unspecified or str(address) in (*OWN.values(), *OWN_LINK)
    return not nobody and not (address.version == 4 and (int(address) >> 24 == 0 or int(address) >> 28 == 15))


def borders(network: str) -> list[str]:
    """First and last address of a network, and the ones before and after it."""
    net = ipaddress.ip_network(network)
    found = [int(net[0]), int(net[-1]), int(net[0]) - 1, int(net[-1]) + 1]
    kind = type(net[0])
    return [str(kind(number)) for number in found if 0 <= number <= int(kind(2**net.max_prefixlen - 1)) and _usable(kind(number))]


def packets(policy: Policy, chance: random.Random, count: int) -> list[Packet]:
    """At every border of what the policy names a packet that it speaks of; then such as differ from those in little, and any others."""
    entries = [*policy.allow, *(Allowed(network, "tcp", policy.sshd(), "in") for network in policy.responders())]
    at_borders = [_of_entry(entry, way, other, chance) for entry in entries for other in borders(entry.network) for way in ("in", "out")]
    calls = [Packet("lo", version, LOOPBACK[version], LOOPBACK[version], TCP, 40000, policy.sshd(), SYN) for version in (4, 6)]
    near = {version: [address for network in {*policy.known()} if (":" in network) == (version == 6) for address in borders(network)]
            + [*STRANGERS[version]] for version in (4, 6)}
    ports = sorted({22, 53, 40000, policy.sshd(), *(entry.port for entry in policy.allow if entry.port)})
    ports += [port + 1 for port in ports if port < 65535]
    return [*at_borders, *calls, *(_packet(entries, near, ports, chance) for _number in range(count))]


def _of_entry(entry: Allowed, way: str, other: str, chance: random.Random) -> Packet:
    """A packet as the entry wants it, but for the address."""
    version = 6 if ":" in other else 4
    begins = (way == "out") == (entry.direction == "out")
    mine = OWN[version]
    source, target = (mine, other) if way == "out" else (other, mine)
    if entry.port is None:
        kinds = ((8, 0) if version == 4 else (128, 129))
        return Packet(way, version, source, target, ICMP if version == 4 else ICMP6, kinds[0 if begins else 1], 0)
    ports = (chance.choice((40000, entry.port)), entry.port)
    first, second = ports if begins else ports[::-1]
    return Packet(way, version, source, target, TCP if entry.protocol == "tcp" else UDP, first, second, SYN if begins else SYN | ACK)


def of_management(policy: Policy) -> list[Packet]:
    """What a responder's session is made of, for the borders of every network of responders: all of it must pass."""
    found = []
    if policy.peer in (*LOOPBACK.values(), *OWN.values()) and not policy.management:  # a tunnel, or a jump by the host's own sshd
        version = 6 if ":" in policy.peer else 4
        found += [Packet("lo", version, policy.peer, policy.peer, TCP, *ports, flags) for ports, flags in (
            ((40000, policy.port), SYN), ((40000, policy.port), ACK), ((policy.port, 40000), SYN | ACK), ((policy.port, 40000), ACK))]
    for network in policy.responders():
        for other in borders(network):
            if not _within(other, [network]):
                continue
            version = 6 if ":" in other else 4
            come, go = Packet("in", version, other, OWN[version], TCP, 40000, policy.sshd()), Packet(
                "out", version, OWN[version], other, TCP, policy.sshd(), 40000)
            found += [come._replace(flags=flags) for flags in (SYN, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK)]
            found += [go._replace(flags=flags) for flags in (SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK)]
            # A router on the path may have any address.
            found.append(come._replace(
                source=STRANGERS[version][0], protocol=ICMP if version == 4 else ICMP6, first=3 if version == 4 else 2,
                second=4 if version == 4 else 0))
            if version == 6:
                found += [packet._replace(protocol=ICMP6, first=kind, second=0, hops=255) for packet in (come, go) for kind in (135, 136)]
    return found


def _packet(entries: list[Allowed], near: dict[int, list[str]], ports: list[int], chance: random.Random) -> Packet:
    way = chance.choices(("in", "out", "lo", "through"), (9, 9, 1, 1))[0]
    entry = chance.choice(entries) if entries and chance.random() < 0.7 else None
    version = chance.choice((4, 6)) if entry is None else 6 if ":" in entry.network else 4
    inside = [address for address in borders(entry.network) if _within(address, [entry.network])] if entry else []
    other = chance.choice(inside) if inside and chance.random() < 0.6 else chance.choice(near[version])
    theirs, ours = chance.choice(ports), chance.choice(ports)
    protocol = chance.choice((TCP, UDP, ICMP if version == 4 else ICMP6, *OTHERS))
    if entry is not None and chance.random() < 0.8:
        protocol = {"tcp": TCP, "udp": UDP, "icmp": ICMP if version == 4 else ICMP6}[entry.protocol]
        if entry.port is not None and chance.random() < 0.8:
            theirs, ours = (entry.port, ours) if entry.direction == "out" else (theirs, entry.port)
    first, second = (theirs, ours) if way == "in" else (ours, theirs)
    if protocol in (ICMP, ICMP6):
        first = chance.choice((0, 3, 5, 8) if protocol == ICMP else (1, 2, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 143))
        second = chance.choice((0, 4))
        if way != "lo" and version == 6 and protocol == ICMP6 and chance.random() < 0.3:
            other = chance.choice((*EVERYBODY[6], "fe80::77") if way == "out" else ("fe80::77", ANY6))
    elif way == "out" and chance.random() < 0.05:
        other = chance.choice(EVERYBODY[version])
    mine = OWN[version]
    if way == "lo":
        other = mine = LOOPBACK[version]
    elif way == "through":
        mine = chance.choice([address for address in near[version] if not address.startswith("fe8")])
        other = mine if other.startswith("fe8") else other
    elif way == "out" and chance.random() < 0.1:
        mine = chance.choice(near[version])  # a source that is not the host's
    source, target = (mine, other) if way == "out" else (other, mine)
    return Packet(way, version, source, target, protocol, first, second, chance.choice(FLAGS), chance.choice((1, 64, 255)),
                  version == 6 and chance.random() < 0.1, way == "out" and chance.random() < 0.05)
