# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules as text, and what listings tell."""

from __future__ import annotations

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _iptables, _nftables
from ansible_collections.firebreak.response.plugins.module_utils._isolation._commands import NO_SYSTEMD
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import make_plan
from ansible_collections.firebreak.response.plugins.module_utils._isolation._run import judge

SSH = Session("10.0.0.1", 40000, "10.0.0.2", 2222, "sshd-socket", [1])


def plan(*allow: str):
    return make_plan(SSH, list(allow), [], [], "ssh")


@pytest.mark.parametrize("management, counted", [([], 1), (["10.0.0.0/24"], 1), (["192.0.2.77"], 0), (["2001:db8::/32"], 0)])
def test_connections_of_a_responder_whom_the_list_itself_keeps_out_are_no_sign_of_sabotage(management, counted):
    made = make_plan(SSH, [], management, [], "ssh")
    assert _nftables.render(made, "INC-1").count("== syn counter") == counted
    assert sum(rule.endswith("--tcp-flags SYN,ACK SYN") for rule in _iptables.chains(made, "INC-1", 4)["FIREBREAK-INPUT"]) == counted


def test_no_rule_asks_connection_tracking():
    text = _nftables.render(plan("10.0.0.5 443/tcp"), "INC-1") + _iptables.render(plan("10.0.0.5 443/tcp"), "INC-1", 4, "")
    assert "ct state" not in text and "conntrack" not in text and "-m state" not in text


def test_a_thousand_networks_are_few_nftables_rules():
    many = _nftables.render(plan(*("10.{0}.{1}.0/25 514/udp".format(n // 250, n % 250) for n in range(1000))), "INC-1")
    assert len(many.splitlines()) == len(_nftables.render(plan("10.0.0.5 514/udp"), "INC-1").splitlines())


def test_answers_of_management_cannot_begin_a_connection():
    assert "tcp sport 2222 tcp flags & (syn|ack) != syn accept" in _nftables.render(plan(), "INC-1")
    assert "--sport 2222 ! --tcp-flags SYN,ACK SYN -j RETURN" in _iptables.render(plan(), "INC-1", 4, "")


def test_the_host_itself_cannot_take_the_places_of_sshd():
    assert 'oif "lo" tcp dport 2222 tcp flags & (syn|ack) == syn reject with tcp reset\n\t\toif "lo" accept' in _nftables.render(plan(), "INC-1")
    chain = _iptables.chains(plan(), "INC-1", 4)["FIREBREAK-OUTPUT"]
    assert chain[:2] == ["-o lo -p tcp --dport 2222 --tcp-flags SYN,ACK SYN -j REJECT --reject-with tcp-reset", "-o lo -j RETURN"]


def test_a_way_in_over_the_host_itself_stays_open():
    tunnel = make_plan(SSH._replace(peer_address="127.0.0.1"), [], [], [], "ssh")
    assert tunnel.guarded == [] and "oif \"lo\" tcp dport" not in _nftables.render(tunnel, "INC-1")
    assert make_plan(SSH._replace(peer_address=SSH.server_address), [], [], [], "ssh").guarded == []
    assert make_plan(SSH._replace(peer_address="127.0.0.1"), [], [], ["0.0.0.0/1"], "ssh").guarded == []  # merged into one network


def test_without_a_session_the_places_of_sshd_are_guarded_for_those_who_may_come():
    nobody = SSH._replace(peer_address="", server_address="", server_port=0, source="none")
    assert make_plan(nobody, [], [], ["10.0.0.0/24"], "local").guarded == [22]
    assert make_plan(nobody, [], [], [], "local").guarded == []


def test_a_later_fragment_has_no_ports():
    text = _nftables.render(plan("10.0.0.5 443/tcp"), "INC-1")
    assert "chain outbound {\n\t\tip frag-off & 8191 != 0 return\n" in text
    assert "-A FIREBREAK-LEAVING -f -j DROP\n" in _iptables.render(plan(), "INC-1", 4, "")
    assert " -f " not in _iptables.render(plan(), "INC-1", 6, "")  # there a fragment is a protocol of its own


def test_the_way_back_at_once_is_the_way_back_by_single_calls():
    table, at_once = "", []
    for line in _iptables.unhook_at_once().splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line != "COMMIT":
            at_once.append(["-t", table, *line.split()])
    assert at_once == _iptables.unhook()


def test_nobody_rewrites_before_or_after_us():
    text = _nftables.render(plan(), "INC-1")
    assert "hook prerouting priority -2147483648" in text and "hook postrouting priority 2147483647" in text


def test_no_chain_of_nftables_leaves_the_end_to_its_policy_which_comes_into_force_later_than_its_rules():
    chains = _nftables.render(plan(), "INC-1").split("\tchain ")[1:]
    hooked = {chain.split()[0]: chain.rstrip("}\n\t").splitlines()[-1].strip() for chain in chains if " hook " in chain}
    assert hooked.pop("output") == "reject with icmpx type admin-prohibited"
    assert hooked == dict.fromkeys(("prerouting", "input", "forward", "postrouting"), "drop")


def test_a_router_that_is_known_by_a_global_address_is_heard_when_it_answers():
    assert "\t\tip6 hoplimit 255 icmpv6 type 136 accept\n" in _nftables.render(plan(), "INC-1")
    assert "-p icmpv6 --icmpv6-type 136 -m hl --hl-eq 255 -j RETURN" in _iptables.chains(plan(), "INC-1", 6)["FIREBREAK-INPUT"]


def test_holder_is_read_from_the_rules():
    assert _nftables.holder(_nftables.render(plan(), "INC-1")) == "INC-1"
    assert _iptables.holder(_iptables.render(plan(), "9.x", 6, "")) == "9.x"
    assert _nftables.holder("") is None and _nftables.holder("table inet firebreak {\n}") == ""


def test_jumps_in_first_place_are_kept_and_others_are_moved_there():
    first = "*filter\n-A INPUT -j FIREBREAK-INPUT\n-A INPUT -j ACCEPT\nCOMMIT\n"
    second = "*filter\n-A INPUT -j ACCEPT\n-A INPUT -j FIREBREAK-INPUT\nCOMMIT\n"
    assert "-I INPUT" not in _iptables.render(plan(), "INC-1", 4, first)
    moved = _iptables.render(plan(), "INC-1", 4, second)
    assert "-D INPUT -j FIREBREAK-INPUT\n-I INPUT 1 -j FIREBREAK-INPUT" in moved
    assert "(not first)" in _iptables.ours(second)


def test_rules_of_others_are_not_ours():
    assert _iptables.ours("*filter\n:INPUT DROP [0:0]\n-A INPUT -s 1.2.3.4/32 -j DROP\nCOMMIT\n") == ""


def proof(**values: object) -> dict[str, object]:
    return {"ruleset": True, "flows_remaining": 0, "probe": {"holds": True}, "confirmed": True,
            "layer2": {"cover": "egress-hook", "why": "", "devices": ["eth0"], "open": [], "programs": [], "elsewhere": []},
            "widened": False, "hold": {"unit": "firebreak-hold-X.service", "persist": True, "watch": True, "owner": True, "why": ""}, **values}


def test_contained_needs_every_proof():
    assert judge(proof(), False) == ("contained", [])
    assert judge(proof(), True)[0] == "failed"
    assert judge(proof(ruleset=False), False)[0] == "failed"
    assert judge(proof(flows_remaining=1), False)[0] == "partial"
    assert judge(proof(probe={"holds": False}), False)[0] == "partial"
    hold = {"unit": "", "persist": False, "watch": False, "owner": False}
    assert judge(proof(hold={**hold, "why": "the disk is read-only"}), False)[0] == "partial"
    assert judge(proof(hold={**hold, "why": NO_SYSTEMD}), False) == ("contained", [])  # not_covered says it
    verdict, reasons = judge(proof(confirmed=None), False)
    assert verdict == "unknown" and "not yet confirmed" in reasons[0]
