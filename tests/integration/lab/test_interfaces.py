# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interfaces that an isolation takes down, and everything that the kernel forgets of them, back again."""

from __future__ import annotations

import tarfile
import time

import pytest

from tests.lab import hosts, network
from tests.lab.controller import adhoc
from tests.lab.machine import run, space

from . import matrix
from .conftest import clean
from .firewalls import difference, do, read

# A second wire, and on it whatever an interface can have: both families, a second table with a rule, attributes of routes, next hops.
WIRE = ["link add p-second type veth peer name host1 address 02:66:00:00:01:01 netns {space}", "link set p-second up"]
SET_UP = """set -e
sysctl -qw net.ipv6.conf.host1.accept_dad=1
ip address add 10.88.0.1/24 dev host1; ip address add 10.88.0.2/24 dev host1 label host1:two; ip address add 10.88.9.1/32 dev host1
ip link set host1 mtu 1400 up
ip address add fd88::1/64 dev host1; ip address add fd88::2/64 dev host1; ip address add fd88:9::1/128 dev host1 noprefixroute nodad
ip route add 10.89.0.0/24 via 10.88.0.9 metric 77 mtu 1300 advmss 1200 proto static src 10.88.0.2
ip route add 10.90.0.0/24 dev host1 scope link proto 99; ip route add 10.91.0.0/24 via 192.0.2.9 dev host1 onlink window 9000
ip route add 10.92.0.0/24 nexthop via 10.88.0.8 weight 2 nexthop via 10.88.0.9 weight 5
ip route add 10.92.1.0/24 nexthop via 10.88.0.8 nexthop via 10.66.0.30
ip route append 10.90.0.0/24 via 10.88.0.7 proto 99
ip route add default via 10.88.0.9 table 88; ip route add 10.66.0.0/24 dev host0 table 88; ip rule add from 10.88.0.0/24 lookup 88 priority 8800
ip rule add iif host1 lookup 88 priority 8801; ip -6 rule add from fd88::/64 lookup 88 priority 8800
for i in $(seq 50); do ip -6 address show dev host1 tentative | grep -q inet6 || break; sleep 0.2; done
ip -6 route add fd89::/64 via fd88::9 metric 512 mtu 1300 src fd88::2; ip -6 route add fd90::/64 via fe80::99 dev host1 proto static pref high
ip -6 route add fd91::/64 nexthop via fd88::8 weight 2 nexthop via fd88::9; ip -6 route add default via fd88::9 table 88
ip neighbour add 10.88.0.77 lladdr 02:66:00:00:00:88 dev host1 nud permanent; ip neighbour add fd88::77 lladdr 02:66:00:00:00:89 dev host1 nud permanent
ip neighbour add proxy 10.88.0.200 dev host1
ip link add link host1 name mac1 type macvlan mode bridge; ip address add 10.93.0.1/24 dev mac1; ip link set mac1 up
ip link add br7 type bridge; ip address add 10.94.0.1/24 dev br7; ip link add tap7 type veth peer name tap8; ip link set tap7 master br7 up
ip link set br7 up; ip link add idle1 type veth peer name idle2
for i in $(seq 50); do ip -6 address show tentative | grep -q inet6 || break; sleep 0.2; done
"""
OBJECTS = """set -e
ip nexthop add id 501 via 10.88.0.5 dev host1; ip nexthop add id 502 via 10.88.0.6 dev host1; ip nexthop add id 503 group 501/502
ip route add 10.95.0.0/24 nhid 501; ip route add 10.95.1.0/24 nhid 503
"""
TAKEN = ["br7", "host1", "idle1", "idle2", "mac1", "tap7", "tap8"]
WIPE = """for d in br7 tap7 mac1 idle1; do ip link delete $d; done; for p in 8800 8801; do ip rule delete priority $p; ip -6 rule delete priority $p; done
ip route flush table 88; ip -6 route flush table 88; true"""


def plug(host: str) -> None:
    """A second wire for the host, as it comes to it from outside."""
    for line in WIRE:
        run(["ip", "-n", space("wire"), *line.format(space=space(host)).split()])


@pytest.fixture
def wired(host):
    """A host with a second wire, and much on it."""
    yield from wire(host)


@pytest.fixture(params=sorted({host for host, _backend in matrix.one()}))
def one(request, lab):
    """The same on one of the hosts, another one each day."""
    clean(request.param)
    yield from wire(request.param)


def wire(host: str):
    """Give the host its wire, and take it away."""
    run(["ip", "-n", space("wire"), "link", "delete", "p-second"], check=False)
    plug(host)
    do(host, SET_UP)
    yield host
    clean(host)
    hosts.execute(host, ["sh", "-c", WIPE], check=False)
    run(["ip", "-n", space("wire"), "link", "delete", "p-second"], check=False)


def up(host: str) -> list[str]:
    """The interfaces of the host that are up, but loopback."""
    shown = do(host, "for d in /sys/class/net/*; do f=$(cat $d/flags); [ $((f & 1)) = 0 ] || echo ${d##*/}; done")
    return sorted(set(shown.split()) - {"lo"})


def settled(host: str, before: dict[str, object]) -> list[str]:
    """What is not as it was, once the kernel has looked whether anybody else has the addresses.

    Which interface's fe80::/64 stands before another's is which one's link was heard of first, so these lines are sorted.
    """
    end = time.monotonic() + 15
    while (found := difference(_sorted(before), _sorted(read(host)))) and time.monotonic() < end:
        time.sleep(0.3)
    return found


def _sorted(state: dict[str, object]) -> dict[str, object]:
    return {**state, "routes -6": "\n".join(sorted(str(state["routes -6"]).replace("\n\t", " ").splitlines()))}


def isolate(host: str, more: str = "", *words: str) -> dict:
    """The result of an isolation that takes interfaces down."""
    return adhoc(host, "isolation", f"case=WIRES interfaces_down=true {more}", *words).of(host)


def test_interfaces_go_down_and_come_back_exactly_as_they_were(wired):
    host = wired
    if "nexthop" in hosts.execute(host, ["sh", "-c", "ip nexthop help 2>&1"], check=False).stdout:
        do(host, OBJECTS)
    before, were_up = read(host), up(host)
    assert were_up == ["br7", "host0", "host1", "mac1", "tap7"]
    objects = do(host, "ip nexthop show || true")

    foreseen = isolate(host, "", "--check", "--diff")
    assert foreseen["verdict"] == "would_be contained" and foreseen["proof"]["interfaces"]["down"] == TAKEN, foreseen
    assert "interface host1 up" in foreseen["diff"]["before"] and "interface host1 down" in foreseen["diff"]["after"]
    assert up(host) == were_up and difference(before, read(host)) == []

    result = isolate(host)
    assert (result["verdict"], result["changed"]) == ("contained", True), result
    kept = {one["device"]: one["why"] for one in result["proof"]["interfaces"]["kept"]}
    assert (result["proof"]["interfaces"]["down"], result["proof"]["interfaces"]["up"]) == (TAKEN, [])
    assert kept == {"host0": "carries the management session"} and up(host) == ["host0"]
    assert hosts.answers("controller", network.address(host), 22) and hosts.answers("monitoring", network.address(host), 9100)
    assert isolate(host)["changed"] is False and isolate(host, "", "--check")["changed"] is False

    do(host, "ip link set host1 up")
    end = time.monotonic() + 5
    while "host1" in up(host):
        assert time.monotonic() < end, "the interface stays up"
        time.sleep(0.1)
    hosts.execute(host, ["systemctl", "stop", "firebreak-hold-WIRES.service"])
    do(host, "ip link set host1 up")
    again = isolate(host)
    assert (again["verdict"], again["changed"], up(host)) == ("contained", True, ["host0"]), again
    assert "taken down again" in str(again["drift"]) and "taken up again" in str(again["drift"])

    over = adhoc(host, "isolation", "case=WIRES state=released", "--check", "--diff").of(host)
    assert "interface host1 down\n" in over["diff"]["before"] and "interface host1 up\n" in over["diff"]["after"] and up(host) == ["host0"]
    released = adhoc(host, "isolation", "case=WIRES state=released").of(host)
    assert (released["verdict"], released["changed"]) == ("released", True), released
    assert settled(host, before) == [] and up(host) == were_up and do(host, "ip nexthop show || true") == objects


def test_the_host_brings_them_back_by_itself_and_what_leads_to_an_allowed_system_stays_up(one):
    host = one
    before, were_up = read(host), up(host)
    lost = adhoc(host, "isolation", "case=WIRES interfaces_down=true management=192.0.2.77 confirm_within=6 on_management_lost=release").of(host)
    assert (lost["verdict"], lost["rolled_back"]) == ("failed", True), lost
    assert settled(host, before) == [] and up(host) == were_up

    result = isolate(host, "allow='10.89.0.7 514/udp'")
    kept = {one["device"]: one["why"] for one in result["proof"]["interfaces"]["kept"]}
    assert result["verdict"] == "contained" and kept["host1"] == "leads to 10.89.0.7/32" and up(host) == ["host0", "host1"], result
    assert isolate(host, "allow='10.89.0.7 514/udp'")["changed"] is False
    # Who is not allowed any more takes his interface with him, and who is allowed again brings it back.
    assert isolate(host)["changed"] is True and up(host) == ["host0"]
    back = isolate(host, "allow='10.89.0.7 514/udp'")
    assert (back["verdict"], up(host)) == ("contained", ["host0", "host1"]), back
    assert "10.89.0.0/24 via 10.88.0.9" in do(host, "ip route")
    # Without the option everything is up, and the isolation stays.
    plain = adhoc(host, "isolation", "case=WIRES allow='10.89.0.7 514/udp'").of(host)
    assert (plain["verdict"], plain["changed"], plain["proof"]["interfaces"], up(host)) == ("contained", True, None, were_up), plain
    assert adhoc(host, "isolation", "case=WIRES state=released").of(host)["verdict"] == "released"
    assert settled(host, before) == []


def test_a_release_brings_back_what_a_change_that_was_taken_back_did_not_know_of(one):
    host = one
    before, were_up = read(host), up(host)
    assert isolate(host)["verdict"] == "contained" and up(host) == ["host0"]
    # A change that takes everything up, and that nobody can confirm: everything goes down again.
    lost = adhoc(host, "isolation", "case=WIRES management=192.0.2.77 confirm_within=6 on_management_lost=release").of(host)
    assert (lost["verdict"], lost["rolled_back"], up(host)) == ("failed", True, ["host0"]), lost
    released = adhoc(host, "isolation", "case=WIRES state=released").of(host)
    assert (released["verdict"], released["changed"]) == ("released", True), released
    assert settled(host, before) == [] and up(host) == were_up


def test_without_the_program_that_keeps_them_down_the_host_is_refused(one):
    host = one
    before = up(host)
    path = do(host, "readlink -f $(command -v ip)").strip()
    do(host, f"mv {path} {path}.away; for p in /sbin/ip /usr/sbin/ip /bin/ip; do [ ! -L $p ] || mv $p $p.away; done")
    try:
        result = isolate(host)
    finally:
        do(host, f"mv {path}.away {path}; for p in /sbin/ip /usr/sbin/ip /bin/ip; do [ ! -L $p.away ] || mv $p.away $p; done")
    assert result["verdict"] == "failed" and "interfaces_down" in " ".join(result["reasons"]), result
    assert up(host) == before and hosts.execute(host, ["ls", "/var/lib/firebreak"], check=False).returncode != 0


def test_a_containment_takes_them_down_after_what_goes_with_them_is_safe(one):
    host = one
    before = read(host)
    do(host, "ip neighbour replace 10.88.0.55 lladdr 02:66:00:00:00:55 dev host1 nud reachable")
    result = adhoc(host, "contain", "case=WIRES interfaces_down=true second_look=0 steps=snapshot,isolation").of(host)
    assert (result["verdict"], result["steps"]["isolation"]["proof"]["interfaces"]["down"]) == ("contained", TAKEN), result
    with tarfile.open(result["evidence"]["path"]) as bundle:
        taken = b"".join(bundle.extractfile(member).read() for member in bundle.getmembers() if member.isfile() and "network" in member.name)
    assert b"10.88.0.55" in taken, "the neighbours of what goes down are in the evidence"
    assert adhoc(host, "isolation", "case=WIRES state=released").of(host)["verdict"] == "released"
    assert settled(host, before) == []


def test_they_stay_down_over_a_reboot_and_come_back_after_it(one):
    host = one
    assert isolate(host)["verdict"] == "contained"
    plugged = []

    def again() -> None:
        plug(host)
        run(["ip", "-n", space(host), "address", "add", "10.88.0.1/24", "dev", "host1"])
        run(["ip", "-n", space(host), "link", "set", "host1", "up"])
        plugged.append(True)

    hosts.reboot(host, before_boot=again)
    end = time.monotonic() + 10
    while "host1" in up(host):
        assert time.monotonic() < end, "the interface stays up after a reboot"
        time.sleep(0.1)
    assert plugged and isolate(host)["changed"] is False
    released = adhoc(host, "isolation", "case=WIRES state=released").of(host)
    assert released["verdict"] == "released", released
    assert "are gone" in " ".join(released["reasons"]), "what was made by hand is gone with a reboot"
    assert up(host) == ["host0", "host1"]
    shown = do(host, "ip address show dev host1; ip route; ip route show table 88; ip neighbour show nud permanent; ip rule")
    for part in ("10.88.0.2/24", "fd88::2/64", "10.89.0.0/24 via 10.88.0.9", "default via 10.88.0.9", "10.88.0.77", "from 10.88.0.0/24 lookup 88"):
        assert part in shown, part
