# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The screen at the end of a run says the worst of what was done, and nothing of what was left out."""

from __future__ import annotations

from ansible_collections.firebreak.response.plugins.filter.situation import situation

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


def test_what_others_did_to_the_isolation_is_told():
    drift = [{"at": "2026-11-24T02:14:07Z", "what": "the rules had been changed or removed; they are put back\x1b[2J"}]
    for result in ({"verdict": "contained", "drift": drift}, {"verdict": "contained", "steps": {"isolation": {"drift": drift}}}):
        text = "\n".join(situation({"web07": {"r": result}}, ["web07"], ["r"]))
        assert "others changed the isolation: 1 (the rules had been changed" in text and "has root there" in text and "\x1b" not in text
    assert "others" not in "\n".join(situation({"web07": {"r": {"verdict": "contained", "drift": []}}}, ["web07"], ["r"]))
