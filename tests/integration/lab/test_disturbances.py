# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The disturbance matrix: what others do to the rules of an isolated host, and how long it is open afterwards.

`./dev matrix disturbances` runs it. Something on the host speaks all the time, over IPv4, IPv6 and a packet socket; how long it is
heard on the host's own wire after the disturbance is what counts.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time

import pytest

from tests.lab import hosts, network
from tests.lab.controller import adhoc
from tests.lab.machine import inside, run, space

from . import matrix
from .conftest import clean

LIMIT = 5.0
MARK = "out-of-an-isolated-host"
SPEAKER = f"""
import socket, struct, time
mark = b"{MARK}"
def udp(family, to):
    s = socket.socket(family, socket.SOCK_DGRAM)
    return lambda: s.sendto(mark, (to, 8443))
def frame():
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("host0", 0)); s.send(bytes.fromhex("ffffffffffff0266000001fe88b5") + mark + b"-in-a-frame")
ways = [udp(socket.AF_INET, "{network.C2}"), udp(socket.AF_INET6, "{network.C2_6}"), frame]
while True:
    for way in ways:
        try: way()
        except OSError: pass
    time.sleep(0.02)
"""
EAR = f"""
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((sys.argv[1], 3))
print("ready", flush=True)
while True:
    data, source = s.recvfrom(65536)
    if source[2] != socket.PACKET_OUTGOING and b"{MARK}" in data: print(time.monotonic(), b"in-a-frame" in data, flush=True)
"""
UNIT = """\
[Unit]
DefaultDependencies=no
After=network-pre.target
[Service]
ExecStart=/usr/bin/python3 /root/speaker.py
Restart=always
[Install]
WantedBy=sysinit.target
"""
FLUSHING = "#!/usr/sbin/nft -f\nflush ruleset\ntable inet site { chain input { type filter hook input priority 0; policy accept; }; }\n"
# Name -> what root on the host runs. A case is left out where the host has no such thing.
ANYWHERE = {
    "nft-flush-ruleset": "nft flush ruleset",
    "nft-tables-deleted": "nft delete table inet firebreak; nft delete table netdev firebreak; nft delete table inet firebreak_held; true",
    "nft-address-allowed": f"nft add element inet firebreak peers_4 '{{ {network.C2} }}'; nft insert rule inet firebreak output accept; true",
    "iptables-flushed": "for p in iptables ip6tables; do $p -F; $p -t mangle -F; $p -X; $p -t mangle -X; $p -P OUTPUT ACCEPT; done; true",
    "iptables-jump-deleted": "iptables -D OUTPUT -j FIREBREAK-OUTPUT; iptables -t mangle -D POSTROUTING -j FIREBREAK-LEAVING; true",
    "iptables-rule-before-ours": "iptables -I OUTPUT 1 -j ACCEPT; iptables -t mangle -I POSTROUTING 1 -j ACCEPT",
    "nftables-service-started": "systemctl start nftables",
    "nftables-service-reloaded": "systemctl start nftables; systemctl reload nftables",
    "nftables-service-restarted": "systemctl restart nftables",
    "nftables-service-stopped": "systemctl start nftables; systemctl stop nftables",
    "container-network-started": "ip link add br8 type bridge; ip address add 10.98.0.1/24 dev br8; ip link set br8 up; "
                                 "iptables -t nat -A POSTROUTING -s 10.98.0.0/24 -j MASQUERADE; iptables -P FORWARD ACCEPT; "
                                 "iptables -I FORWARD -i br8 -j ACCEPT; iptables -I FORWARD -o br8 -j ACCEPT",
    "holder-killed": "systemctl kill -s KILL --kill-who=all 'firebreak-hold-*'",
    "flushed-and-holder-killed": "nft flush ruleset; systemctl kill -s KILL --kill-who=all 'firebreak-hold-*'; nft flush ruleset",
}
MANAGED = {
    "netfilter-persistent-reloaded": (
        "/usr/sbin/netfilter-persistent", "netfilter-persistent save; netfilter-persistent flush; netfilter-persistent reload; true"),
    "firewalld-started": ("/usr/sbin/firewalld", "systemctl start firewalld"),
    "firewalld-reloaded": ("/usr/sbin/firewalld", "systemctl start firewalld; firewall-cmd --complete-reload"),
    "firewalld-stopped": ("/usr/sbin/firewalld", "systemctl start firewalld; systemctl stop firewalld"),
    "ufw-enabled": ("/usr/sbin/ufw", "ufw allow 22/tcp; ufw --force enable"),
    "ufw-reloaded": ("/usr/sbin/ufw", "ufw allow 22/tcp; ufw --force enable; ufw reload; ufw --force disable"),
}
# Where tc holds frames back: what others do there. The last one takes what the one before has left.
_EVERYTHING = "tc filter {0} dev host0 egress pref 1 protocol all handle {1} bpf da bytecode '1,6 0 0 0,'"
BY_TC = {
    "tc-filters-deleted": "tc filter delete dev host0 egress; tc filter delete dev host0 ingress",
    "tc-program-replaced": _EVERYTHING.format("replace", "0xf12eb"),
    "tc-filter-before-ours": _EVERYTHING.format("add", "0x7"),
    "tc-clsact-deleted": "tc qdisc delete dev host0 clsact",
}
# Before a reboot; the last one leaves the host without its usual way to load rules.
BOOTS = {
    "rebooted": "true",
    "power-cut": "true",
    "rebooted-with-nftables-service": "systemctl enable nftables",
    "rebooted-with-a-corrupt-rule-file":
        "cd /var/lib/firebreak/*/hold; for f in nft.rules iptables.rules ip6tables.rules; do [ ! -e $f ] || echo nonsense >$f; done",
    "rebooted-without-nft": "mv /usr/sbin/nft /usr/sbin/nft.away",
}
AFTERWARDS = ("for p in nftables firewalld ufw netfilter-persistent; do systemctl disable --now $p; done; ip link delete br8; rm -f /etc/iptables/rules.*; "
              "ufw --force disable; for p in iptables ip6tables; do for t in filter nat mangle; do $p -t $t -F; done; done; nft flush ruleset; "
              "mv /usr/sbin/nft.away /usr/sbin/nft; systemctl disable --now speaker; rm -f /etc/systemd/system/speaker.service; true")


@pytest.fixture(params=matrix.cells(), ids="-".join)
def cell(request, lab):
    """(release, backend), with somebody who speaks on the host all the time, after a reboot too."""
    host = request.param[0]
    clean(host)
    hosts.execute(host, ["sh", "-c", "cat >/root/speaker.py"], text=SPEAKER)
    hosts.execute(host, ["sh", "-c", "cat >/etc/systemd/system/speaker.service"], text=UNIT)
    hosts.execute(host, ["sh", "-c", "cat >/etc/nftables.conf"], text=FLUSHING)
    hosts.execute(host, ["systemctl", "enable", "--quiet", "--now", "speaker"])
    yield request.param
    hosts.execute(host, ["sh", "-c", AFTERWARDS], check=False)
    clean(host)


class Ear:
    """Hears on the host's wire; `times`: when it heard something, without `frames` only of what is IP."""

    def __init__(self, host: str, frames: bool = True) -> None:
        self.times: list[float] = []
        self._frames = frames
        self._process = subprocess.Popen(inside("wire", [sys.executable, "-c", EAR, f"p-{host}"]), stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None and self._process.stdout.readline() == "ready\n"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at, framed = line.split()
            if self._frames or framed == "False":
                self.times.append(float(at))

    def open_for(self, since: float) -> float:
        """Seconds from a moment to the last word heard after it; listens until nothing came for longer than the unit needs to look."""
        while True:
            last = max([since, *(one for one in self.times if one > since)])
            if time.monotonic() - last > 2.7 or last - since > LIMIT:
                return last - since
            time.sleep(0.1)

    def close(self) -> None:
        """Hear no more."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def isolate(host: str, backend: str, case: str) -> dict:
    """The result of an isolation that is held."""
    result = adhoc(host, "isolation", f"case={case} backend={backend}").of(host)
    assert result["verdict"] == "contained", result
    assert result["proof"]["hold"]["watch"] and result["proof"]["hold"]["persist"], result["proof"]["hold"]
    assert result["proof"]["hold"]["owner"] is (host != "deb11")
    return result


def row(case: str, cell: tuple[str, str], got: float, way_in: bool) -> dict[str, object]:
    """One line of the matrix."""
    return {"case": case, "release": cell[0], "backend": cell[1], "expected": f"closed within {LIMIT:g} s, way in open",
            "got": f"{got:.2f} s" + ("" if way_in else ", no way in"), "holds": got <= LIMIT and way_in}


def reboot(host: str, name: str) -> float:
    """Reboot and listen: seconds from the first word to the last one, none where nothing was heard."""
    ears: list[Ear] = []
    # Without nft, only tc can hold back frames.
    frames = host == "deb11" or "without-nft" not in name
    hosts.reboot(host, crash=name == "power-cut", before_boot=lambda: ears.append(Ear(host, frames)))
    with contextlib.closing(ears[0]) as ear:
        time.sleep(3)
        return ear.open_for(ear.times[0] - 0.001) if ear.times else 0.0


def test_the_isolation_holds(cell):
    host, backend = cell
    rows = []
    with contextlib.closing(Ear(host)) as ear:
        time.sleep(0.3)
        assert ear.times, "nobody speaks before the isolation"
        by_tc = isolate(host, backend, "HOLD")["proof"]["layer2"]["cover"] == "tc"
        assert by_tc is (host == "deb11")
        start = time.monotonic()
        assert ear.open_for(start) < 0.1
        cases = {**ANYWHERE, **(BY_TC if by_tc else {})}
        cases.update({name: what for name, (path, what) in MANAGED.items()
                      if hosts.execute(host, ["test", "-e", path], check=False).returncode == 0})
        for name, what in cases.items():
            began = time.monotonic()
            done = hosts.execute(host, ["sh", "-c", what], check=False)
            assert done.returncode == 0, (name, done.stderr)
            rows.append(row(name, cell, ear.open_for(began), hosts.answers("controller", network.address(host), 22)))
    again = adhoc(host, "isolation", f"case=HOLD backend={backend}").of(host)
    assert again["verdict"] == "contained", again
    said = " ".join(one["what"] for one in again["drift"])
    assert "put back" in said, "nothing was said of what others did"
    journal = hosts.execute(host, ["sh", "-c", "journalctl -q --no-pager -t incident_response | grep -c 'put back'"], check=False).stdout
    assert int(journal) >= 1, "nothing stands in the host's journal"
    for name, what in BOOTS.items():
        hosts.execute(host, ["sh", "-c", what])
        got = reboot(host, name)
        rows.append(row(name, cell, got, hosts.answers("controller", network.address(host), 22)))
    hosts.execute(host, ["mv", "/usr/sbin/nft.away", "/usr/sbin/nft"])
    released = adhoc(host, "isolation", "case=HOLD state=released").of(host)
    matrix.write("disturbances", rows)
    assert released["verdict"] == "released", released["reasons"]
    left = hosts.execute(host, ["sh", "-c", "ls -d /etc/systemd/system/*firebreak* /etc/systemd/system/*/*firebreak* /var/lib/firebreak/*/hold; "
                                "systemctl list-units --all --no-legend 'firebreak-*'; iptables-save | grep FIREBREAK; nft list tables | grep firebreak"],
                         check=False).stdout
    assert left == "", "a release leaves nothing that held"
    assert [one for one in rows if not one["holds"]] == []


@pytest.mark.parametrize("kind", ["macvlan", "veth"])
def test_an_interface_that_is_added_later_is_covered(cell, kind):
    host, backend = cell
    isolate(host, backend, "LATER")
    other = {"macvlan": "ip link add late0 link host0 type macvlan mode bridge",
             "veth": "ip link add late0 type veth peer name far0; ip link set far0 up"}[kind]
    hosts.execute(host, ["sh", "-c", other + "; ip link set late0 up"])
    began = time.monotonic()
    shown, word = (["nft", "list", "chain", "netdev", "firebreak", "egress_ethernet"], "late0") if host != "deb11" else (
        ["tc", "filter", "show", "dev", "late0", "egress"], "handle 0xf12eb ")
    while word not in hosts.execute(host, shown, check=False).stdout:
        assert time.monotonic() - began < LIMIT, "the interface is not covered"
        time.sleep(0.1)
    again = adhoc(host, "isolation", f"case=LATER backend={backend}").of(host)
    assert (again["verdict"], again["changed"]) == ("contained", False), again
    assert "late0" in again["proof"]["layer2"]["devices"] and again["drift"]
    hosts.execute(host, ["ip", "link", "delete", "late0"])
    run(["ip", "-n", space(host), "link", "delete", "late0"], check=False)
    assert adhoc(host, "isolation", "case=LATER state=released").of(host)["verdict"] == "released"
