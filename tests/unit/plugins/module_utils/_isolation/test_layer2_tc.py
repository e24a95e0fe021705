# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs for tc: what they let pass of made-up frames, hostile ones among them, and that they never end by accident."""

from __future__ import annotations

import ipaddress
import random
import struct

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _layer2_tc
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import make_plan
from ansible_collections.firebreak.response.tests.unit.plugins.module_utils._isolation.bpf import (
    DROP, PASS, frame, packet, ports, run, taken,
)

OWN, OWN6, LINK = "10.0.0.1", "2001:db8::1", "fe80::1"
GOOD, GOOD6, BAD, BAD6 = "10.0.0.5", "2001:db8::5", "198.51.100.9", "2001:db8:bad::9"
LEASES = [ipaddress.ip_network("10.0.0.0/24"), ipaddress.ip_network("fe80::/10")]


def plan(allow: list[str], mode: str = "full", leases: list | None = None):
    return make_plan(Session("", 0, "", 0, "none", []), allow, ["10.0.0.9"], [], "local", mode, leases)


PLAN = plan([GOOD + " 514/udp", GOOD6 + " 514/udp", "172.16.0.0/12 80/tcp", "2001:db8:7::/48 80/tcp", "fd00::/8 icmp"])
MADE, LEASED = _layer2_tc.programs(PLAN), _layer2_tc.programs(plan([GOOD + " 514/udp"], leases=LEASES))
OUT, IN, OUT_BARE, IN_BARE = (MADE[name] for name in ("egress_ethernet", "ingress_ethernet", "egress_bare", "ingress_bare"))


def passes(data: bytes, out: bool, made: dict[str, bytes] | None = None) -> bool:
    """Whether a packet passes, the same in a frame as without."""
    made = MADE if made is None else made
    told = 0x0800 if data[0] >> 4 == 4 else 0x86DD
    name = "egress_" if out else "ingress_"
    found = {run(made[name + "ethernet"], frame(data), told), run(made[name + "bare"], data, told)}
    assert len(found) == 1 and found <= {DROP, PASS}, found
    return found == {PASS}


@pytest.mark.parametrize("other, named", [(GOOD, True), ("10.0.0.9", True), ("172.31.255.255", True), ("172.32.0.0", False), (BAD, False),
                                          ("10.0.0.4", False), ("255.255.255.255", False), ("224.0.0.1", False)])
def test_packets_of_ipv4_pass_by_their_address_whatever_they_carry(other, named):
    for protocol, fragment in ((6, 0), (17, 0), (47, 0), (17, 0x2000), (17, 100)):
        assert passes(packet(OWN, other, protocol, fragment=fragment), out=True) is named
        assert passes(packet(other, OWN, protocol, fragment=fragment), out=False) is named
    assert not passes(packet(other, BAD), out=True) and not passes(packet(BAD, other), out=False)


@pytest.mark.parametrize("other, named", [(GOOD6, True), ("2001:db8:7:ffff::1", True), ("2001:db8:8::", False), ("fdff::1", True), ("fe00::1", False),
                                          (BAD6, False), ("ff02::1", False), ("2001:db8::4", False)])
def test_packets_of_ipv6_pass_by_their_address_whatever_they_carry(other, named):
    for protocol in (6, 17, 44, 59):
        assert passes(packet(OWN6, other, protocol), out=True) is named
        assert passes(packet(other, OWN6, protocol), out=False) is named
    assert not passes(packet(other, BAD6), out=True) and not passes(packet(BAD6, other), out=False)


def test_the_bytes_of_a_frame_must_be_what_they_are_called():
    good, good6 = packet(OWN, GOOD), packet(OWN6, GOOD6)
    assert run(OUT, frame(good), 0x0800) == PASS
    for kind in (0x88B5, 0x8100, 0x86DD, 0x0003, 46):
        assert run(OUT, frame(good, kind), 0x0800) == DROP, "told as IP"
        assert run(IN, frame(packet(GOOD, OWN), kind), 0x0800) == DROP
    assert run(OUT, frame(good), 0x0003) == PASS, "a DHCP client tells nothing"
    assert run(IN, frame(packet(GOOD, OWN)), 0x0003) == DROP
    # IPv6 in whose bytes an allowed IPv4 address stands where IPv4 has its target, and the other way round.
    disguise = packet("2001:db8:0:0:a00:5:0:0", BAD6)
    assert disguise[16:20] == ipaddress.ip_address(GOOD).packed
    assert run(OUT, frame(disguise, 0x0800), 0x0800) == DROP and run(OUT_BARE, disguise, 0x0800) == DROP
    assert run(OUT, frame(good + bytes(40), 0x86DD), 0x86DD) == DROP and run(OUT_BARE, good6, 0x0800) == DROP
    assert run(OUT_BARE, good, 0x0800) == PASS and run(IN_BARE, packet(GOOD, OWN), 0x88B5) == DROP


def test_a_tag_beside_the_packet_is_no_way_out():
    for program, data in ((OUT, frame(packet(OWN, GOOD))), (IN, frame(packet(GOOD, OWN))), (OUT, frame(bytes(28), 0x0806)),
                          (OUT_BARE, packet(OWN, GOOD))):
        assert run(program, data, 0x0800) == PASS
        assert run(program, data, 0x0800, tagged=1) == DROP


def test_address_resolution_passes_where_there_are_frames():
    assert run(OUT, frame(bytes(28), 0x0806), 0x0806) == run(IN, frame(bytes(28), 0x0806), 0x0806) == PASS
    assert run(OUT_BARE, bytes(28), 0x0806) == run(IN_BARE, bytes(28), 0x0806) == DROP


@pytest.mark.parametrize("kind, hops, target, passing", [
    (133, 255, "ff02::2", True), (135, 255, "ff02::1:ff00:9", True), (135, 255, "fe80::9", True), (136, 255, "ff02::1", True),
    (135, 64, "ff02::1", False), (135, 255, BAD6, False), (128, 255, "ff02::1", False), (134, 255, "ff02::1", False),
    (143, 1, "ff02::16", True), (131, 1, "ff02::9", True), (143, 2, "ff02::16", False), (143, 1, "fe80::9", False), (143, 1, "ff05::2", False)])
def test_neighbours_are_asked_and_groups_reported(kind, hops, target, passing):
    body = bytes((kind, 0)) + bytes(22)
    assert passes(packet(LINK, target, 58, body, hops), out=True) is passing
    # Reports come after an option (RFC 2710); nothing else does.
    assert passes(packet(LINK, target, 58, body, hops, option=0), out=True) is (passing and hops == 1)
    assert not passes(packet(LINK, target, 58, body, hops, option=60), out=True)
    assert not passes(packet(LINK, target, 17, body, hops), out=True)


@pytest.mark.parametrize("kind, hops, source, passing", [
    (134, 255, "fe80::9", True), (135, 255, "fe80::9", True), (135, 255, "::", True), (136, 255, BAD6, True), (2, 3, BAD6, True),
    (134, 255, BAD6, False), (137, 255, "fe80::9", False), (134, 64, "fe80::9", False), (135, 255, BAD6, False), (136, 64, BAD6, False), (1, 64, BAD6, False),
    (130, 1, "fe80::9", True), (130, 64, "fe80::9", False), (130, 1, BAD6, False), (128, 64, "fe80::9", False)])
def test_neighbours_routers_and_what_is_too_big_are_heard(kind, hops, source, passing):
    body = bytes((kind, 0)) + bytes(22)
    assert passes(packet(source, LINK, 58, body, hops), out=False) is passing
    assert passes(packet(source, LINK, 58, body, hops, option=0), out=False) is (passing and kind == 130)


def test_of_icmp_only_what_says_that_a_packet_is_too_big_comes_in():
    for kind, code, passing in ((3, 4, True), (3, 1, False), (8, 0, False), (0, 4, False)):
        data = bytes((kind, code)) + bytes(6)
        assert passes(packet(BAD, OWN, 1, data), out=False) is passing
        assert not passes(packet(OWN, BAD, 1, data), out=True)
        assert not passes(packet(BAD, OWN, 1, data, fragment=1), out=False), "a later fragment has no type"
        assert not passes(packet(BAD, OWN, 1, bytes(4) + data, first=0x46), out=False)


def test_a_leased_address_can_be_kept_and_is_no_other_way_out():
    def ends(source: str, target: str, one: int, two: int, out: bool, **more: int) -> bool:
        return passes(packet(source, target, 17, ports(one, two), **more), out, LEASED)

    assert ends("0.0.0.0", "255.255.255.255", 68, 67, True) and ends("10.0.0.77", "255.255.255.255", 67, 68, False)
    assert ends(LINK, "ff02::1:2", 546, 547, True) and ends("fe80::77", LINK, 547, 546, False)
    assert not ends("0.0.0.0", BAD, 68, 67, True) and not ends("0.0.0.0", "255.255.255.255", 68, 53, True)
    assert not ends("0.0.0.0", "255.255.255.255", 9, 67, True) and not ends(BAD, OWN, 67, 68, False)
    assert not ends("0.0.0.0", "255.255.255.255", 68, 67, True, fragment=3) and not ends("0.0.0.0", "255.255.255.255", 68, 67, True, first=0x46)
    assert not ends(LINK, "ff02::1:3", 546, 547, True) and not ends(BAD6, LINK, 547, 546, False)
    assert not passes(packet("0.0.0.0", "255.255.255.255", 6, ports(68, 67)), True, LEASED)
    assert not passes(packet("0.0.0.0", "255.255.255.255", 17, ports(68, 67)), True), "no address is leased"


def test_a_frame_that_is_cut_off_anywhere_is_never_let_through_by_accident():
    chance = random.Random(3)
    whole = [packet(OWN, BAD, 17, ports(68, 67)), packet(OWN, "255.255.255.255", 17, ports(68, 67)), packet(BAD, OWN, 1, b"\3\4" + bytes(6)),
             packet(LINK, "ff02::16", 58, bytes((143, 0)) + bytes(6), 1, option=0), packet(LINK, "ff02::1:2", 17, ports(546, 547)),
             packet(BAD6, OWN6, 58, bytes((2, 0)), 255), packet(BAD, OWN, 17, b"", first=0x4F)]
    whole += [bytes((chance.choice((0x45, 0x4F, 0x60, 0x65)),)) + bytes(chance.getrandbits(8) for _one in range(chance.randrange(90)))
              for _time in range(100)]
    for data in whole:
        for size in range(len(data) + 1):
            for name, program in {**MADE, **{"leased " + name: program for name, program in LEASED.items()}}.items():
                told = chance.choice((0x0800, 0x86DD, 0))
                some = frame(data)[:size] if "ethernet" in name else data[:size]
                assert run(program, some, told) in (DROP, PASS)  # else there was a load past the end


def test_a_mode_decides_what_is_held_back():
    assert list(_layer2_tc.programs(plan([], "egress"))) == ["egress_ethernet", "egress_bare"]
    assert _layer2_tc.programs(plan([], "observe")) == {}


def test_random_networks_are_found_and_nothing_beside_them():
    chance = random.Random(4)
    for _time in range(5):
        allow = [f"{ipaddress.ip_address(chance.getrandbits(32) >> 2 | 1 << 30)}/32 1/tcp" for _one in range(chance.randrange(300))]
        allow += [f"{ipaddress.ip_network((0x0A000000 + chance.getrandbits(20), chance.randrange(9, 33)), strict=False)} 1/tcp" for _one in range(9)]
        allow += [f"{ipaddress.ip_network(((0x20010DB8 << 96) + (chance.getrandbits(96) & chance.getrandbits(96)), chance.randrange(33, 129)), strict=False)} "
                  "1/tcp" for _one in range(chance.randrange(40))]
        mine = plan(allow)
        made = _layer2_tc.programs(mine)
        for network in chance.sample(mine.peers(), min(20, len(mine.peers()))):
            own = OWN if network.version == 4 else OWN6
            for one in sorted({int(network[0]), int(network[-1]), int(network[0]) - 1, int(network[-1]) + 1}):
                address = type(network[0])(one)
                named = any(address in peer for peer in mine.peers() if peer.version == address.version)
                assert passes(packet(own, str(address)), True, made) is named, (address, network)
                assert passes(packet(str(address), own), False, made) is named, (address, network)


def test_a_plan_that_does_not_fit_says_so():
    many = plan([f"10.{number // 250}.{number % 250}.7 1/tcp" for number in range(3000)])
    assert all(taken(program) for program in _layer2_tc.programs(many).values())
    with pytest.raises(ValueError, match="instructions"):
        _layer2_tc.programs(plan([f"2001:db8:{number:x}::7 1/tcp" for number in range(1000)]))


def test_a_program_is_written_as_tc_reads_it():
    assert _layer2_tc.written(struct.pack("=HBBI", 6, 0, 0, 2)) == "1,6 0 0 2,"
