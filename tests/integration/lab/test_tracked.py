# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections that only pass through a host: a container's behind a bridge, rewritten on the way, outwards and by a published port.

After the release none of them goes on, by the kernel's entry for it or by a new one; entries of what was never cut are left alone.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.lab import hosts, network
from tests.lab.controller import adhoc

from . import firewalls, flows
from .test_after import LISTEN, until

PORTS = {"tcp-ipv4": 7100, "udp-ipv4": 7101, "accepted-from-outside": 7102}
_PUBLISHED = PORTS["accepted-from-outside"]
PUBLISH = f"""
iptables -t nat -A DOCKER ! -i br9 -p tcp --dport {_PUBLISHED} -j DNAT --to-destination 172.19.0.2:{_PUBLISHED}
iptables -A DOCKER -d 172.19.0.2/32 ! -i br9 -o br9 -p tcp --dport {_PUBLISHED} -j ACCEPT
"""
# Has the kernel track a connection of UDP that nobody has (IPCTNL_MSG_CT_NEW, CTA_TIMEOUT 7): arguments are both ends.
FORGED = """
import socket, struct, sys
def attribute(number, data): return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)
def side(source, target, ports):
    ends = attribute(1, socket.inet_aton(source)) + attribute(2, socket.inet_aton(target))
    kind = attribute(1, b"\\x11") + attribute(2, struct.pack("!H", ports[0])) + attribute(3, struct.pack("!H", ports[1]))
    return attribute(0x8001, ends) + attribute(0x8002, kind)
a, b = sys.argv[1:3]
body = struct.pack("=BBH", 2, 0, 0) + attribute(0x8001, side(a, b, (40000, 53))) + attribute(0x8002, side(b, a, (53, 40000)))
body += attribute(7, struct.pack("!I", 600))
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack("=IHHII", 16 + len(body), 0x100, 0x605, 1, 0) + body)
code = struct.unpack_from("=i", s.recv(4096), 16)[0]
sys.exit(-code)
"""


def entries(host: str, *words: str) -> list[str]:
    """What the host's kernel tracks, as its own file shows it: lines with all of these words."""
    lines = hosts.execute(host, ["cat", "/proc/net/nf_conntrack"]).stdout.splitlines()
    return [line for line in lines if all(f" {word} " in line for word in words)]


@pytest.fixture
def ends(cell):
    """The container's end, the far end and the ear on the host's wire, all flows at work; and how many entries of old ones there are."""
    host = cell[0]
    firewalls.do(host, firewalls.WIPE)
    # Of a container that is gone; by its entry a connection cannot be told from one of another system.
    before = [line for line in entries(host, f"dst={network.C2}") if " src=172.19.0.2 " in line and " ESTABLISHED " in line]
    open_: list[flows.Teller] = []
    try:
        firewalls.do(host, firewalls.CONTAINER + PUBLISH)
        open_.append(far := flows.far_end(PORTS))
        open_.append(ear := flows.ear(host, PORTS))
        inside = 'exec nsenter -t "$(systemctl show -p MainPID --value lab-pod)" -n python3 -c "$@"'
        open_.append(near := flows.Teller([
            "nsenter", "-t", str(hosts.leader(host)), "-a", "--", "sh", "-c", inside, "sh", flows.HOST, json.dumps(PORTS), network.C2, network.C2_6,
            *PORTS]))
        for name in PORTS:
            if name.startswith("accepted"):  # the others talk, so that it listens
                far.order(f"{network.address(host)} {name}")
            until(f"{name} talks", lambda: all(end.got(name) > 1 for end in (far, ear, near)))
        yield near, far, ear, len(before)
    finally:
        for one in open_:
            one.end()
        firewalls.do(host, firewalls.WIPE)


@pytest.mark.parametrize("cell", [("deb13", "nftables"), ("deb12", "iptables"), ("deb11", "iptables")], ids="-".join, indirect=True)
def test_a_containers_connections_do_not_go_on_after_release(cell, ends):
    host, backend = cell
    *talking, old = ends
    own, controller = network.address(host), network.address("controller")
    assert hosts.answers("monitoring", own, 9100)
    watched = ("dport=9100", f"src={network.MONITORING}")
    assert entries(host, *watched) and len(entries(host, f"dst={network.C2}")) >= 3
    result = adhoc(host, "isolation", f"case=TRACKED backend={backend}").of(host)
    try:
        assert result["verdict"] == "contained", result
        told = result["proof"]["conntrack"]
        assert (told["ended"], told["not_ended"], told["left"], told["not_looked_at"]) == (3, old, 0, 0) and told["deleted"] >= 3, told
        assert {line.split()[0] + line.rpartition(":")[2] for line in told["forwarded"]} >= {"tcp7100", "udp7101", "tcp7102"}
        assert entries(host, f"dst={network.C2}") == []
        assert entries(host, *watched), "what the monitoring may do was never cut"
        assert entries(host, f"src={controller}", "dport=22"), "nor were the responder's sessions"
        since = time.monotonic()
        again = adhoc(host, "isolation", f"case=TRACKED backend={backend}").of(host)
        assert (again["verdict"], again["changed"], again["proof"]["conntrack"]["deleted"]) == ("contained", False, 0), again["proof"]
        # What is there at the release goes then: here an entry that stands for nothing any more.
        hosts.execute(host, ["python3", "-c", FORGED, own, network.C2])
        assert entries(host, f"dst={network.C2}", "dport=53")
    finally:
        released = adhoc(host, "isolation", "case=TRACKED state=released").of(host)
    assert released["verdict"] == "released", released
    assert entries(host, f"dst={network.C2}", "dport=53") == []
    time.sleep(LISTEN)
    assert {name: [end.got(name, since) for end in talking] for name in PORTS} == {name: [0, 0, 0] for name in PORTS}
    assert firewalls.pod_gets_out(host), "a container of a released host may begin anew"
