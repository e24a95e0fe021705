# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Frames held back by tc, on Debian 11, whose nft knows no egress hook: what no matrix asks."""

from __future__ import annotations

import contextlib
import time

import pytest

from tests.lab import hosts, network
from tests.lab.controller import adhoc

from .conftest import clean
from .test_disturbances import MARK, Ear

HOST = "deb11"
FRAMES = f"""
import socket
for kind in ("88b5", "0800"):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("host0", 0))
    try: s.send(bytes.fromhex("ffffffffffff0266000001fe" + kind) + b"{MARK}" + b"-in-a-frame")
    except OSError: pass
"""


@pytest.fixture
def old(lab):
    clean(HOST)
    before = filters()
    yield before
    clean(HOST)


def filters() -> str:
    """Every qdisc of the host, and the filters of its interface."""
    return hosts.execute(HOST, ["sh", "-c", "tc qdisc show; for way in egress ingress; do tc filter show dev host0 $way; done"], check=False).stdout


def heard() -> int:
    """How many of two frames that the host sends come out of its wire."""
    with contextlib.closing(Ear(HOST)) as ear:
        hosts.execute(HOST, ["python3", "-c", FRAMES])
        time.sleep(0.3)
        return len(ear.times)


@pytest.mark.parametrize("what", ["tc qdisc delete dev host0 clsact", "tc filter delete dev host0 ingress"])
def test_what_somebody_took_away_is_noticed_by_the_next_run_where_nothing_watches(old, what):
    assert heard() == 2
    options = "case=TAKEN watch=false persist=false"
    first = adhoc(HOST, "isolation", options).of(HOST)
    assert (first["verdict"], first["proof"]["layer2"]["cover"]) == ("contained", "tc"), first
    hosts.execute(HOST, ["sh", "-c", what])
    again = adhoc(HOST, "isolation", options).of(HOST)
    assert (again["verdict"], again["changed"], again["proof"]["layer2"]["cover"]) == ("contained", True, "tc"), again
    assert any("before this run" in one["what"] for one in again["drift"]), again["drift"]
    assert heard() == 0
    assert adhoc(HOST, "isolation", "case=TAKEN state=released").of(HOST)["verdict"] == "released"
    assert filters() == old


def test_a_way_in_that_is_made_wider_is_wider_for_frames_too(old):
    result = adhoc(HOST, "isolation", "case=WIDER management=203.0.113.9 confirm_within=8").of(HOST)
    assert (result["verdict"], result["proof"]["widened"], result["proof"]["layer2"]["cover"]) == ("partial", True, "tc"), result
    assert heard() == 0
    assert hosts.answers("controller", network.address(HOST), 22)
    assert adhoc(HOST, "isolation", "case=WIDER state=released").of(HOST)["verdict"] == "released"
    assert filters() == old


def test_what_is_required_is_not_by_tc_and_nothing_is_changed(old):
    result = adhoc(HOST, "isolation", "case=NEED layer2=required").of(HOST)
    assert result["failed"] and "layer2: required" in " ".join(result["reasons"])
    assert filters() == old


def test_a_dry_run_shows_the_programs_and_loads_none(old):
    result = adhoc(HOST, "isolation", "case=DRY", "--check", "--diff").of(HOST)
    assert "host0 egress by tc: " in result["diff"]["after"] and filters() == old
