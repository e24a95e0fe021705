# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong between two features: a change that was taken back and then a release, a deadline and an interface that came later."""

from __future__ import annotations

import time

import pytest

from tests.lab import hosts
from tests.lab.controller import adhoc

from . import matrix
from .conftest import clean
from .firewalls import do
from .test_tc import filters, heard

BAD = "management=192.0.2.77 confirm_within=5 on_management_lost=release"
SAME_ELSEWHERE = r"""set -e
b=$(tc filter show dev host0 egress | sed -n "s/.*bytecode '\(.*\)'.*/\1/p")
tc filter delete dev host0 egress pref 1
tc filter add dev host0 egress chain 7 pref 1 handle 0xf12eb protocol all bpf da bytecode "$b"
"""
PLANT = """iptables -N FIREBREAK-INPUT; iptables -N FIREBREAK-INPUT-7; iptables -A INPUT -s 192.0.2.1 -j FIREBREAK-INPUT-7"""


@pytest.fixture(params=matrix.one(), ids="-".join)
def one(request, lab):
    """(release, backend) with a second wire, the host clean before and after."""
    host = request.param[0]
    clean(host)
    do(host, "ip link add wire0 type veth peer name wire1; ip address add 10.88.0.1/24 dev wire0; ip link set wire1 up; ip link set wire0 up; "
             "ip route add 10.89.0.0/24 via 10.88.0.9")
    yield request.param
    clean(host)
    hosts.execute(host, ["ip", "link", "delete", "wire0"], check=False)


def isolate(host: str, options: str) -> dict:
    """The result of an isolation with these options."""
    return adhoc(host, "isolation", f"case=BETWEEN {options}").of(host)


def release(host: str) -> dict:
    """The result of its release."""
    return adhoc(host, "isolation", "case=BETWEEN state=released").of(host)


def test_interfaces_come_back_though_a_change_without_them_was_taken_back(one):
    host, backend = one
    options = f"backend={backend} interfaces_down=true ttl=3600"
    assert isolate(host, options)["verdict"] == "contained"
    assert isolate(host, options)["changed"] is False
    bad = isolate(host, f"backend={backend} {BAD}")
    assert (bad["verdict"], bad["rolled_back"]) == ("failed", True), bad
    assert ",UP" not in do(host, "ip link show wire0")
    released = release(host)
    assert (released["verdict"], released["reasons"]) == ("released", []), released
    assert "10.88.0.1/24" in do(host, "ip address show wire0 up") and "10.89.0.0/24 via 10.88.0.9" in do(host, "ip route")


@pytest.fixture
def old(lab):
    """Debian 11, where tc holds frames back."""
    clean("deb11")
    before = filters()
    yield "deb11"
    clean("deb11")
    hosts.execute("deb11", ["ip", "link", "delete", "late0"], check=False)
    assert filters() == before


def test_the_same_program_in_a_chain_that_nobody_asks_is_no_cover(old):
    options = "watch=false persist=false"
    assert isolate(old, options)["proof"]["layer2"]["cover"] == "tc"
    do(old, SAME_ELSEWHERE)
    assert heard() == 2
    again = isolate(old, options)
    # What he has put there stays his, and is named.
    assert (again["verdict"], again["changed"]) == ("partial", True) and [one["device"] for one in again["proof"]["layer2"]["programs"]] == ["host0"], again
    assert heard() == 0
    released = release(old)
    assert released["verdict"] == "released", released
    do(old, "tc qdisc delete dev host0 clsact")


def test_an_interface_that_came_after_the_deadline_was_put_is_given_back_too(old):
    assert isolate(old, "ttl=3600")["verdict"] == "contained"
    do(old, "ip link add late0 type veth peer name late1; ip link set late0 up")
    end = time.monotonic() + 10
    while "0xf12eb" not in hosts.execute(old, ["tc", "filter", "show", "dev", "late0", "egress"], check=False).stdout:
        assert time.monotonic() < end, "the unit does not cover it"
        time.sleep(0.2)
    do(old, "systemctl start firebreak-end-BETWEEN.service")
    assert "clsact" not in do(old, "tc qdisc show")


def test_others_clsact_stays_though_a_change_was_taken_back(old):
    do(old, "tc qdisc add dev host0 clsact")
    try:
        assert isolate(old, "")["verdict"] == "contained"
        assert isolate(old, BAD)["rolled_back"] is True
        assert release(old)["verdict"] == "released"
        assert "clsact" in do(old, "tc qdisc show dev host0")
    finally:
        hosts.execute(old, ["tc", "qdisc", "delete", "dev", "host0", "clsact"], check=False)


def test_chains_of_our_name_that_somebody_leads_to_hinder_neither_isolation_nor_release(lab):
    host = "deb13"
    clean(host)
    try:
        do(host, PLANT)
        result = isolate(host, "backend=iptables")
        assert result["verdict"] == "contained", result
        do(host, "iptables -A INPUT -j FIREBREAK-INPUT; iptables -A INPUT -s 192.0.2.2 -j FIREBREAK-INPUT")
        released = release(host)
        assert released["verdict"] == "partial" and any("lead to our chains" in reason for reason in released["reasons"]), released
        assert "-A FIREBREAK-" not in do(host, "iptables-save")
        assert isolate(host, "backend=nftables")["verdict"] == "contained"
    finally:
        clean(host)


def test_folders_in_the_places_of_our_files_keep_nothing_isolated(lab):
    host = "deb13"
    clean(host)
    try:
        assert isolate(host, "ttl=3600")["verdict"] == "contained"
        do(host, "cd /etc/systemd/system; rm firebreak-hold-BETWEEN.service firebreak-end-BETWEEN.timer; "
                 "mkdir -p firebreak-hold-BETWEEN.service/in firebreak-end-BETWEEN.timer/in /var/lib/firebreak/BETWEEN/state.json.new/in")
        released = release(host)
        assert (released["verdict"], released["reasons"]) == ("released", []), released
        assert do(host, "nft list tables; ls -d /etc/systemd/system/firebreak* || true; systemctl list-units --all --no-legend 'firebreak-*BETWEEN*'") == ""
    finally:
        clean(host)
