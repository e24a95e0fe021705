# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The screen at the end of a run says the worst of what was done, and nothing of what was left out."""

from __future__ import annotations

import inspect
import re

import pytest
from ansible_collections.firebreak.response.plugins.filter.situation import _BY_SOMEBODY, _NOBODY, situation
from ansible_collections.firebreak.response.plugins.module_utils._isolation import _control, _cut, _hold

SKIPPED = {"skipped": True, "changed": False, "skip_reason": "Conditional result was False"}


def test_a_step_that_was_left_out_does_not_count():
    found = {"network": {"verdict": "released", "reasons": []}, "processes": SKIPPED}
    assert situation({"web07": found}, ["web07"], ["network", "processes"]) == ["1 released of 1 hosts", "web07: released"]


def test_a_host_of_which_every_step_was_left_out_is_unknown():
    assert situation({"web07": {"network": SKIPPED}}, ["web07"], ["network"])[1] == "web07: unknown"


def test_a_step_that_failed_stands_before_one_that_was_left_out():
    found = {"network": {"verdict": "failed", "reasons": ["no nft"]}, "processes": SKIPPED}
    assert situation({"web07": found}, ["web07"], ["network", "processes"])[1:3] == ["web07: failed", "  because: no nft"]


def test_what_was_done_is_told_with_what_follows_from_it():
    steps = {"isolation": {"flows_cut": [{}, {}]}, "termination": {"frozen": [{"name": "xmrig"}, {"name": "x\x1b[2J"}], "terminated": []}}
    lines = situation({"web07": {"r": {"verdict": "contained", "steps": steps}}}, ["web07"], ["r"])
    assert lines[2:4] == ["  connections cut: 2", "  processes stopped, not ended: 2 (xmrig, x\\x1b[2J)"]
    assert "firebreak_autonomy: terminate" in lines[4] and lines[4].startswith("  next: ")
    found = {"network": {"verdict": "released"}, "processes": {"verdict": "released", "thawed": [{"name": "xmrig"}], "restored": [{"file": "/etc/cron.d/x"}]}}
    lines = situation({"web07": found}, ["web07"], ["network", "processes"])
    assert lines[2:4] == ["  processes that run again: 1 (xmrig)", "  cron tables given back: 1"]
    assert len([line for line in lines if line.startswith("  next: ")]) == 2
    steps = {"termination": {"terminated": [{"name": "xmrig"}]}}
    checked = situation({"web07": {"r": {"verdict": "would_be contained", "steps": steps}}}, ["web07"], ["r"])
    assert checked[2:] == ["  would be: processes ended: 1 (xmrig)"]


def test_what_an_observation_saw_is_not_told_as_cut():
    found = {"network": {"verdict": "reported", "reasons": [], "flows_cut": [], "flows_observed": [{}, {}, {}]}}
    assert situation({"web07": found}, ["web07"], ["network"]) == [
        "1 reported of 1 hosts", "web07: reported", "  connections that an isolation would cut: 3"]


DOWN = {"down": ["eth1", "x\x1b[2J"], "up": [], "kept": [{"device": "eth0", "why": "carries the management session"}]}


def test_interfaces_that_are_down_and_the_end_of_an_isolation_are_told():
    proof = {"confirmed": True, "interfaces": DOWN, "ends_at": "2026-11-25T02:14:07Z"}
    for result in ({"proof": proof}, {"steps": {"isolation": {"proof": proof}}}):
        assert situation({"web07": {"r": {"verdict": "contained", "reasons": [], **result}}}, ["web07"], ["r"])[2:] == [
            "  interfaces down: 2 (eth1, x\\x1b[2J); left up (eth0)",
            "  ends by itself at 2026-11-25T02:14:07Z: a run with firebreak_ttl=0 lets it last until it is released"]
    checked = situation({"web07": {"r": {"verdict": "would_be contained", "proof": {"interfaces": DOWN}}}}, ["web07"], ["r"])
    assert checked[2:] == ["  would be: interfaces down: 2 (eth1, x\\x1b[2J); left up (eth0)"]
    many = {"down": [f"tap{number}" for number in range(20)], "up": [], "kept": []}
    line = situation({"web07": {"r": {"verdict": "contained", "proof": {"interfaces": many}}}}, ["web07"], ["r"])[2]
    assert line.startswith("  interfaces down: 20 (tap0, ") and line.endswith("tap7, …)")
    none = {"down": [], "up": [], "kept": DOWN["kept"]}
    assert situation({"web07": {"r": {"verdict": "contained", "proof": {"interfaces": none}}}}, ["web07"], ["r"])[2] == (
        "  interfaces down: 0; left up (eth0)")


@pytest.mark.parametrize("cover, words", [("tc", "QDISC_BYPASS"), ("none", "never meet the IP layer"), ("egress-hook", ""), ("x", ""), (["tc"], "")])
def test_frames_that_are_not_held_back_are_told(cover, words):
    proof = {"mode": "full", "layer2": {"cover": cover}}
    lines = situation({"web07": {"r": {"verdict": "contained", "proof": proof}}}, ["web07"], ["r"])[2:]
    assert len(lines) == bool(words) and all(line.startswith("  note: ") and words in line for line in lines)
    assert situation({"web07": {"r": {"verdict": "reported", "proof": {**proof, "mode": "observe"}}}}, ["web07"], ["r"])[2:] == []


def test_nothing_is_told_as_down_or_as_about_to_end_where_the_host_has_taken_the_isolation_back():
    proof = {"interfaces": DOWN, "ends_at": "2026-11-25T02:14:07Z"}
    lines = situation({"web07": {"r": {"verdict": "failed", "rolled_back": True, "proof": proof}}}, ["web07"], ["r"])
    assert not [line for line in lines if "interfaces down" in line or "ends by itself" in line]


@pytest.mark.parametrize("proof", [
    {"interfaces": None, "ends_at": None}, {"interfaces": "x", "ends_at": 7}, {"interfaces": {"down": "x"}, "ends_at": "\x1b[2J"},
    {"interfaces": {}, "ends_at": "2026-11-25T02:14:07Z\n"}])
def test_interfaces_and_an_end_of_another_form_are_none(proof):
    assert situation({"web07": {"r": {"verdict": "contained", "proof": proof}}}, ["web07"], ["r"]) == ["1 contained of 1 hosts", "web07: contained"]


DRIFT = [{"at": "2026-11-24T02:14:07Z", "what": "the rules had been changed or removed; they are put back"}]


def test_what_others_did_to_an_isolation_is_told_with_what_follows_from_it():
    late = {"at": "2026-11-24T03:00:00Z", "what": "the rules for frames had been changed or removed\x1b[2J; they are put back"}
    found = {"verdict": "contained", "reasons": [], "steps": {"isolation": {"drift": [*DRIFT, late]}}}
    assert situation({"web07": {"r": found}}, ["web07"], ["r"])[2:] == [
        "  the isolation was disturbed 2 times, last at 2026-11-24T03:00:00Z: the rules for frames had been changed or removed\\x1b[2J; they are put back",
        "  next: whoever changed the rules has root on the host or manages its firewall: if that was neither you nor your tools, "
        "root is the attacker's: rebuild it, do not clean it"]
    released = {"network": {"verdict": "released", "reasons": [], "drift": DRIFT}, "processes": {"verdict": "released", "reasons": []}}
    lines = situation({"web07": released}, ["web07"], ["network", "processes"])
    assert lines[2].startswith("  the isolation was disturbed once, last at 2026-11-24T02:14:07Z: ") and "contain it again" in lines[3]
    many = situation({"web07": {"r": {"verdict": "contained", "drift": DRIFT * 100}}}, ["web07"], ["r"])
    assert "100 times or more" in many[2]


def test_an_interface_that_came_is_told_and_accuses_nobody():
    found = {"verdict": "contained", "drift": [{"at": "", "what": "the interfaces have changed, and the rules for frames with them"}]}
    lines = situation({"web07": {"r": found}}, ["web07"], ["r"])
    assert lines[2:] == ["  the isolation was disturbed once, last: the interfaces have changed, and the rules for frames with them"]


def test_an_isolation_that_has_ended_by_itself_was_not_disturbed():
    ended = {"at": "2026-11-25T02:14:07Z", "what": "the isolation before this one ended by itself: its time (ttl) was over"}
    lines = situation({"web07": {"r": {"verdict": "contained", "drift": [ended, *DRIFT]}}}, ["web07"], ["r"])[2:]
    assert lines[0] == "  note: the isolation before this one ended by itself: its time (ttl) was over (2026-11-25T02:14:07Z)"
    assert "disturbed once, last at 2026-11-24" in lines[1] and len(lines) == 3
    assert situation({"web07": {"r": {"verdict": "contained", "drift": [ended]}}}, ["web07"], ["r"])[2:] == lines[:1]
    assert inspect.getsource(_control).count('"what": "' + _NOBODY) == 2


def test_the_words_by_which_somebody_is_accused_are_those_of_the_host():
    by_somebody = [text for text in (inspect.getsource(module) for module in (_hold, _control, _cut))
                   for text in re.findall(r"'(the rules[^']*had been[^']*)'|\"what\": \"(the rules had been[^\"]*)\"", text)]
    texts = [text for pair in by_somebody for text in pair if text]
    assert len(texts) >= 4 and all(_BY_SOMEBODY in text for text in texts), texts


@pytest.mark.parametrize("drift", [None, "x", [], [1, None, "x"], {"at": 1}])
def test_a_drift_of_another_form_is_none(drift):
    assert situation({"web07": {"r": {"verdict": "contained", "drift": drift}}}, ["web07"], ["r"]) == ["1 contained of 1 hosts", "web07: contained"]


def test_what_is_said_beside_a_success_is_no_reason_for_it():
    found = {"network": {"verdict": "released", "reasons": ["evidence stays"]}, "processes": {"verdict": "partial", "reasons": ["not thawed"]}}
    assert situation({"web07": found}, ["web07"], ["network", "processes"])[1:4] == [
        "web07: partial", "  because: not thawed", "  note: evidence stays"]
    assert situation({"web07": {"r": {"verdict": "released", "reasons": [], "msg": "web07: released"}}}, ["web07"], ["r"])[2:] == []


RISKS = [{"risk": "cluster-fencing", "refuses": True}, {"risk": "network-root", "refuses": True}, {"risk": "directory-logins", "refuses": False},
         {"risk": "x; rm -rf", "refuses": True}]
PROOF = {"rollback": "systemd timer", "confirmed": None}


@pytest.mark.parametrize("result, expected", [
    ({"verdict": "failed", "refused": True}, "no connection made"),
    ({"verdict": "failed", "proof": {"confirmed": True}, "preflight": RISKS}, "mend them and run again"),
    ({"verdict": "would_be failed", "proof": {}, "preflight": RISKS}, "mend them and run again"),
    ({"verdict": "failed", "preflight": RISKS}, "add cluster-fencing, network-root to firebreak_accept_risks"),
    ({"verdict": "failed", "rolled_back": True, "steps": {"isolation": {"proof": PROOF}}}, "mend what kept the controller out"),
    ({"verdict": "failed", "proof": PROOF}, "as on_management_lost says"),
    ({"verdict": "unknown", "unreachable": True}, "nothing is known of this host"),
    ({"verdict": "unknown", "unreachable": True, "proof": PROOF}, "journalctl -t incident_response"),
    ({"verdict": "partial", "proof": {"confirmed": True}}, "read the reasons above before you rely on it"),
    ({"verdict": "failed"}, "mend them and run again"),
])
def test_what_to_do_next_follows_from_what_is_known(result, expected):
    lines = situation({"web07": {"r": result}}, ["web07"], ["r"])
    assert [line for line in lines if line.startswith("  next: ")] == [lines[-1]] and expected in lines[-1]
    assert "rm -rf" not in lines[-1]
