# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ways in which sites differ: how Ansible brings its modules, which steps are wanted, a host whose disk is full."""

from __future__ import annotations

import json
import time

import pytest

from tests.lab import hosts, intruders, network
from tests.lab.controller import adhoc, seen


def rules(host: str) -> str:
    """The host's rules as its own nft lists them."""
    return hosts.execute(host, ["nft", "-s", "list", "ruleset"]).stdout


def shell(host: str, name: str = "bash -i") -> bool:
    """Whether a planted program runs."""
    return name in hosts.execute(host, ["ps", "-ww", "axo", "args"]).stdout


def contain(host: str, *more: str, **options: object) -> dict:
    """The result of an ad-hoc containment that may end processes."""
    return adhoc(host, "contain", json.dumps({"autonomy": "terminate", "second_look": 0, **options}), *more).of(host)


def test_modules_that_travel_as_files_do_the_same(host):
    intruders.plant(host, "reverse-shell")
    time.sleep(0.5)
    result = contain(host, "-e", "ansible_pipelining=false", case="FILES")
    assert (result["verdict"], result["reasons"], shell(host)) == ("contained", [], False)
    assert adhoc(host, "isolation", "case=FILES state=released", "-e", "ansible_pipelining=false").of(host)["verdict"] == "released"
    assert "firebreak" not in rules(host)


@pytest.mark.parametrize("steps", [["snapshot"], ["isolation"], ["termination"], ["isolation", "termination"]], ids="-".join)
def test_no_step_is_taken_but_those_that_were_asked_for(lab, steps):
    host = "deb13"
    intruders.plant(host, "reverse-shell")
    intruders.plant(host, "kworker")  # which a cut does not end
    time.sleep(0.5)
    try:
        result = contain(host, case="STEPS", steps=steps)
        assert (result["verdict"], result["reasons"]) == ("contained", [])
        assert set(result["steps"]) == {"snapshot", *steps}  # what the others destroy is always taken
        assert ("firebreak" in rules(host)) is ("isolation" in steps)
        assert shell(host, "[kworker/0:1] 86400") is ("termination" not in steps)
        again = time.time()
        time.sleep(1.2)
        assert bool(seen("c2", again, network.address(host), "shell")) is (steps == ["snapshot"])
    finally:
        adhoc(host, "isolation", "case=STEPS state=released")
        intruders.unplant(host, "reverse-shell")
        intruders.unplant(host, "kworker")


def test_a_full_disk_stops_nothing(host):
    intruders.plant(host, "reverse-shell")
    hosts.execute(host, ["sh", "-c", "mkdir -p /var/lib/firebreak && mount -t tmpfs -o size=1m,mode=700 none /var/lib/firebreak"])
    try:
        time.sleep(0.5)
        result = contain(host, case="FULL")
        # It is cut off, but not over a reboot, as was asked for.
        assert (result["verdict"], len(result["reasons"]), shell(host)) == ("partial", 1, False)
        assert "memory" in result["reasons"][0] and result["steps"]["isolation"]["proof"]["hold"]["watch"]
        assert result["evidence"]["path"].endswith("-volatile.tar.gz")
        assert adhoc(host, "isolation", "case=FULL state=released").of(host)["verdict"] == "released"
    finally:
        hosts.execute(host, ["umount", "/var/lib/firebreak"])
