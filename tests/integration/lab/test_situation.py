# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a responder reads at the end: on the last screen, in the result, and in the case."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.lab import hosts, intruders
from tests.lab.controller import Run, adhoc, command, environment, playbook

from .conftest import clean

HOST = hosts.HOSTS[0]


@pytest.fixture
def one(lab):
    """One host, clean before and after: what is read is the same on every release."""
    clean(HOST)
    yield HOST
    clean(HOST)


def screen(run: Run) -> str:
    """The last screen of a playbook."""
    return "\n".join(run.of(HOST, "Say how it stands")["msg"])


def finished(case: str) -> list[dict]:
    """The outcomes in the ledger of a case."""
    lines = (hosts.STATE / "cases" / case / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    return [record["outcome"] for record in map(json.loads, lines) if record.get("event") == "finished"]


def test_what_others_did_to_the_rules_is_told_until_the_host_is_given_back(one):
    case = f"DRIFT-{int(time.time())}"
    isolated = playbook("contain", "-l", one, "-e", f"firebreak_case={case}")
    assert isolated.of(one, "Contain the host")["verdict"] == "contained" and "disturbed" not in screen(isolated)
    hosts.execute(one, ["nft", "delete", "table", "inet", "firebreak"])
    end = time.monotonic() + 30
    while hosts.execute(one, ["test", "-s", f"/var/lib/firebreak/{case}/hold/drift"], check=False).returncode:
        assert time.monotonic() < end, "the unit has noted nothing"
        time.sleep(0.2)
    again = playbook("contain", "-l", one, "-e", f"firebreak_case={case}")
    assert again.of(one, "Contain the host")["verdict"] == "contained"
    assert "the isolation was disturbed once, last at 2" in screen(again) and "has root on the host or manages its firewall" in screen(again)
    released = playbook("release", "-l", one, "-e", f"firebreak_case={case}")
    drift = released.of(one, "Give the network back")["drift"]
    assert len(drift) == 1 and "put back" in drift[0]["what"] and drift[0]["at"], drift
    assert "the isolation was disturbed once" in screen(released)
    assert [outcome["drift"] for outcome in finished(case) if "drift" in outcome] == [{"count": 1, "last": drift}] * 2


def test_rules_that_were_removed_while_nobody_watched_are_told_by_the_run_that_finds_it(one):
    case = f"UNWATCHED-{int(time.time())}"
    options = f"case={case} persist=false watch=false"
    assert adhoc(one, "isolation", options).of(one)["verdict"] == "contained"
    hosts.execute(one, ["nft", "flush", "ruleset"])
    found = adhoc(one, "isolation", options).of(one)
    assert (found["verdict"], found["changed"]) == ("contained", True)
    assert [one["what"] for one in found["drift"]] == ["the rules had been changed or removed before this run"]
    assert adhoc(one, "isolation", f"case={case} state=released").of(one)["verdict"] == "released"


def test_what_stays_on_a_host_that_took_its_isolation_back_is_named_and_counts_as_a_change(one):
    case = f"STAYS-{int(time.time())}"
    intruders.plant(one, "miner")
    run = playbook("contain", "-l", one, "-e", f"firebreak_case={case}", "-e", "firebreak_management=192.0.2.77",
                   "-e", "firebreak_confirm_within=6", "-e", "firebreak_on_management_lost=release")
    result = run.of(one, "Contain the host")
    assert (result["verdict"], result["rolled_back"], result["changed"]) == ("failed", True, True), result
    assert "T" in hosts.execute(one, ["ps", "-C", "xmrig", "-o", "stat="]).stdout
    assert "processes stay stopped (xmrig" in " ".join(result["reasons"])
    assert "next: what was cut now is not any more" in screen(run)
    released = adhoc(one, "suspicious_process", f"case={case} state=released").of(one)
    assert released["verdict"] == "released" and released["thawed"]


def test_evidence_that_nobody_has_fetched_is_named_by_the_release_and_stays(one):
    case = f"UNFETCHED-{int(time.time())}"
    path = f"/var/lib/firebreak/{case}/20261124T042751.123Z-volatile.tar.gz"
    assert adhoc(one, "isolation", f"case={case}").of(one)["verdict"] == "contained"
    hosts.execute(one, ["sh", "-c", f"umask 077; printf evidence >{path}"])
    released = playbook("release", "-l", one, "-e", f"firebreak_case={case}")
    result = released.of(one, "Give the network back")
    assert (released.status, result["verdict"]) == (0, "released") and f"{path} (8 bytes, cut short)" in result["reasons"][-1]
    assert "note: evidence that was never fetched whole stays on the host" in screen(released)
    assert hosts.execute(one, ["cat", path]).stdout == "evidence"


def test_interfaces_and_the_end_of_an_isolation_are_on_the_screen_foreseen_and_done(one):
    case = f"UNTIL-{int(time.time())}"
    options = ("-l", one, "-e", f"firebreak_case={case}", "-e", "firebreak_ttl=3600", "-e", "firebreak_interfaces_down=true", "-e", "firebreak_second_look=0")

    def flags() -> str:
        return hosts.execute(one, ["cat", "/sys/class/net/lab-a/flags", "/sys/class/net/lab-b/flags"]).stdout

    hosts.execute(one, ["sh", "-c", "ip link add lab-a type veth peer name lab-b; ip link set lab-a up; ip link set lab-b up"])
    try:
        were = flags()
        foreseen = playbook("contain", *options, "--check", "--diff")
        assert "  would be: interfaces down: 2 (lab-a, lab-b); left up (host0)" in screen(foreseen).splitlines()
        diff = foreseen.of(one, "Contain the host")["diff"][0]
        assert diff["after"].endswith("ends by itself after 3600 seconds\n") and "interface lab-a down\n" in diff["after"]
        assert flags() == were and hosts.execute(one, ["ls", "/var/lib/firebreak"], check=False).stdout == ""
        done = playbook("contain", *options)
        at = done.of(one, "Contain the host")["steps"]["isolation"]["proof"]["ends_at"]
        assert "  interfaces down: 2 (lab-a, lab-b); left up (host0)" in screen(done).splitlines() and f"  ends by itself at {at}: " in screen(done)
        assert flags() != were
        for more in ((), ("--check",)):
            assert playbook("contain", *options, *more).of(one, "Contain the host")["changed"] is False
        lifted = playbook("contain", *options, "-e", "firebreak_ttl=0", "-e", "firebreak_interfaces_down=false")
        assert lifted.of(one, "Contain the host")["changed"] is True and flags() == were
        assert "interfaces down" not in screen(lifted) and "ends by itself" not in screen(lifted)
        released = playbook("release", *options)  # with the same variables, of which it needs none
        assert (released.status, flags()) == (0, were)
    finally:
        hosts.execute(one, ["ip", "link", "delete", "lab-a"], check=False)


def test_a_misspelt_case_is_said_to_be_unknown_on_the_host(one):
    released = playbook("release", "-l", one, "-e", "firebreak_case=MISSPELT")
    result = released.of(one, "Give the network back")
    assert (released.status, result["verdict"], result["changed"]) == (0, "released", False)
    assert screen(released).count("this host has had nothing of case MISSPELT") == 1
    assert hosts.execute(one, ["ls", "/var/lib/firebreak"], check=False).stdout == ""


def test_check_mode_warns_of_a_list_of_management_systems_that_would_lock_the_responder_out(one):
    before = hosts.execute(one, ["nft", "-s", "list", "ruleset"]).stdout
    wrong = ("-l", one, "-e", "firebreak_case=WAY", "-e", "firebreak_management=192.0.2.77", "--check")
    run = playbook("contain", *wrong)
    result = run.of(one, "Contain the host")
    assert result["verdict"] == "would_be partial" and "the way in would be lost: after 60 seconds SSH would be opened" in screen(run)
    alone = adhoc(one, "isolation", "case=WAY management=192.0.2.77 on_management_lost=release", "--check").of(one)
    assert alone["verdict"] == "would_be failed" and "take the whole cut back" in alone["reasons"][0]
    assert hosts.execute(one, ["nft", "-s", "list", "ruleset"]).stdout == before


def test_a_protected_host_that_is_misspelt_is_warned_of_once(lab):
    # With the callback that people have: it is what shows warnings.
    argv = command("ansible", "lab", "-m", "firebreak.response.snapshot", "-a", "case=PROTECT", "--check",
                   "-e", '{"firebreak_protected_hosts": ["deb31", "deb1?", "lab"]}')
    run = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False, env=environment(), stdin=subprocess.DEVNULL)
    assert run.returncode == 0 and run.stdout.count("would_be complete") >= len(hosts.HOSTS), run.stdout
    said = " ".join(run.stderr.split())
    assert said.count("has 'deb31', which names no host") == 1 and "deb1?" not in said


def test_a_host_that_the_preflight_refuses_is_told_what_to_name(one):
    hosts.execute(one, ["cp", "/bin/sleep", "/usr/sbin/corosync"])
    hosts.execute(one, ["systemd-run", "--quiet", "--collect", "--unit=lab-cluster", "/usr/sbin/corosync", "600"])
    try:
        run = playbook("contain", "-l", one, "-e", "firebreak_case=FENCED")
        result = run.of(one, "Contain the host")
        assert (result["verdict"], result["changed"]) == ("failed", False) and run.status != 0
        assert [risk["risk"] for risk in result["preflight"]] == ["cluster-fencing"]
        assert "  next: nothing was changed: see to it, or take the risk, add cluster-fencing to firebreak_accept_risks" in screen(run)
    finally:
        hosts.execute(one, ["systemctl", "stop", "lab-cluster"], check=False)
        hosts.execute(one, ["rm", "-f", "/usr/sbin/corosync"])
