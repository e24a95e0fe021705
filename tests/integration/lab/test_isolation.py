# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Isolation of real hosts, read by the host's own nft, by the command-and-control server and by the monitoring."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tests.lab import hosts, intruders, network
from tests.lab.controller import adhoc, command, environment, seen
from tests.lab.machine import inside, run, space


def rules(host: str) -> str:
    """The host's rules as its own nft lists them, read past network and sshd."""
    return hosts.execute(host, ["nft", "-s", "list", "ruleset"]).stdout


def worked(host: str) -> bool:
    """Whether there is a trace of our work on the host."""
    return hosts.execute(host, ["ls", "/var/lib/firebreak"], check=False).returncode == 0


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_attacker_is_cut_off_and_nobody_else(host, backend):
    before = rules(host)
    intruders.plant(host, "reverse-shell")
    intruders.plant(host, "beacon-udp")
    source = network.address(host)
    began = time.time()
    while not (seen("c2", began, source, "shell") and seen("c2", began, source, "udp")):
        assert time.time() - began < 30, "the intruders are not alive before"
        time.sleep(0.2)

    run = adhoc(host, "isolation", f"case=CUT backend={backend}")
    result = run.of(host)
    assert run.status == 0, result
    assert (result["verdict"], result["changed"], result["backend"]) == ("contained", True, backend)
    assert any(flow["remote"] == f"{network.C2}:4444" for flow in result["flows_cut"])
    assert result["proof"]["confirmed"] is True
    cut = time.time()
    time.sleep(1.5)
    assert not seen("c2", cut, source), "the attacker still hears from the host"
    assert not hosts.answers(host, network.C2, 4444, 1)
    assert not hosts.answers("neighbour", network.address(host), 22, 1)
    assert hosts.answers("controller", network.address(host), 22)
    assert hosts.answers("monitoring", network.address(host), 9100)
    hosts.execute(host, ["logger", "after-the-cut"])
    time.sleep(0.5)
    assert [e for e in seen("monitoring", cut, source) if "after-the-cut" in e["text"]]

    assert adhoc(host, "isolation", f"case=CUT backend={backend}").of(host)["changed"] is False
    intruders.unplant(host, "beacon-udp")
    released = adhoc(host, "isolation", "case=CUT state=released").of(host)
    assert (released["verdict"], released["changed"]) == ("released", True)
    assert rules(host) == before
    back = time.time()
    time.sleep(1.5)
    assert not seen("c2", back, source, "shell"), "a cut connection came back to life"


def test_check_mode_changes_nothing_and_names_the_flows(host):
    intruders.plant(host, "reverse-shell")
    time.sleep(0.5)
    before = rules(host)
    result = adhoc(host, "isolation", "case=CHECK", "--check", "--diff").of(host)
    assert result["verdict"] == "would_be contained"
    assert any(flow["remote"] == f"{network.C2}:4444" for flow in result["flows_cut"])
    assert rules(host) == before
    assert not worked(host)
    assert not (hosts.STATE / "cases" / "CHECK").exists()


def test_wrong_management_list_gives_access_back_by_itself(host):
    before = rules(host)
    began = time.monotonic()
    run = adhoc(host, "isolation", "case=WRONG management=192.0.2.77 confirm_within=8 on_management_lost=release")
    result = run.of(host)
    assert run.status != 0
    assert (result["verdict"], result["rolled_back"]) == ("failed", True)
    assert time.monotonic() - began < 60
    assert rules(host) == before
    assert hosts.answers("controller", network.address(host), 22)


def test_wrong_management_list_keeps_the_attacker_out_and_says_so(host):
    before = rules(host)
    run = adhoc(host, "isolation", "case=WIDER management=192.0.2.77 confirm_within=6")
    result = run.of(host)
    assert run.status != 0
    assert (result["verdict"], result["proof"]["confirmed"], result["proof"]["widened"]) == ("partial", True, True), result
    assert "management" in " ".join(result["reasons"])
    assert not hosts.answers(host, network.C2, 8443, 1) and hosts.answers("controller", network.address(host), 22)
    assert adhoc(host, "isolation", "case=WIDER state=released").of(host)["verdict"] == "released"
    assert rules(host) == before


@pytest.mark.parametrize(("arguments", "expected"), [
    ("", ["case"]),
    ("case=../x", ["case", "../x"]),
    ("case=a/b", ["case", "a/b"]),
    ("case=BAD allow=no-such-host.invalid", ["allow", "no-such-host.invalid"]),
    ("case=BAD allow='10.0.0.5 99999/tcp'", ["allow", "99999"]),
    ("case=BAD management=banana", ["management", "banana"]),
    ("case=BAD confirm_within=1", ["confirm_within", "1"]),
    ("case=BAD ttl=5", ["ttl", "5", "from 60 to 2592000"]),
    ("case=BAD ttl=banana", ["ttl", "banana", "from 60 to 2592000"]),
    ("case=BAD interfaces_down=maybe", ["interfaces_down", "maybe", "true or false"]),
    ("case=BAD -e firebreak_ttl=5", ["firebreak_ttl", "5", "from 60 to 2592000"]),
    ("case=BAD -e firebreak_ttl=banana", ["firebreak_ttl", "banana", "from 60 to 2592000"]),
    ("case=BAD -e firebreak_interfaces_down=maybe", ["firebreak_interfaces_down", "maybe", "true or false"]),
    ("case=BAD colour=red", ["colour"]),
])
def test_bad_input_is_named_and_changes_nothing(lab, arguments, expected):
    host = "deb12"
    before = rules(host)
    options, *variables = arguments.split(" -e ")
    run = adhoc(host, "isolation", options, *(word for variable in variables for word in ("-e", variable)))
    result = run.of(host)
    text = json.dumps([result.get("msg"), result.get("reasons")])
    assert run.status != 0
    assert all(word in text for word in expected), text
    assert "Traceback" not in run.out + run.err
    assert rules(host) == before


def test_without_root_is_refused(lab):
    before = rules("deb13")
    result = adhoc("deb13", "isolation", "case=ROOT", "-e", "ansible_become=false").of("deb13")
    assert result["failed"] and "root" in json.dumps([result["msg"], result.get("reasons")])
    assert rules("deb13") == before and not worked("deb13")


def test_host_without_nft_and_iptables_is_refused(lab):
    host = "deb11"
    hide = "for f in nft iptables iptables-restore ip6tables-restore; do mv /usr/sbin/$f /usr/sbin/$f.away; done"
    show = "for f in nft iptables iptables-restore ip6tables-restore; do mv /usr/sbin/$f.away /usr/sbin/$f; done"
    before = rules(host)
    hosts.execute(host, ["sh", "-c", hide])
    try:
        result = adhoc(host, "isolation", "case=NONE").of(host)
    finally:
        hosts.execute(host, ["sh", "-c", show])
    text = json.dumps([result["msg"], result.get("reasons")])
    assert result["failed"] and "nft" in text and "iptables" in text
    assert rules(host) == before and not worked(host)


def test_brakes_hold_before_anything_connects(lab):
    protected = adhoc("deb13", "isolation", "case=BRAKE", "-e", '{"firebreak_protected_hosts": ["deb13"]}').of("deb13")
    assert protected["failed"] and "firebreak_protected_hosts" in protected["msg"]
    assert "firebreak" not in rules("deb13") and not worked("deb13")
    run = adhoc("lab", "isolation", "case=BRAKE", "-e", "firebreak_max_hosts=2")
    for host in hosts.HOSTS:
        assert run.of(host)["failed"] and "firebreak_max_hosts" in run.of(host)["msg"]
        assert "firebreak" not in rules(host)


def test_ledger_of_ad_hoc_calls_verifies(host):
    from ansible_collections.firebreak.response.plugins.plugin_utils._case._verify import verify

    adhoc(host, "snapshot", f"case=LEDGER-{host}")
    report = verify(hosts.STATE / "cases" / f"LEDGER-{host}")
    assert report.count >= 3 and not report.problems


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_a_leased_address_can_be_kept_and_its_rules_are_no_other_way_out(host, backend):
    own = network.address(host)
    answer = f"import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 67)); s.sendto(b'offer', ('{own}', 68))"
    client = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); s.bind(("", 68)); s.settimeout(4)
for target, port in (("255.255.255.255", 67), ("255.255.255.255", 8443), ("%s", 67)):
    try: s.sendto(b"discover", (target, port))
    except OSError: pass
print("ready", flush=True)
try: print(s.recvfrom(100)[1][0])
except OSError: print("nothing")
""" % network.C2
    ear = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((sys.argv[1], 3)); s.settimeout(1); heard = set()
print("ready", flush=True)
while True:
    try: data, source = s.recvfrom(2000)
    except OSError: break
    if source[2] != socket.PACKET_OUTGOING and b"discover" in data: heard.add("%s:%d" % (socket.inet_ntoa(data[30:34]), int.from_bytes(data[36:38], "big")))
print(sorted(heard))
"""
    hosts.execute(host, ["ip", "address", "change", f"{own}/24", "dev", "host0", "valid_lft", "3600", "preferred_lft", "3600"])
    try:
        result = adhoc(host, "isolation", f"case=LEASE backend={backend}").of(host)
        assert (result["verdict"], result["proof"]["leases"]) == ("contained", ["10.66.0.0/24"]), result
        assert any("leased" in line for line in result["not_covered"])
        for role, expected in (("internet", "nothing"), ("neighbour", network.address("neighbour"))):
            ask = ["nsenter", "-t", str(hosts.leader(host)), "-a", "--", "python3", "-c", client]
            with subprocess.Popen(inside("wire", [sys.executable, "-c", ear, f"p-{host}"]), stdout=subprocess.PIPE, text=True) as heard, \
                    subprocess.Popen(ask, stdout=subprocess.PIPE, text=True) as asks:
                assert heard.stdout.readline() == "ready\n" and asks.stdout.readline() == "ready\n"
                hosts.execute(role, ["python3", "-c", answer])
                assert asks.stdout.read().strip() == expected
                assert heard.stdout.read().strip() in ("['255.255.255.255:67']", "[]")
    finally:
        hosts.execute(host, ["ip", "address", "change", f"{own}/24", "dev", "host0", "valid_lft", "forever", "preferred_lft", "forever"])
    assert adhoc(host, "isolation", "case=LEASE state=released").of(host)["verdict"] == "released"


XDP_SOCKET = """
import mmap, socket, struct, time
s = socket.socket(44, socket.SOCK_RAW)
s.setsockopt(283, 2, struct.pack("I", 64))  # XDP_RX_RING of linux/if_xdp.h
ring = mmap.mmap(s.fileno(), 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
print("ready", flush=True)
time.sleep(120)
"""
MOVED = """
import subprocess, time
other = subprocess.Popen(["unshare", "--net", "sleep", "120"]); time.sleep(0.3)
subprocess.run(["ip", "link", "set", "host1", "netns", str(other.pid)], check=True)
print("ready", flush=True)
other.wait()
"""


@pytest.mark.parametrize(("way", "script", "what"), [("af-xdp", XDP_SOCKET, "AF_XDP"), ("moved-interface", MOVED, "network namespace")])
def test_ways_past_every_rule_are_named_and_make_the_verdict_partial(host, way, script, what):
    wire = ["ip", "-n", space("wire"), "link"]
    run([*wire, "add", "p-second", "type", "veth", "peer", "name", "host1", "netns", space(host)])
    inner = ["nsenter", "-t", str(hosts.leader(host)), "-a", "--", "python3", "-c", script]
    try:
        with subprocess.Popen(inner, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            result = adhoc(host, "isolation", f"case=PAST-{way}").of(host)
            hosts.execute(host, ["pkill", "-KILL", "-f", "sleep 120|time.sleep.120"], check=False)
            process.kill()
        assert result["verdict"] == "partial", result
        assert what in str(result["proof"]["layer2"]["elsewhere"]) and "layer2.elsewhere" in " ".join(result["reasons"])
    finally:
        run([*wire, "delete", "p-second"], check=False)
    again = adhoc(host, "isolation", f"case=PAST-{way}").of(host)
    assert (again["verdict"], again["proof"]["layer2"]["elsewhere"]) == ("contained", []), again
    assert adhoc(host, "isolation", f"case=PAST-{way} state=released").of(host)["verdict"] == "released"


def test_two_responders_at_once_are_never_a_mixture(host):
    started = [subprocess.Popen(command("ansible", host, "-m", "firebreak.response.isolation", "-a", f"case=TWO-{name} allow='{address} 514/udp'"),
                                env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
               for name, address in (("A", "10.66.0.20"), ("B", "10.66.0.30"))]
    said = [process.communicate(timeout=120)[0] for process in started]
    won = [text for text in said if '"verdict": "contained"' in text]
    lost = [text for text in said if '"verdict": "failed"' in text]
    assert (len(won), len(lost)) == (1, 1), said
    assert "another Firebreak run is at work" in lost[0] or "holds the isolation of this host" in lost[0]
    listed = rules(host)
    assert ("10.66.0.20" in listed) is not ("10.66.0.30" in listed)
    winner = "A" if '"case": "TWO-A"' in won[0] else "B"
    assert adhoc(host, "isolation", f"case=TWO-{winner} state=released").of(host)["verdict"] == "released"


def test_a_held_isolation_can_be_changed_and_a_bad_change_leaves_it_as_it_was(host):
    backend = "nftables" if host == "deb13" else "iptables"

    def isolate(more: str = "") -> dict:
        return adhoc(host, "isolation", f"case=HELD backend={backend} {more}").of(host)

    def unit() -> str:
        return hosts.execute(host, ["systemctl", "is-active", "firebreak-hold-HELD.service"], check=False).stdout.strip()

    wider = "allow='10.66.0.30 514/udp'"
    stubborn = ("mkdir /etc/systemd/system/firebreak-hold-HELD.service.d; "
                "printf '[Unit]\\nRefuseManualStop=yes\\n' >/etc/systemd/system/firebreak-hold-HELD.service.d/x.conf; systemctl daemon-reload; ")
    assert isolate()["verdict"] == "contained" and unit() == "active"
    assert isolate()["changed"] is False
    hosts.execute(host, ["sh", "-c", stubborn])  # somebody would have the unit go on with the rules of before
    changed = isolate(wider)
    assert (changed["verdict"], changed["changed"], changed["drift"]) == ("contained", True, [])
    held = hosts.execute(host, ["sh", "-c", "cat /var/lib/firebreak/HELD/hold/*.rules"]).stdout
    assert "10.66.0.30" in held
    bad = isolate("management=192.0.2.77 confirm_within=5 on_management_lost=release")
    assert (bad["verdict"], bad["rolled_back"]) == ("failed", True) and "in force again" in " ".join(bad["reasons"])
    assert unit() == "active" and not hosts.answers(host, network.C2, 8443, 0.5)
    again = isolate(wider)
    assert (again["verdict"], again["changed"]) == ("contained", False) and "taken back" in str(again["drift"])
    for persist, watch in ((False, False), (False, True), (True, False)):
        result = isolate(f"{wider} persist={persist} watch={watch}")
        hold = result["proof"]["hold"]
        assert (result["verdict"], hold["persist"], hold["watch"]) == ("contained", persist, watch), result
        assert isolate(f"{wider} persist={persist} watch={watch}")["changed"] is False
    # Without what the host remembers, or where somebody has spoiled it, the isolation in force is applied and confirmed anew.
    state = "/var/lib/firebreak/HELD/state.json"
    for spoil, verdict in ((["rm", state], "contained"), (["sh", "-c", f"echo '{{' >{state}"], "partial")):
        hosts.execute(host, spoil)
        anew = isolate(wider)
        assert (anew["verdict"], anew["changed"], unit()) == (verdict, True, "active"), anew
        assert ("was damaged" in str(anew["reasons"])) is (verdict == "partial")
    assert isolate(wider)["verdict"] == "partial"  # what it said of processes and interfaces is lost, so this stands until the release
    # Whatever somebody has made of the unit and of the state, a release is none while something of it is in force.
    hosts.execute(host, ["sh", "-c", "rm /etc/systemd/system/firebreak-hold-HELD.service; " + stubborn +
                         "mkdir -p /var/lib/firebreak/HELD/hold/sub/deeper; echo nonsense >" + state])
    released = adhoc(host, "isolation", "case=HELD state=released").of(host)
    assert released["verdict"] == "partial" and "was damaged" in str(released["reasons"]), released
    left = hosts.execute(
        host, ["sh", "-c", "nft list ruleset | grep -i firebreak; iptables-save | grep FIREBREAK; ls -d /var/lib/firebreak/HELD/hold"], check=False)
    assert (left.stdout, unit()) == ("", "inactive")
