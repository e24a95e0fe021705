# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many networks in a tree of chains: the same packets pass as with one rule a network, and each meets few rules."""

from __future__ import annotations

import ipaddress
import random

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _iptables, _iptables_tree
from ansible_collections.firebreak.response.plugins.module_utils._isolation._iptables_backend import Iptables
from ansible_collections.firebreak.response.plugins.module_utils._isolation._layer2_backend import Layer2
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import collapse, make_plan

SSH = Session("10.0.0.1", 40000, "10.0.0.2", 22, "sshd-socket", [1])


def made_up(count: int, family: int, seed: int = 1) -> list:
    """Merged networks: some near each other, some anywhere, of many sizes."""
    dice = random.Random(seed)
    bits, base = (32, int(ipaddress.ip_address("10.0.0.0"))) if family == 4 else (128, int(ipaddress.ip_address("2001:db8::")))
    found = []
    for number in range(count):
        value = base + (number << (bits // 8)) if number % 2 else dice.getrandbits(bits)
        prefix = dice.randint(bits - bits // 4, bits)
        found.append(ipaddress.ip_network((value >> (bits - prefix) << (bits - prefix), prefix)))
    return collapse(found)


def walk(chains: dict[str, list[str]], name: str, address, what: str) -> tuple[str, int]:
    """What becomes of a packet in a chain, and how many rules it meets; it is met by rules that end in `what` and no other ones."""
    met = 0
    while True:
        for rule in chains[name]:
            met += 1
            match, _blank, target = rule.rpartition(" ")
            match, _blank, option = match.rpartition(" ")
            words = match.split(None, 2)
            if len(words) > 1 and words[0] == "-d":
                if address not in ipaddress.ip_network(words[1]) or words[2:] != [what]:
                    continue
            elif match:
                continue
            if option == "-g":
                name = target
                break
            return target, met
        else:
            return "end", met


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("count", [1, 2, 31, 33, 200, 1000])
def test_networks_are_split_without_overlap_and_loss(family, count):
    networks = made_up(count, family)
    parts = _iptables_tree.split(networks)
    assert [network for _whole, part in parts for network in part] == networks
    assert all(network.subnet_of(whole) for whole, part in parts for network in part)
    wholes = [whole for whole, _part in parts]
    assert all(a.broadcast_address < b.network_address for a, b in zip(wholes, wholes[1:]))
    assert all(len(part) <= _iptables_tree.MOST for _whole, part in parts)


@pytest.mark.parametrize("family", [4, 6])
def test_the_same_packets_pass_as_with_one_rule_a_network(family):
    first, second = made_up(1000, family), made_up(300, family, 2)
    passing = [_iptables_tree.Passing("-d", first, "-p udp --dport 514"), "-p esp", _iptables_tree.Passing("-d", second, "-p tcp --dport 443")]
    chains = _iptables_tree.chain("OUT", ["-o lo -j RETURN"], passing, ["-j DROP"])
    dice = random.Random(3)
    most = 0
    for networks, what in ((first, "-p udp --dport 514"), (second, "-p tcp --dport 443")):
        inside = [network[dice.randrange(min(network.num_addresses, 1 << 60))] for network in networks]
        around = [address + dice.choice((-1, 1)) * dice.choice((1, 2, 256)) for address in inside[1:-1]]
        for address in inside + around:
            verdict, met = walk(chains, "OUT", address, what)
            assert verdict == ("RETURN" if any(address in network for network in networks) else "DROP"), address
            most = max(most, met)
    assert most < 250, most  # of 1,300


@pytest.mark.parametrize("family", [4, 6])
def test_a_thousand_allowed_networks_are_few_rules_for_each_packet(family):
    form = "10.{0}.{1}.0/25 514/udp" if family == 4 else "2001:db8:{0:x}{1:02x}::/49 514/udp"
    plan = make_plan(SSH, [form.format(n // 250, n % 250) for n in range(1000)], [], [], "ssh")
    chains = _iptables.chains(plan, "INC-1", family)
    for name, rules in chains.items():
        assert len(name) < 29 and len(rules) < 140, (name, len(rules))
    assert sum(len(rules) for rules in chains.values()) > 3000


def test_few_networks_stay_in_one_chain():
    plan = make_plan(SSH, ["10.0.1.{0} 514/udp".format(2 * n) for n in range(30)], [], [], "ssh")
    assert list(_iptables.chains(plan, "INC-1", 4)) == ["FIREBREAK-INPUT", "FIREBREAK-FORWARD", "FIREBREAK-OUTPUT", "FIREBREAK-LEAVING"]


def many(count: int) -> str:
    return _iptables.render(make_plan(SSH, ["10.0.{0}.{1} 514/udp".format(n // 100, 2 * (n % 100)) for n in range(count)], [], [], "ssh"), "X", 4, "")


def test_chains_that_a_change_does_not_need_are_taken_away_in_the_same_transaction():
    big, small = many(400), many(1)
    extra = set(_iptables.names_of(big)) - set(_iptables.names_of(small))
    assert len(extra) > 20
    text = _iptables.without(small, _iptables.names_of(big))
    for name in extra:
        before, _commit, _rest = text.partition("-X {0}\n".format(name))
        assert ":{0} - [0:0]\n".format(name) in before and before.count("COMMIT") == (0 if "LEAVING" in name else 1)
    assert _iptables.without(small, _iptables.names_of(small)) == small


def test_a_release_takes_every_chain_away():
    names = _iptables.names_of(many(400))
    calls = _iptables.unhook(names)
    for what in ("-F", "-X"):
        assert sorted(call[3] for call in calls if call[2] == what) == sorted(names)
    last_flush = max(place for place, call in enumerate(calls) if call[1] == "filter" and call[2] == "-F")
    assert all(place > last_flush for place, call in enumerate(calls) if call[1] == "filter" and call[2] == "-X")


SOMEBODY = """*filter
:INPUT ACCEPT [0:0]
:FIREBREAK-INPUT - [0:0]
:FIREBREAK-INPUT-9 - [0:0]
-A INPUT -j FIREBREAK-INPUT
-A INPUT -s 192.0.2.1/32 -j FIREBREAK-INPUT-9
-A FIREBREAK-INPUT -g FIREBREAK-INPUT-9
COMMIT
"""


def test_who_leads_to_a_chain_of_our_name_keeps_no_rules_from_being_loaded():
    """iptables-restore refuses all of a text that would remove a chain which some rule leads to."""
    plan = make_plan(SSH, [], [], [], "ssh")
    assert _iptables.led_to(SOMEBODY) == {"FIREBREAK-INPUT-9"}
    text = _iptables.render(plan, "INC-1", 4, SOMEBODY)
    assert ":FIREBREAK-INPUT-9 - [0:0]" in text and "-X" not in text
    assert "-X FIREBREAK-INPUT-9" in _iptables.render(plan, "INC-1", 4, SOMEBODY.replace("-A INPUT -s 192.0.2.1/32 -j FIREBREAK-INPUT-9\n", ""))
    engine = Iptables(["/usr/sbin/iptables"], None, Layer2(None))
    engine._named = {"/usr/sbin/iptables": {"FIREBREAK-INPUT-9"}}
    first, second = engine.back({"/usr/sbin/iptables": _iptables.render(plan, "INC-1", 4, "")}, {})
    assert "-X" not in first["stdin"] and not first.get("may_fail")
    assert second["stdin"] == "*filter\n-X FIREBREAK-INPUT-9\nCOMMIT\n" and second["may_fail"]


def test_an_empty_chain_is_no_isolation():
    assert not Iptables.holds(_iptables.ours(":FIREBREAK-INPUT - [0:0]\n-A INPUT -j FIREBREAK-INPUT\n".join(("*filter\n", "COMMIT\n"))))
    assert Iptables.holds(_iptables.ours(SOMEBODY))
