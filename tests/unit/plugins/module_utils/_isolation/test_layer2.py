# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Frames: which interfaces rules can be bound to, what the rules say, and what listings of several versions of nft tell."""

from __future__ import annotations

import time

from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _layer2, _not_covered
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import make_plan

PLAN = make_plan(Session("", 0, "", 0, "none", []), ["10.0.0.5 514/udp", "2001:db8::5 514/udp"], ["10.0.0.9"], [], "local")


def link(index: int, name: str, arp: int = 1, **more: object) -> dict[str, object]:
    return {"index": index, "name": name, "type": arp, **more}


def test_interfaces_are_sorted_by_what_can_be_done_about_their_frames():
    found = _layer2.sort([
        link(1, "lo", 772), link(2, "eth0"), link(3, "tun0", 65534, kind="tun"), link(4, "docker0", kind="bridge"),
        link(5, "eth1"), link(6, "eth1.7", kind="vlan", link=5), link(7, "bond0", kind="bond"), link(8, "eth2", master=7),
        link(9, "ib0", 32), link(10, 'e"; drop'), link(11, "br0", kind="bridge"), link(12, "tap0", kind="tun", master=11),
        link(13, "eth3", master=11),
    ])
    assert found.ethernet == ["bond0", "br0", "docker0", "eth0", "eth1.7"] and found.bare == ["tun0"]
    assert sorted(found.left) == ['e"; drop', "eth1", "eth2", "eth3", "ib0", "tap0"]
    assert "vlan" in found.left["eth1"] and "bond0" in found.left["eth2"] and "virtual machines" in found.left["eth3"]


def test_many_interfaces_made_later_push_none_of_the_old_ones_out_and_take_no_time():
    links = [link(number, "a{0:05d}".format(number)) for number in range(3, 20003)] + [link(2, "zz0")]
    began = time.monotonic()
    found = _layer2.sort(links)
    assert time.monotonic() - began < 2  # each compared with each would be minutes
    assert len(found.ethernet) == 255 and "zz0" in found.ethernet
    assert len(found.left) == 20001 - 255 and "255" in found.left["a20002"]


def test_programs_that_can_send_past_the_rules_are_found():
    links = [link(1, "lo", 772), link(2, "eth0", xdp=True), link(3, "eth1", xdp=False)]
    qdiscs = [{"index": 3, "kind": "clsact"}, {"index": 3, "kind": "fq_codel"}, {"index": 9, "kind": "clsact"}]
    assert _layer2.programs(links, qdiscs, {"eth1"}) == [("eth0", "XDP program"), ("eth1", "tc programs (clsact)")]
    assert _layer2.programs(links, qdiscs, set()) == [("eth0", "XDP program")], "a qdisc does nothing by itself, and may be ours"


def test_rules_for_frames_know_no_ports_and_end_with_a_drop():
    text = _layer2.render(PLAN, _layer2.Devices(["eth0"], ["tun0"], {}))
    assert "port" not in text and text.count("policy drop") == 4 and text.count("\n\t\tdrop\n\t}") == 4
    assert 'hook egress devices = { "eth0" }' in text and 'hook ingress devices = { "tun0" }' in text
    ethernet = text[text.index("chain egress_ethernet"):text.index("chain ingress_ethernet")]
    # Without the frame's own type, a packet socket could write any other than what it tells the kernel.
    assert all("ether type" in line for line in ethernet.splitlines() if "accept" in line)
    assert all(" version " in line for line in text.splitlines() if "accept" in line and "arp" not in line)
    assert "arp" not in text[text.index("chain egress_bare"):]
    assert _layer2.render(PLAN, _layer2.Devices([], [], {"ib0": "why"})) == ""


def test_a_listing_reads_the_same_whatever_nft_makes_of_the_devices():
    one = '\tchain egress_ethernet {\n\t\ttype filter hook egress device "eth0" priority 2147483647; policy drop;\n\t}\n'
    many = one.replace('device "eth0"', "devices = { eth1, eth0 }")
    quoted = one.replace('device "eth0"', 'devices = { "eth0", "eth1" }')
    assert "devices = { eth0 } priority" in _layer2.normal(one)
    assert _layer2.normal(many) == _layer2.normal(quoted)
    assert _layer2.normal(one, {"ethernet": ["eth0", "eth1"]}) == _layer2.normal(many)
    assert _layer2.bound(_layer2.normal(many)) == ["eth0", "eth1"]
    assert _layer2.bound("table inet firebreak {\n}\n") == []


def test_what_is_not_held_back_is_said():
    def frames(**values: object) -> dict[str, object]:
        return {"layer2": {"cover": "egress-hook", "why": "", "devices": ["eth0"], "open": [], "programs": [], "elsewhere": [], **values}}

    assert not [line for line in _not_covered.not_covered("nftables", frames()) if "never meet" in line or "QDISC_BYPASS" in line]
    assert "too old" in _not_covered.not_covered("nftables", frames(cover="none", why="too old"))[0]
    assert "QDISC_BYPASS" in _not_covered.not_covered("nftables", frames(cover="tc", why="too old"))[0]
    assert "2 interfaces" in _not_covered.not_covered("nftables", frames(open=[{"device": "a", "why": ""}, {"device": "b", "why": ""}]))[0]
