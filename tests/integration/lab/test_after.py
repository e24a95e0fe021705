# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The matrix of what comes after: no flow, socket or orphan of before the isolation delivers a byte once the host is released.

`./dev matrix after` runs it. Both ends go on sending over what they have; every byte counts that either end gets, or that comes out
of the host's wire, from the containment to the end of the listening. The same for a container behind the host, whose connections are
rewritten on the way: outwards, and by a published port.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.lab import hosts, network
from tests.lab.controller import adhoc

from . import firewalls, flows, matrix

# Who sends while the host is isolated is told by the rules that there is no connection; the silent ones are not.
TALKING = ("tcp-ipv4", "tcp-ipv6", "silent-tcp-ipv4", "silent-tcp-ipv6", "udp-ipv4", "udp-ipv6", "half-closed-by-the-peer",
           "accepted-from-outside")
# Their way is blocked beyond the host's wire until the host is isolated, so that something waits in the host to be sent.
RETRANSMITTING = ("retransmitting-ipv4", "retransmitting-ipv6")
ORPHANS = ("orphan-ipv4", "orphan-ipv6")
CONNECTING = ("connecting-ipv4", "connecting-ipv6")
# The program could open another like it at any time; the result says that it stays.
SAID = ("unconnected-udp",)
PORTS = {name: 7000 + number for number, name in enumerate((*TALKING, *RETRANSMITTING, *ORPHANS, *CONNECTING, *SAID))}
CONTAINERS = {name: 7100 + number for number, name in enumerate(("tcp-ipv4", "udp-ipv4", "accepted-from-outside"))}
LISTEN = 6.0
_PUBLISHED = CONTAINERS["accepted-from-outside"]
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
_ESTABLISHED, _SYN_SENT, _FIN_WAIT1 = "01", "02", "04"


def blocked(names: tuple[str, ...]) -> None:
    """The router drops what belongs to these flows; none: it does not any more."""
    text = "add table inet lab_after\ndelete table inet lab_after\n"
    if names:
        ports = ", ".join(str(PORTS[name]) for name in names)
        text += f"table inet lab_after {{\nchain f {{\ntype filter hook forward priority 0;\nth dport {{ {ports} }} drop\nth sport {{ {ports} }} drop\n}}\n}}\n"
    hosts.execute("wire", ["nft", "-f", "-"], text=text)


def until(what: str, holds, seconds: float = 15) -> None:
    """Wait for something; fail where it does not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come to this: {what}"
        time.sleep(0.05)


@pytest.fixture
def ends(cell):
    """Both ends and the ear, all flows at work as their names say: (host's end, far end, ear)."""
    host = cell[0]
    open_: list[flows.Teller] = []
    try:
        open_.append(far := flows.far_end(PORTS))
        open_.append(ear := flows.ear(host, PORTS))
        open_.append(near := flows.on_host(host, PORTS, [*TALKING, *RETRANSMITTING, *SAID]))
        open_.append(doomed := flows.on_host(host, PORTS, list(ORPHANS)))
        far.order(f"{network.address(host)} accepted-from-outside")
        for name in (*TALKING, *RETRANSMITTING, *ORPHANS, *SAID):
            until(f"{name} talks", lambda: all(end.got(name) > 1 for end in (far, ear, doomed if name in ORPHANS else near)))
        blocked((*RETRANSMITTING, *ORPHANS, *CONNECTING))
        for name in CONNECTING:
            near.order(name)
        time.sleep(2 * flows.EVERY)
        hosts.execute(host, ["kill", "-KILL", doomed.word])
        for name in RETRANSMITTING:
            until(f"{name} retransmits", lambda: any(state == _ESTABLISHED and again for state, again, _i in flows.states(host, PORTS[name])))
        for name in ORPHANS:
            until(f"{name} is one", lambda: any(state == _FIN_WAIT1 and not inode for state, _a, inode in flows.states(host, PORTS[name])))
        for name in CONNECTING:
            until(f"{name} connects", lambda: any(state == _SYN_SENT for state, _a, _i in flows.states(host, PORTS[name])))
        yield near, far, ear
    finally:
        blocked(())
        for one in open_:
            one.end()


def write(bytes_of: dict[str, list[int]], cell: tuple[str, str], said: bool = False) -> None:
    """Cases -> what the host's end, the far end and the ear got: into the matrix, and none of it may be anything but what is `said`."""
    rows = []
    for name, (near, far, wire) in bytes_of.items():
        count = near + far + wire
        got = f"{near} bytes came in, {far} out, {wire} on the wire" if count else "0 bytes"
        rows.append({"case": name, "release": cell[0], "backend": cell[1], "expected": "0 bytes, or said" if name in SAID else "0 bytes",
                     "got": got + (", said" if count and said and name in SAID else ""), "holds": not count or said and name in SAID})
    matrix.write("after", rows)
    assert [row for row in rows if not row["holds"]] == []


def test_nothing_comes_back_to_life_at_release(cell, ends):
    host, backend = cell
    began = time.monotonic()
    result = adhoc(host, "isolation", f"case=AFTER backend={backend}").of(host)
    try:
        assert result["verdict"] == "contained", result
        since = time.monotonic()
        blocked(())
        time.sleep(3)
    finally:
        released = adhoc(host, "isolation", "case=AFTER state=released").of(host)
    assert released["verdict"] == "released", released
    # What waits to be sent again waits twice as long each time: the next try is at most as far off as the first one lies back.
    time.sleep(max(LISTEN, time.monotonic() - began + 1))
    said = any("without a fixed peer" in line for line in result["not_covered"])
    write({name: [end.got(name, since) for end in ends] for name in PORTS}, cell, said)


def entries(host: str, *words: str) -> list[str]:
    """What the host's kernel tracks, as its own file shows it: lines with all of these words."""
    lines = hosts.execute(host, ["cat", "/proc/net/nf_conntrack"]).stdout.splitlines()
    return [line for line in lines if all(f" {word} " in line for word in words)]


@pytest.fixture
def container_ends(cell):
    """The container's end, the far end and the ear on the host's wire, all flows at work; and how many entries of old ones there are."""
    host = cell[0]
    firewalls.do(host, firewalls.WIPE)
    # Of a container that is gone; by its entry a connection cannot be told from one of another system.
    before = [line for line in entries(host, f"dst={network.C2}") if " src=172.19.0.2 " in line and " ESTABLISHED " in line]
    open_: list[flows.Teller] = []
    try:
        firewalls.do(host, firewalls.CONTAINER + PUBLISH)
        open_.append(far := flows.far_end(CONTAINERS))
        open_.append(ear := flows.ear(host, CONTAINERS))
        inside = 'exec nsenter -t "$(systemctl show -p MainPID --value lab-pod)" -n python3 -c "$@"'
        open_.append(near := flows.Teller([
            "nsenter", "-t", str(hosts.leader(host)), "-a", "--", "sh", "-c", inside, "sh", flows.HOST, json.dumps(CONTAINERS), network.C2, network.C2_6,
            *CONTAINERS]))
        for name in CONTAINERS:
            if name.startswith("accepted"):  # the others talk, so that it listens
                far.order(f"{network.address(host)} {name}")
            until(f"{name} talks", lambda: all(end.got(name) > 1 for end in (far, ear, near)))
        yield near, far, ear, len(before)
    finally:
        for one in open_:
            one.end()
        firewalls.do(host, firewalls.WIPE)


def test_a_containers_connections_do_not_go_on_after_release(cell, container_ends):
    host, backend = cell
    *talking, old = container_ends
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
    write({f"container-{name}": [end.got(name, since) for end in talking] for name in CONTAINERS}, cell)
    assert firewalls.pod_gets_out(host), "a container of a released host may begin anew"
