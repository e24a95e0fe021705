# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two runs, one verdict; a run that breaks, one that never began, and one that is not stopped by a policy it does not read."""

from __future__ import annotations

import socket
import threading

import pytest
from ansible_collections.firebreak.response.plugins.action import contain, isolation, snapshot
from ansible_collections.firebreak.response.plugins.plugin_utils import _resolve as resolve
from ansible_collections.firebreak.response.plugins.plugin_utils import _response as response
from ansible_collections.firebreak.response.tests.unit.plugins.action.fakes import BROKEN, UNREACHED, Host, accepted, contained, evidence

NOT_YET = "isolation: not yet confirmed over a fresh connection"


def first_run(**verdicts):
    """What a first run says: every step partial with a reason, and the isolation open."""
    steps = {name: {"changed": True, "verdict": verdicts.get(name, "contained")} for name in ("snapshot", "isolation", "termination")}
    steps["isolation"]["proof"] = {"rollback": "systemd timer", "confirmed": None}
    reasons = [f"{name}: not all of it" for name in steps if verdicts.get(name) == "partial"]
    return contained(verdict="unknown", reasons=[*reasons[:1], NOT_YET, *reasons[1:]], steps=steps)


def second_run():
    steps = {"isolation": {"verdict": "contained", "proof": {"confirmed": True}}, "termination": {"verdict": "contained"}}
    return {"changed": False, "verdict": "contained", "reasons": [], "discarded": True, "steps": steps}


def test_what_the_first_run_found_partial_stays_partial_and_what_it_left_open_is_closed(site):
    host = Host([first_run(snapshot="partial", isolation="unknown", termination="partial")], [second_run()])
    result = site.run(contain, host)
    assert (result["verdict"], result["failed"]) == ("partial", True)
    assert result["reasons"] == ["snapshot: not all of it", "termination: not all of it"]
    assert {name: step["verdict"] for name, step in result["steps"].items()} == {
        "snapshot": "partial", "isolation": "contained", "termination": "partial"}


def test_an_isolation_that_was_only_open_is_contained_by_its_confirmation(site):
    result = site.run(contain, Host([first_run(isolation="unknown")], [second_run()]))
    assert (result["verdict"], result["reasons"], result["failed"]) == ("contained", [], False)


def test_a_second_look_that_finds_more_makes_one_step_partial_and_the_whole_with_it(site):
    worse = second_run()
    worse["steps"]["termination"] = {"verdict": "partial"}
    worse.update(verdict="partial", reasons=["termination: it came back"])
    result = site.run(contain, Host([first_run(isolation="unknown")], [worse]))
    assert (result["verdict"], result["reasons"]) == ("partial", ["termination: it came back"])


def test_a_second_run_that_has_nothing_to_judge_leaves_the_verdict_as_it_is(site):
    taken = {"changed": False, "verdict": "contained", "reasons": [], "evidence": evidence(), "steps": {"snapshot": {"verdict": "contained"}}}
    host = Host([taken], [{"changed": False, "discarded": True, "reasons": [], "steps": {}}])
    result = site.run(contain, host, {"case": "INC-1", "steps": ["snapshot"]})
    assert (result["verdict"], result["failed"], host.phases) == ("contained", False, ["apply", "finish"])
    assert result["evidence"]["host_copy"] == "removed"


def ending(site, error):
    """Answers that end in an error; and how often Ansible itself would have sent each again."""
    again = []

    def answer(arguments):
        again.append(site.connection.options["reconnection_retries"])
        return error

    return answer, again


def test_a_run_that_breaks_in_the_middle_is_sent_again_neither_by_us_nor_by_ansible(site):
    answer, again = ending(site, BROKEN)
    host = Host([answer], [accepted(None, verdict="failed", rolled_back=True)])
    site.run(contain, host)
    assert host.phases == ["apply", "finish"] and again == [0]
    assert site.connection.options["reconnection_retries"] == 2


def test_a_run_that_surely_never_began_is_sent_again_as_often_as_the_site_says(site):
    answer, again = ending(site, UNREACHED)
    host = Host([answer])
    assert site.run(contain, host)["unreachable"]
    assert host.phases == ["apply"] * 3 and again == [0, 0, 0]
    assert site.connection.options["reconnection_retries"] == 2


def test_a_run_that_gets_through_at_the_second_attempt_counts(site):
    host = Host([UNREACHED, contained()], [accepted()])
    assert site.run(contain, host)["verdict"] == "contained" and host.phases == ["apply", "apply", "finish"]


@pytest.fixture
def no_resolver(monkeypatch):
    def getaddrinfo(name, port, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(resolve.socket, "getaddrinfo", getaddrinfo)
    resolve.addresses.cache_clear()
    yield
    resolve.addresses.cache_clear()


@pytest.mark.parametrize("policy", [
    {"firebreak_monitoring_systems": ["siem.example.com 514/udp"]}, {"firebreak_management": ["10.0.0.300"]}, {"firebreak_confirm_within": 1},
])
def test_a_network_policy_that_cannot_be_used_stops_an_isolation_and_no_release(site, no_resolver, policy):
    released = Host([{"changed": True, "verdict": "released", "reasons": []}])
    result = site.run(isolation, released, {"case": "INC-1", "state": "released"}, **policy)
    assert (result["verdict"], result["failed"], released.phases) == ("released", False, ["apply"])
    cut = Host([contained()])
    refused = site.run(isolation, cut, {"case": "INC-1", "state": "isolated"}, **policy)
    assert refused["refused"] and next(iter(policy)) in refused["msg"] and not cut.calls


def test_a_case_that_is_a_number_is_a_case(site):
    host = Host([contained()], [accepted()])
    assert site.run(contain, host, {"case": 42})["case"] == "42" and host.calls[0][1]["case"] == "42"


def hanging(arguments):
    threading.Event().wait(30)


def test_a_host_that_hangs_in_the_first_run_is_lost_and_looked_after(site, monkeypatch):
    monkeypatch.setattr(response, "longest", lambda options: 0.2)
    host = Host([hanging], [accepted(None, verdict="failed", rolled_back=True)])
    result = site.run(contain, host)
    assert (result["verdict"], result["rolled_back"], host.phases) == ("failed", True, ["apply", "finish"])
    assert "no answer for 0.2 seconds" in " ".join(result["reasons"]) and site.events()[-1] == "checkpoint"


def test_a_host_that_hangs_for_ever_ends_in_a_verdict_and_a_record(site, monkeypatch):
    monkeypatch.setattr(response, "longest", lambda options: 0.05)
    host = Host([contained()], [hanging])
    result = site.run(contain, host, {"case": "INC-1", "confirm_within": 5})
    assert (result["verdict"], result["unreachable"]) == ("unknown", True)
    assert site.events() == ["started", "finished", "checkpoint"]


def test_a_snapshot_of_a_host_that_hangs_is_unknown(site, monkeypatch):
    monkeypatch.setattr(response, "longest", lambda options: 0.2)
    result = site.run(snapshot, Host([hanging]))
    assert (result["outcome"], result["unreachable"]) == ("unknown", True) and "no answer" in result["reasons"][0]


def test_what_others_did_to_an_isolation_is_in_the_result_once_and_in_the_ledger_bounded(site):
    before = [{"at": f"2026-11-24T02:14:{second:02}Z", "what": "the rules had been changed or removed; they are put back"} for second in range(30)]
    first, second = contained(), accepted()
    first["steps"]["isolation"]["drift"] = [*before, {"at": "", "what": "the rules had been changed or removed before this run"}]
    second["steps"]["isolation"]["drift"] = before
    result = site.run(contain, Host([first], [second]))
    assert result["steps"]["isolation"]["drift"] == first["steps"]["isolation"]["drift"]
    finished = next(record for record in site.ledger() if record["event"] == "finished")
    assert finished["outcome"]["drift"]["count"] == 31 and len(finished["outcome"]["drift"]["last"]) == 20
    assert finished["outcome"]["drift"]["last"][-1]["what"] == "the rules had been changed or removed before this run"


def test_the_drift_that_a_release_brings_home_is_in_the_ledger(site):
    drift = [{"at": "2026-11-24T02:14:07Z", "what": "x" * 5000, "more": ["y"] * 5000}, "z"]
    result = site.run(isolation, Host([{"changed": True, "verdict": "released", "reasons": [], "drift": drift}]), {"case": "INC-1", "state": "released"})
    assert result["verdict"] == "released"
    outcome = next(record for record in site.ledger() if record["event"] == "finished")["outcome"]
    assert outcome["drift"] == {"count": 1, "last": [{"at": "2026-11-24T02:14:07Z", "what": "x" * 300}]}


def test_without_drift_the_ledger_has_none(site):
    site.run(contain, Host([contained()], [accepted()]))
    assert all("drift" not in record.get("outcome", {}) for record in site.ledger())


def test_what_a_broken_run_left_on_a_host_that_took_its_isolation_back_is_a_change(site):
    left = accepted(None, verdict="failed", rolled_back=True, changed=True, reasons=["2 processes stay stopped"])
    result = site.run(contain, Host([BROKEN], [left]))
    assert (result["verdict"], result["changed"], result["rolled_back"]) == ("failed", True, True)
    assert "2 processes stay stopped" in result["reasons"]
