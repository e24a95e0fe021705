# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leased addresses, and what passes so that the host keeps them."""

from __future__ import annotations

from ipaddress import ip_network

from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _iptables, _layer2, _leases, _nftables
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import from_dict, make_plan

SSH = Session("10.0.0.1", 40000, "10.0.0.2", 22, "sshd-socket", [1])
LEASED = [ip_network("10.0.0.0/24"), ip_network("fe80::/10")]


def address(text: str, prefix: int, valid: int = 4294967295, scope: int = 0) -> dict[str, object]:
    return {"address": text, "prefix": prefix, "valid": valid, "scope": scope, "index": 2}


def test_only_an_address_for_a_time_is_leased():
    assert _leases.networks([
        address("10.0.0.2", 24, 3600), address("192.0.2.9", 24), address("127.0.0.1", 8, scope=254), address("fe80::1", 64, 60, scope=253),
        address("2001:db8::5", 64, 1800),  # by router advertisement
        address("2001:db8::77", 128, 1800), {"index": 3},
    ]) == LEASED


def test_the_client_calls_to_the_link_and_nobody_elsewhere_answers():
    plan = make_plan(SSH, [], [], [], "ssh", leases=LEASED)
    for text in (_nftables.render(plan, "X"), _layer2.render(plan, _layer2.Devices(["eth0"], [], {}))):
        assert "ip saddr { 10.0.0.0/24 } udp sport 67 udp dport 68 accept" in text
        assert "ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept" in text
        assert "ip6 daddr ff02::1:2 udp sport 546 udp dport 547 accept" in text
    assert "-s 10.0.0.0/24 -p udp --sport 67 --dport 68 -j RETURN" in _iptables.render(plan, "X", 4, "")
    assert "-d ff02::1:2 -p udp --sport 546 --dport 547 -j RETURN" in _iptables.render(plan, "X", 6, "")
    assert from_dict(plan.as_dict(), SSH).as_dict() == plan.as_dict()


def test_a_server_that_is_named_stands_for_all_others():
    plan = make_plan(SSH, ["10.0.0.250 67/udp"], [], [], "ssh", leases=LEASED)
    text = _nftables.render(plan, "X")
    assert "ip saddr { 10.0.0.250/32 } udp sport 67" in text and "10.0.0.0/24" not in text and "sport 547" in text


def test_where_nothing_is_leased_nothing_of_it_passes():
    plan = make_plan(SSH, ["10.0.0.250 67/udp"], [], [], "ssh", leases=[])
    assert "dport 68" not in _nftables.render(plan, "X") and "255.255.255.255" not in _nftables.render(plan, "X")
