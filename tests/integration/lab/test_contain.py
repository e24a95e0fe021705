# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job: a real intruder on a real host, contained by the real playbook and given back."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path

import pytest

from tests.lab import hosts, intruders, network
from tests.lab.controller import playbook, seen

SUSPECTS = ("bash -i", "dbus-run", "gvfsd", "xmrig", "/var/tmp/.x/watch", "[kworker/0:1] 86400")
TERMINATE = ("-e", "firebreak_autonomy=terminate")


def table(host: str) -> str:
    """The host's process table by its own ps."""
    return hosts.execute(host, ["ps", "-ww", "axo", "args"]).stdout


def rules(host: str) -> str:
    """The host's rules by its own nft."""
    return hosts.execute(host, ["nft", "-s", "list", "ruleset"]).stdout


def test_breached_to_contained_and_back(host):
    before = rules(host)
    for name in intruders.NAMES:
        intruders.plant(host, name)
    crontab = hosts.execute(host, ["sh", "-c", "sha256sum /etc/cron.d/lab-update; stat -c '%a %u %g %Y' /etc/cron.d/lab-update"]).stdout
    source = (network.address(host), network.address6(host))
    began = time.time()
    kinds: set[str] = set()
    while not kinds >= {"shell", "udp", "pool"}:
        assert time.time() < began + 20, f"the intruders do not reach their server: {kinds}"
        time.sleep(0.2)
        kinds = {entry["kind"] for entry in seen("c2", began) if entry["source"] in source}
    assert all(name in table(host) for name in SUSPECTS)
    case = f"BREACH-{host}-{int(time.time())}"  # a lab that stays up keeps the cases of earlier runs

    checked = playbook("contain", "-l", host, "-e", f"firebreak_case={case}", *TERMINATE, "--check")
    result = checked.of(host, "Contain the host")
    assert result["verdict"] == "would_be contained"
    assert {flow["remote"] for flow in result["steps"]["isolation"]["flows_cut"]} >= {f"{network.C2}:4444", f"{network.C2}:3333"}
    assert len(result["steps"]["termination"]["terminated"]) >= 8
    assert rules(host) == before and all(name in table(host) for name in SUSPECTS)
    assert not (hosts.STATE / "cases" / case).exists()

    run = playbook("contain", "-l", host, "-e", f"firebreak_case={case}", *TERMINATE)
    result = run.of(host, "Contain the host")
    assert (run.status, result["verdict"], result["reasons"]) == (0, "contained", []), run.out[-3000:]
    assert len(run.results[host]) <= 4  # the validation of the role's arguments does not connect
    contained = time.time()
    left = [name for name in SUSPECTS if name in table(host)]
    assert not left
    time.sleep(1.5)
    assert not [entry for entry in seen("c2", contained) if entry["source"] in source]
    assert hosts.answers("controller", network.address(host), 22)
    assert hosts.answers("monitoring", network.address(host), 9100)

    evidence = Path(result["evidence"]["path"])
    assert evidence.stat().st_mode & 0o777 == 0o600
    with tarfile.open(evidence) as bundle:
        names = bundle.getnames()
    assert any(name.startswith("[root]/proc/") for name in names) and "manifest.json" in names
    steps = [step["step"] for step in result["timeline"]]
    assert steps.index("first look safe") < steps.index("ruleset in force") < steps.index("last suspect dead")

    again = playbook("contain", "-l", host, "-e", f"firebreak_case={case}", *TERMINATE)
    assert again.status == 0 and again.of(host, "Contain the host")["changed"] is False

    released = playbook("release", "-l", host, "-e", f"firebreak_case={case}")
    assert released.status == 0, released.out[-3000:]
    assert rules(host) == before
    assert crontab == hosts.execute(
        host, ["sh", "-c", "sha256sum /etc/cron.d/lab-update; stat -c '%a %u %g %Y' /etc/cron.d/lab-update"]).stdout
    intruders.unplant(host, "cron")
    back = time.time()
    time.sleep(1.5)
    assert not [entry for entry in seen("c2", back) if entry["source"] in source and entry["kind"] == "shell"]


def test_unreachable_host_stops_nobody_and_is_in_the_ledger(lab):
    inventory = hosts.STATE / "batch.yml"
    inventory.write_text(json.dumps({"lab": {"hosts": {"gone": {"ansible_host": "10.66.0.250"}}}}), encoding="utf-8")
    run = playbook("contain", "-i", str(inventory), "-l", "deb12,gone", "-e", "firebreak_case=BATCH")
    try:
        assert run.status != 0
        assert run.of("deb12", "Contain the host")["verdict"] == "contained"
        assert run.of("gone", "Contain the host")["verdict"] == "unknown"
        said = json.dumps(run.results)
        assert "1 unknown, 1 contained of 2 hosts" in said
        ledger = (hosts.STATE / "cases" / "BATCH" / "ledger.jsonl").read_text(encoding="utf-8")
        assert any(record.get("host") == "gone" and "unknown" in json.dumps(record)
                   for record in map(json.loads, ledger.splitlines()))
    finally:
        playbook("release", "-l", "deb12", "-e", "firebreak_case=BATCH")


def test_every_host_failing_still_reaches_the_last_task(lab):
    inventory = hosts.STATE / "batch.yml"
    inventory.write_text(json.dumps({"lab": {"hosts": {"gone": {"ansible_host": "10.66.0.250"}}}}), encoding="utf-8")
    run = playbook("contain", "-i", str(inventory), "-l", "gone", "-e", "firebreak_case=ALLGONE")
    assert run.status != 0
    assert run.of("gone", "Fail every host")["failed"] is True


@pytest.mark.parametrize("target", ["isolation", "snapshot", "suspicious_process", "contain"])
def test_target_on_every_release(lab, target, tmp_path):
    """The four steps of every state (check, apply, repeat, check again), with the host's own tools as witness."""
    play = tmp_path / "play.yml"
    role = Path(__file__).resolve().parents[1] / "targets" / target
    play.write_text(json.dumps([{"hosts": "lab", "gather_facts": False, "roles": [{"role": str(role)}]}]), encoding="utf-8")
    run = playbook(str(play))
    assert run.status == 0, json.dumps(run.results)[-4000:] + run.err[-2000:]
