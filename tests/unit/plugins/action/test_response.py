# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole of an action plugin against a host that is a function: round trips, verdicts, ledger, evidence."""

from __future__ import annotations

import base64
import json
import os
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleError
from ansible_collections.firebreak.response.plugins.action import contain, isolation, snapshot, suspicious_process
from ansible_collections.firebreak.response.plugins.plugin_utils import _answer as answer_of
from ansible_collections.firebreak.response.plugins.plugin_utils import _evidence as evidence_of
from ansible_collections.firebreak.response.tests.unit.plugins.action.fakes import (
    BROKEN,
    BUNDLE,
    MANIFEST,
    UNREACHED,
    Connection,
    Host,
    accepted,
    contained,
    evidence,
)


def test_a_containment_is_two_runs_with_a_fresh_connection_between(site):
    host = Host([contained(evidence=evidence())], [accepted()])
    result = site.run(contain, host)
    assert (result["verdict"], result["failed"], result["changed"], result["reasons"]) == ("contained", False, True, [])
    assert host.phases == ["apply", "finish"] and site.connection.resets == 0
    assert host.calls[1][1]["_received"] == {"name": evidence()["name"], "sha256": evidence()["sha256"]}
    assert host.calls[1][1]["_checkpoint"].startswith("ledger count=2 head=")
    assert site.events() == ["started", "received", "finished", "checkpoint"] and site.verified()
    assert result["evidence"]["verified"] and result["evidence"]["host_copy"] == "removed"
    assert "inline" not in json.dumps(result)
    with open(result["evidence"]["path"], "rb") as stream:
        assert stream.read() == BUNDLE
    assert result["ledger"]["count"] == 4 and result["ledger"]["head"] == site.ledger()[-1]["hash"]


def test_check_mode_is_one_run_and_writes_nothing(site):
    result = site.run(contain, Host([contained(verdict="would_be contained")]), check=True)
    assert (result["verdict"], result["failed"], result["changed"]) == ("would_be contained", False, True)
    assert not os.path.exists(site.cases) and "ledger" not in result and site.connection.resets == 0


def test_the_prefix_of_check_mode_stands_once(site):
    assert site.run(contain, Host([contained()]), check=True)["verdict"] == "would_be contained"


@pytest.mark.parametrize(
    "arguments", [{}, {"case": "../x"}, {"case": "INC-1", "allow": ["nonsense"]}, {"case": "INC-1", "bogus": 1}]
)
def test_bad_input_is_refused_before_the_connection(site, arguments):
    host = Host([contained()])
    result = site.run(contain, host, arguments)
    assert result["failed"] and result["refused"] and result["verdict"] == "failed" and not host.calls
    assert not os.path.exists(site.cases)


def test_a_protected_host_is_refused_and_the_ledger_has_it(site):
    host = Host([contained()])
    result = site.run(contain, host, firebreak_protected_hosts=["web"])
    assert result["refused"] and "firebreak_protected_hosts" in result["msg"] and not host.calls
    assert site.events() == ["refused"]


def test_too_many_hosts_are_refused_but_evidence_may_be_taken_of_all(site):
    hosts = [f"web{number}" for number in range(11)]
    assert site.run(contain, Host([contained()]), ansible_play_hosts_all=hosts)["refused"]
    taken = {"changed": False, "outcome": "complete", "evidence": evidence(), "bundle": "x", "manifest": "y"}
    host = Host([taken], [{"changed": False, "discarded": True}])
    result = site.run(snapshot, host, ansible_play_hosts_all=hosts, firebreak_protected_hosts=["*"])
    assert (result["outcome"], result["failed"]) == ("complete", False)
    assert result["bundle"] == result["evidence"]["path"] and result["evidence"]["host_copy"] == "removed"


def test_a_protected_host_may_be_released(site):
    host = Host([{"changed": True, "verdict": "released", "reasons": []}])
    result = site.run(isolation, host, {"case": "INC-1", "state": "released"}, firebreak_protected_hosts=["web07"])
    assert (result["verdict"], host.phases) == ("released", ["apply"])


def test_delegation_is_refused(site):
    host = Host([contained()])
    task = SimpleNamespace(
        args={"case": "X"}, check_mode=False, async_val=0, no_log=False, delegate_to="other", action="x"
    )
    action = contain.ActionModule(
        task, site.connection, None, None, SimpleNamespace(template=lambda value: value), None
    )
    action._early_needs_tmp_path = lambda: False
    action._execute_module = host
    assert "delegate_to" in action.run(task_vars={})["msg"] and not host.calls


def test_a_host_that_is_never_reached_is_unknown_at_once(site):
    result = site.run(contain, Host([UNREACHED]))
    assert (result["verdict"], result["unreachable"], result.get("failed")) == ("unknown", True, None)
    assert site.clock.now == 0 and site.events() == ["started", "finished", "checkpoint"]
    assert site.ledger()[1]["outcome"]["verdict"] == "unknown"


def test_whoever_breaks_the_connection_does_not_get_the_network_back_by_it(site):
    busy = {"failed": True, "msg": "another Firebreak run is at work on this host", "reasons": ["another Firebreak run is at work on this host"]}
    result = site.run(contain, Host([BROKEN], [UNREACHED, busy, accepted()]))
    assert (result["verdict"], result["failed"], result["changed"]) == ("partial", True, True)
    assert site.clock.now < 60 and "confirmed" in " ".join(result["reasons"])


def test_a_connection_that_breaks_during_the_run_is_looked_after_until_the_host_has_decided(site):
    back = accepted(None, verdict="failed", rolled_back=True)
    result = site.run(contain, Host([BROKEN], [lambda arguments: back if site.clock.now >= 60 else UNREACHED]))
    assert (result["verdict"], result["rolled_back"], result["failed"]) == ("failed", True, True)
    assert site.clock.now >= 60 and "management" in " ".join(result["reasons"])


def test_a_controller_that_does_not_get_back_in_waits_for_the_rollback_and_says_so(site):
    back = accepted(None, verdict="failed", rolled_back=True)
    result = site.run(contain, Host([contained()], [lambda arguments: back if site.clock.now >= 60 else UNREACHED]))
    assert (result["verdict"], result["rolled_back"]) == ("failed", True)
    assert 60 <= site.clock.now <= 75 and any("waiting" in text for text in site.shown)


def test_a_host_that_stays_away_is_unknown_and_unreachable(site):
    result = site.run(contain, Host([contained()], [UNREACHED]))
    assert (result["verdict"], result["unreachable"], result["changed"]) == ("unknown", True, True)
    assert site.clock.now <= 75 and "console" in " ".join(result["reasons"])


def test_each_run_of_a_containment_has_a_connection_of_its_own_that_cannot_wait_for_ever(site):
    before = site.connection.options["ssh_args"]
    site.run(contain, Host([contained()], [accepted()]))
    first, second, after = site.connection.history
    assert first.startswith("-o ControlPath=none") and first == second and first.endswith(before) and after == before
    assert "-o ServerAliveInterval=5 -o ServerAliveCountMax=14" in first


def test_without_pipelining_the_commands_of_a_run_share_a_connection_and_the_runs_do_not(site):
    site.pipelining = False
    site.run(contain, Host([contained()], [accepted()]))
    first, second, _after = (value.split()[1] for value in site.connection.history)
    assert first != second and "/ansible/cp/fb-" in first
    folder = site.connection.options["control_path_dir"]
    assert os.stat(folder).st_mode & 0o777 == 0o700  # Ansible makes it only where it chooses the path itself


def test_another_transport_is_reset_before_each_run(site):
    site.connection = Connection("paramiko_ssh")
    assert site.run(contain, Host([contained()], [accepted()]))["verdict"] == "contained"
    assert site.connection.resets == 2 and not site.connection.history


def test_a_shared_connection_that_may_be_dead_is_ended(site):
    site.run(contain, Host([contained()], [UNREACHED]))
    assert site.connection.resets == 1


def test_a_snapshot_keeps_the_connection(site):
    taken = {"changed": False, "outcome": "complete", "evidence": evidence()}
    site.run(snapshot, Host([taken], [{"discarded": True}]))
    assert site.connection.resets == 0 and not site.connection.history


@pytest.mark.parametrize("value", [None, False, {"confirmed": False}, "refused", [1], 0])
def test_without_an_accepted_confirmation_nothing_is_contained(site, value):
    result = site.run(contain, Host([contained()], [accepted(value)]))
    assert (result["verdict"], result["failed"]) == ("failed", True)
    assert "did not accept" in result["reasons"][0]


def test_an_unchanged_isolation_that_waits_for_nothing_needs_no_second_run(site):
    host = Host(
        [{"changed": False, "verdict": "contained", "reasons": [], "proof": {"rollback": None, "confirmed": True}}]
    )
    result = site.run(isolation, host)
    assert (result["verdict"], host.phases) == ("contained", ["apply"])


def test_a_second_look_that_finds_something_makes_it_partial(site):
    host = Host([{"changed": True, "verdict": "contained"}], [{"verdict": "partial", "reasons": ["it came back"]}])
    result = site.run(suspicious_process, host, {"case": "INC-1", "state": "terminated"})
    assert (result["verdict"], result["reasons"], result["failed"]) == ("partial", ["it came back"], True)


def test_a_module_that_fails_is_failed_and_its_words_are_no_message(site):
    host = Host([{"failed": True, "msg": "neither nft nor iptables\x1b[2J"}])
    result = site.run(contain, host)
    assert (result["verdict"], result["failed"], host.phases) == ("failed", True, ["apply"])
    assert "nft" not in result["msg"] and any("neither nft nor iptables\\x1b" in reason for reason in result["reasons"])


def test_a_module_that_cannot_be_run_is_failed(site):
    result = site.run(contain, Host([AnsibleError("Missing sudo password")]))
    assert result["verdict"] == "failed" and "Missing sudo password" in result["reasons"][0]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "contained",
        {},
        {"verdict": {"a": 1}},
        {"verdict": "contained", "reasons": {"x": 1}, "steps": 7, "proof": []},
    ],
)
def test_an_answer_of_any_form_ends_in_a_verdict_and_a_record(site, answer):
    result = site.run(contain, Host([answer], [answer]))
    assert result["verdict"] in ("unknown", "failed", "partial", "contained") and isinstance(result["reasons"], list)
    assert site.events()[-1] == "checkpoint" and site.verified()


@pytest.mark.parametrize(
    "change", [{"sha256": "0" * 64}, {"size": 7}, {"manifest_sha256": "0" * 64}, {"name": "../x"}, {"inline": "%%%"}]
)
def test_evidence_that_is_not_what_was_announced_is_never_success_and_stays_on_the_host(site, change):
    host = Host([contained(evidence={**evidence(), **change})], [accepted()])
    result = site.run(contain, host)
    assert (result["verdict"], result["failed"]) == ("partial", True)
    assert "_received" not in host.calls[1][1] and site.verified()
    assert not any(name == "x" for name in site.files())


def fetch(arguments):
    content = {"20261124T042751.123Z-volatile.tar.gz": BUNDLE, "20261124T042751.123Z-volatile.manifest.json": MANIFEST}
    piece = arguments["_piece"]
    data = content[piece["bundle"]][piece["offset"] : piece["offset"] + piece["length"]]
    return {"piece": {"offset": piece["offset"], "data": base64.b64encode(data).decode()}}


def test_large_evidence_is_fetched_in_pieces_after_the_confirmation_and_then_removed(site, monkeypatch):
    monkeypatch.setattr(answer_of, "PIECE", 4)
    host = Host([contained(evidence=evidence(False))], [accepted(), {"discarded": True}], [fetch])
    result = site.run(contain, host)
    assert result["verdict"] == "contained" and result["evidence"]["host_copy"] == "removed"
    assert [name for name, _arguments in host.calls] == ["contain", "contain"] + ["snapshot"] * 4
    assert host.calls[-1][1]["_received"]["name"] == evidence()["name"]
    assert (
        site.files() == [os.path.basename(result["evidence"][key]) for key in ("manifest", "path")] and site.verified()
    )


def test_evidence_that_ends_too_early_is_kept_as_rejected(site):
    host = Host(
        [contained(evidence=evidence(False))],
        [accepted()],
        [{"piece": {"offset": 0, "data": base64.b64encode(b"bun").decode()}}],
    )
    result = site.run(contain, host)
    assert result["verdict"] == "partial" and host.phases[-1] == "fetch"
    assert all(name.endswith(".rejected") for name in site.files()) and site.verified()


def test_a_host_that_gives_a_byte_at_a_time_is_asked_once(site):
    host = Host([contained(evidence=evidence(False))], [accepted()], [{"piece": {"offset": 0, "data": "Yg=="}}])
    result = site.run(contain, host)
    assert result["verdict"] == "partial" and host.phases.count("fetch") == 2  # once for each of the two files
    assert result["evidence"]["host_copy"] == "kept"


@pytest.mark.parametrize(("plugin", "arguments"), [
    (contain, {"case": "INC-1", "max_bytes": 1000000}), (snapshot, {"case": "INC-1", "max_bytes": 1000000}),
    (suspicious_process, {"case": "INC-1", "state": "terminated"}),
])
def test_more_evidence_than_the_task_asked_for_is_not_fetched(site, plugin, arguments):
    large = evidence(False, size=answer_of.largest(arguments.get("max_bytes", 268435456)) + 1)
    host = Host([contained(evidence=large, outcome="complete")], [accepted()], [fetch])
    result = site.run(plugin, host, arguments)
    assert result[plugin.ActionModule.WORD] == "partial" and "fetch" not in host.phases
    assert any("max_bytes" in reason for reason in result["reasons"])


@pytest.mark.parametrize(("spare", "fetched"), [(-1, False), (0, True)])
def test_evidence_for_which_the_controller_has_no_room_is_not_fetched_and_said(site, monkeypatch, spare, fetched):
    free = len(BUNDLE) + len(MANIFEST) + 67108864 + spare
    monkeypatch.setattr(evidence_of.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    host = Host([contained(evidence=evidence(False))], [accepted(), {"discarded": True}], [fetch])
    result = site.run(contain, host)
    assert ("fetch" in host.phases) == fetched and result["verdict"] == ("contained" if fetched else "partial")
    assert any("bytes free" in reason for reason in result["reasons"]) != fetched
    assert site.events() == ["started", *(["received"] if fetched else []), "finished", "checkpoint"]


def test_a_host_lost_while_evidence_is_fetched_is_partial(site):
    result = site.run(contain, Host([contained(evidence=evidence(False))], [accepted()], [UNREACHED]))
    assert result["verdict"] == "partial" and "stays on the host" in " ".join(result["reasons"])


def test_a_partial_snapshot_says_what_is_missing(site):
    taken = {
        "changed": False,
        "outcome": "partial",
        "missing": [{"collector": "firewall", "why": "took too long"}],
        "evidence": evidence(),
    }
    result = site.run(snapshot, Host([taken], [{"discarded": True}]))
    assert (result["outcome"], result["failed"], result["reasons"]) == ("partial", True, ["firewall: took too long"])


def test_an_interruption_is_recorded(site):
    with pytest.raises(KeyboardInterrupt):
        site.run(contain, Host([lambda arguments: (one for one in ()).throw(KeyboardInterrupt())]))
    assert site.events() == ["started", "interrupted"]


def test_a_local_connection_is_not_reset_and_its_transport_is_told(site):
    site.connection = Connection("local")
    host = Host([contained()], [accepted("no network peer")])
    assert site.run(contain, host)["verdict"] == "contained"
    assert site.connection.resets == 0 and host.calls[0][1]["_transport"] == "local"


def test_the_ledger_says_who_did_what_with_what(site):
    site.run(
        contain, Host([contained()], [accepted()]), firebreak_autonomy="terminate", awx_job_id=7, awx_user_name="ann"
    )
    # In an AWX job the folder must be one that outlives it; a temporary folder is none of the job's own.
    record = site.ledger()[0]
    assert record["actor"]["awx"] == {"job": "7", "user": "ann"} and record["arguments"]["autonomy"] == "terminate"
    assert (record["host"], record["case"], record["action"]) == ("web07", "INC-1", "firebreak.response.contain")


def test_a_host_with_an_odd_name_gets_a_harmless_folder(site):
    site.run(contain, Host([contained(evidence=evidence())], [accepted()]), inventory_hostname="../../x")
    assert os.listdir(os.path.join(site.cases, "INC-1", "evidence")) == ["%2E.%2F..%2Fx"]


def test_a_mistyped_choice_is_named_with_what_would_be_right(site):
    host = Host([contained()])
    result = site.run(contain, host, {"case": "INC-1", "autonomy": "terminat"})
    assert result["refused"] and host.calls == []
    assert result["msg"] == (
        "autonomy: 'terminat' cannot be used: value of autonomy must be one of: report, freeze, terminate, got: terminat"
    )
