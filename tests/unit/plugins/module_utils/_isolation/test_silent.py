# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses to which is dropped without a word what is refused elsewhere: the peers of suspects."""

from __future__ import annotations

import pytest

from ansible_collections.firebreak.response.plugins.module_utils._host._session import Session
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _iptables, _nftables
from ansible_collections.firebreak.response.plugins.module_utils._isolation._policy import EGRESS, OBSERVE, Plan, from_dict, make_plan

SSH = Session("10.0.0.1", 40000, "10.0.0.2", 22, "sshd-socket", [1])


def plan(*silent: object, mode: str = "full", management: tuple[str, ...] = ()) -> Plan:
    made = make_plan(SSH, ["10.0.0.5 514/udp", "10.7.0.0/24 443/tcp"], list(management), [], "ssh", mode)
    made.silence(silent)
    return made


def listed(made: Plan) -> list[str]:
    return [str(network) for network in made.silent]


def test_silence_comes_before_the_refusal_and_after_what_is_allowed():
    text = _nftables.render(plan("203.0.113.66", "2001:db8::66"), "INC-1")
    assert "\t\tjump outbound\n\t\tip daddr @silent_4 drop\n\t\tip6 daddr @silent_6 drop\n\t\tmeta l4proto tcp reject" in text
    assert "203.0.113.66/32" in text and "2001:db8::66/128" in text
    for family, address in ((4, "203.0.113.66/32"), (6, "2001:db8::66/128")):
        chain = _iptables.chains(plan("203.0.113.66", "2001:db8::66"), "INC-1", family)["FIREBREAK-OUTPUT"]
        assert chain[-3] == f"-d {address} -j DROP" and "REJECT" in chain[-2] and "REJECT" in chain[-1]
        assert [rule for rule in chain if "-j DROP" in rule and rule.startswith("-d")] == [chain[-3]]


@pytest.mark.parametrize("mode", ["full", EGRESS, OBSERVE])
def test_without_such_peers_the_rules_are_as_ever(mode):
    assert "silent" not in _nftables.render(plan(mode=mode), "INC-1")
    assert "silent" not in plan(mode=mode).as_dict()
    assert ("silent" in _nftables.render(plan("203.0.113.66", mode=mode), "INC-1")) is (mode != OBSERVE)


@pytest.mark.parametrize("text", [
    "10.0.0.1", "10.0.0.5", "10.7.0.9", "127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "", "x", "203.0.113.0/24", "0.0.0.0/0", 7.5, None,
    "203.0.113.66; flush ruleset"])
def test_whoever_may_talk_with_the_host_and_what_is_no_address_is_never_silent(text):
    assert listed(plan(text)) == []


def test_the_list_is_bounded_and_what_was_in_it_stays():
    made = plan("203.0.113.66")
    assert made.silence([f"198.51.100.{number}" for number in range(1, 200)])
    assert len(made.silent) == 64 and "203.0.113.66/32" in listed(made)
    assert not made.silence(["192.0.2.1"])


def test_it_outlives_the_work_folder_whatever_is_written_there():
    made = plan("203.0.113.66", "2001:db8::66")
    again = from_dict(made.as_dict(), SSH)
    assert (again.as_dict(), listed(again)) == (made.as_dict(), ["203.0.113.66/32", "2001:db8::66/128"])
    for spoilt in (None, 7, "203.0.113.66", {"a": 1}, [["x"], {}, "10.0.0.1", "0.0.0.0/1"]):
        assert listed(from_dict({**made.as_dict(), "silent": spoilt}, SSH)) == []
    old = made.as_dict()
    del old["silent"]
    assert from_dict(old, SSH).as_dict() == plan().as_dict()


def test_a_wider_way_in_keeps_it_and_the_least_plan_has_none():
    made = plan("203.0.113.66", management=("192.0.2.77",))
    wider = made.widened()
    assert wider is not None and listed(wider) == ["203.0.113.66/32"] and made.least().silent == []


def test_a_peer_that_is_let_in_is_not_silent_any_more():
    made = plan("10.0.0.1", management=("192.0.2.77",))
    assert listed(made) == ["10.0.0.1/32"]  # nobody's in this plan
    wider = made.widened()
    assert wider is not None and wider.silent == []
    assert from_dict(wider.as_dict(), SSH).as_dict() == wider.as_dict()
