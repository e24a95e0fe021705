# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An isolation that ends by itself: its deadline is put, moved, kept over a reboot and taken away; when it is over, the host is as before.

The hour is not waited for: the timer's service is started by hand.
"""

from __future__ import annotations

import calendar
import json
import subprocess
import sys
import time

import pytest

from tests.lab import hosts, network
from tests.lab.controller import adhoc
from tests.lab.machine import inside

from . import matrix
from .conftest import clean
from .firewalls import difference, do, read

# A connection that the policy forbids, and how the host's own ss sees what is there of it and of the responder's.
TALKER = f"""
import socket, time
s = socket.create_connection(("{network.C2}", 8443), 5)
time.sleep(60)
"""
CALLER = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], 22), 5)
print("ready", flush=True)
time.sleep(60)
"""
TALKS = f"ss -H -t -n state established dst {network.C2} and dport = :8443"
RESPONDER = f"ss -H -t -n state established dst {network.address('controller')} and sport = :22"
LEFT = ("ls -d /etc/systemd/system/*firebreak* /etc/systemd/system/*/*firebreak* /run/systemd/system/*firebreak* /var/lib/systemd/timers/*firebreak* "
        "/var/lib/firebreak/*/hold /var/lib/firebreak/*/*.py; systemctl list-units --all --no-legend 'firebreak-*'; nft list tables | grep firebreak; "
        "iptables-save | grep FIREBREAK")


def isolate(host: str, backend: str, more: str = "", *words: str) -> dict:
    """The result of an isolation with these options too."""
    return adhoc(host, "isolation", f"case=OVER backend={backend} {more}", *words).of(host)


def release(host: str, *words: str) -> dict:
    """The result of its release."""
    return adhoc(host, "isolation", "case=OVER state=released", *words).of(host)


def ends(result: dict) -> float:
    """The end that a result tells, in seconds since the epoch."""
    return calendar.timegm(time.strptime(result["proof"]["ends_at"], "%Y-%m-%dT%H:%M:%SZ"))


def left(host: str) -> str:
    """What is left of an isolation."""
    return hosts.execute(host, ["sh", "-c", LEFT], check=False).stdout


@pytest.fixture(params=matrix.one(), ids="-".join)
def one(request, lab):
    """(release, backend), the host clean before and after."""
    clean(request.param[0])
    yield request.param
    clean(request.param[0])


def test_a_deadline_is_put_moved_and_taken_away(one):
    host, backend = one
    foreseen = isolate(host, backend, "ttl=3600", "--check")
    assert foreseen["verdict"] == "would_be contained" and left(host) == ""
    now = float(do(host, "date +%s"))
    first = isolate(host, backend, "ttl=3600")
    assert (first["verdict"], first["changed"]) == ("contained", True), first
    assert now + 3600 <= ends(first) <= float(do(host, "date +%s")) + 3601
    timer = do(host, "systemctl show -p NextElapseUSecRealtime --value firebreak-end-OVER.timer").split()
    assert time.strftime("%H:%M:%S", time.gmtime(ends(first))) in timer, timer
    again = isolate(host, backend, "ttl=3600")
    assert (again["changed"], again["proof"]["ends_at"]) == (False, first["proof"]["ends_at"]), again
    assert isolate(host, backend, "ttl=3600", "--check")["changed"] is False
    assert isolate(host, backend, "ttl=7200", "--check")["changed"] is True
    later = isolate(host, backend, "ttl=7200")
    assert (later["verdict"], later["changed"]) == ("contained", True) and ends(later) > ends(first) + 3000
    # Somebody who removes the timer wins no time: the deadline is the one that was.
    do(host, "systemctl stop firebreak-end-OVER.timer; rm /etc/systemd/system/firebreak-end-OVER.timer")
    mended = isolate(host, backend, "ttl=7200")
    assert (mended["changed"], mended["proof"]["ends_at"]) == (True, later["proof"]["ends_at"])
    none = isolate(host, backend)
    assert (none["verdict"], none["changed"], none["proof"]["ends_at"]) == ("contained", True, None)
    assert "firebreak-end" not in left(host) and "end.py" not in left(host)
    assert isolate(host, backend, "ttl=3600")["changed"] is True
    released = release(host)
    assert (released["verdict"], released["reasons"], left(host)) == ("released", [], "")


def test_when_the_time_is_over_the_host_is_as_it_was_and_the_next_run_says_so(cell):
    host, backend = cell
    before = read(host)
    result = isolate(host, backend, "ttl=3600")
    assert result["verdict"] == "contained" and not hosts.answers(host, network.C2, 8443, 0.5)
    end = json.loads(do(host, "cat /var/lib/firebreak/OVER/state.json"))["isolation"]["end"]
    do(host, "systemctl start firebreak-end-OVER.service")
    assert hosts.answers(host, network.C2, 8443, 2) and left(host) == ""
    residual = [name for name in difference(before, read(host)) if "legacy tables" not in name and "tables-legacy" not in name]
    assert residual == []
    assert "ended by itself" in do(host, "journalctl -q --no-pager -t incident_response")
    # What ends sockets, tried where there is one: the forbidden one goes, and the responder's stays.
    hosts.execute(host, ["systemd-run", "--quiet", "--collect", "--unit=lab-talker", "python3", "-c", TALKER])
    caller = subprocess.Popen(inside("controller", [sys.executable, "-c", CALLER, network.address(host)]), stdout=subprocess.PIPE, text=True)
    try:
        assert caller.stdout.readline() == "ready\n"
        until = time.monotonic() + 10
        while not (do(host, TALKS) and do(host, RESPONDER)):
            assert time.monotonic() < until, "nobody talks"
            time.sleep(0.1)
        hosts.execute(host, end["steps"][0]["argv"])
        assert do(host, TALKS) == "" and do(host, RESPONDER) != ""
    finally:
        caller.kill()
        caller.wait()
        caller.stdout.close()
        hosts.execute(host, ["systemctl", "stop", "lab-talker"], check=False)
    released = release(host)
    assert (released["verdict"], released["changed"]) == ("released", False), released
    assert "ended by itself" in " ".join(released["reasons"])
    again = isolate(host, backend, "ttl=3600")
    assert (again["verdict"], again["changed"]) == ("contained", True)
    do(host, "systemctl start firebreak-end-OVER.service")
    anew = isolate(host, backend)
    assert (anew["verdict"], anew["changed"]) == ("contained", True) and "ended by itself" in str(anew["drift"]), anew
    assert "had been changed or removed" not in str(anew["drift"])
    assert release(host)["verdict"] == "released" and left(host) == ""


def test_what_is_only_observed_goes_on_when_its_time_is_over(one):
    host, backend = one
    hosts.execute(host, ["systemd-run", "--quiet", "--collect", "--unit=lab-talker", "python3", "-c", TALKER])
    try:
        until = time.monotonic() + 10
        while not do(host, TALKS):
            assert time.monotonic() < until, "nobody talks"
            time.sleep(0.1)
        result = isolate(host, backend, "ttl=3600 mode=observe")
        assert (result["verdict"], bool(result["proof"]["ends_at"])) == ("reported", True), result
        assert isolate(host, backend, "ttl=3600 mode=observe")["changed"] is False
        do(host, "systemctl start firebreak-end-OVER.service")
        assert left(host) == "" and do(host, TALKS) != ""
    finally:
        hosts.execute(host, ["systemctl", "stop", "lab-talker"], check=False)


def test_a_diff_says_when_it_ends_and_no_end_is_a_change_of_its_own(one):
    host, backend = one
    foreseen = isolate(host, backend, "ttl=3600", "--check", "--diff")["diff"]
    assert "ends by itself" not in foreseen["before"] and "\nends by itself after 3600 seconds\n" in foreseen["after"] and left(host) == ""
    first = isolate(host, backend, "ttl=3600", "--diff")
    assert "\nends by itself after 3600 seconds\n" in first["diff"]["after"]
    again = isolate(host, backend, "ttl=3600", "--check", "--diff")
    assert again["changed"] is False and again["diff"]["before"] == again["diff"]["after"] and "ends by itself" not in again["diff"]["after"]
    at = f"ends by itself at {first['proof']['ends_at']}\n"
    lifted = isolate(host, backend, "ttl=0", "--check", "--diff", "-e", "firebreak_ttl=3600")
    assert lifted["changed"] is True and lifted["diff"]["before"] == lifted["diff"]["after"] + at
    assert "firebreak-end" in left(host), "check mode changes nothing"
    over = release(host, "--check", "--diff")
    assert over["changed"] is True and over["diff"]["before"].endswith(at) and over["diff"]["after"] == "" and "firebreak-end" in left(host)
    lifted = isolate(host, backend, "ttl=0", "-e", "firebreak_ttl=3600")
    assert (lifted["verdict"], lifted["changed"], lifted["proof"]["ends_at"]) == ("contained", True, None) and "firebreak-end" not in left(host)


def test_a_deadline_outlives_a_reboot_and_a_change_that_is_taken_back(one):
    host, backend = one
    first = isolate(host, backend, "ttl=3600 interfaces_down=true")
    bad = isolate(host, backend, "ttl=7200 management=192.0.2.77 confirm_within=5 on_management_lost=release")
    assert (bad["verdict"], bad["rolled_back"]) == ("failed", True)
    hosts.reboot(host)
    assert not hosts.answers(host, network.C2, 8443, 0.5)
    assert do(host, "systemctl is-active firebreak-end-OVER.timer").strip() == "active"
    assert isolate(host, backend, "ttl=3600 interfaces_down=true")["proof"]["ends_at"] == first["proof"]["ends_at"]
    do(host, "systemctl start firebreak-end-OVER.service")
    assert hosts.answers(host, network.C2, 8443, 2) and left(host) == ""


@pytest.mark.parametrize("seconds", ["59", "2592001", "soon"])
def test_a_time_that_cannot_be_is_refused(lab, seconds):
    result = isolate("deb13", "auto", f"ttl={seconds}")
    assert result["failed"] and "ttl" in result["msg"] + " ".join(result["reasons"]) and left("deb13") == ""


def test_a_host_without_systemd_is_refused(lab):
    host = "deb12"
    do(host, "mv /run/systemd/system /run/systemd/system.away")
    try:
        result = isolate(host, "auto", "ttl=3600")
    finally:
        do(host, "mv /run/systemd/system.away /run/systemd/system")
    assert result["verdict"] == "failed" and "ttl: the host is not run by systemd" in " ".join(result["reasons"]), result
    assert left(host) == ""
