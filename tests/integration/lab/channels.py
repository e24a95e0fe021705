# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways out of a host and into it, each a line of code, and the ear at the host's own wire that hears whether it leads anywhere."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.lab import hosts, intruders, network
from tests.lab.machine import inside

NEIGHBOUR, NEIGHBOUR_6 = network.address("neighbour"), network.address6("neighbour")
# What follows from the hardware address that the lab gives it (RFC 4291, appendix A).
NEIGHBOUR_LINK = f"fe80::66:ff:fe00:{network.LAN['neighbour']:x}"
OTHER_PORT = 7777

# How an ear begins: the frames that come out of a wire's other end, with their ethertype, until its input ends.
FRAMES_OF = """
import json, select, socket, struct, sys
def frames_of(device):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); s.bind((device, 3))
    print("ready", flush=True)
    while s in select.select([s, sys.stdin], [], [])[0]:
        data, source = s.recvfrom(65536)
        if source[2] != socket.PACKET_OUTGOING: yield struct.unpack_from("!H", data, 12)[0], data
"""
# Counts what comes out of the host, until its input ends. Not: ARP, neighbour discovery, MLD, and what goes to an allowed
# address, unless it is marked or meant for a port that is not allowed. `only`: ethertype and protocol of what alone is meant, or "".
EAR = FRAMES_OF + """
device, other, only = sys.argv[1], int(sys.argv[2]), sys.argv[3]
allowed = {socket.inet_pton(socket.AF_INET6 if ':' in text else socket.AF_INET, text) for text in sys.argv[4:]}
count = 0
for kind, data in frames_of(device):
    if kind == 0x0806: continue
    if b"stolen-from-here" in data: count += 1; continue
    if kind == 0x0800: to, protocol, port = data[30:34], data[23], data[36:38]
    elif kind == 0x86dd: to, protocol, port = data[38:54], data[20], data[56:58]
    else: count += 1; continue
    if only and only != f"{kind:04x} {protocol}": continue
    if protocol == 58 and 133 <= data[54] <= 137 or protocol == 0 and to[0] == 0xff: continue
    count += to not in allowed or protocol == 6 and port == struct.pack("!H", other)
print(count)
"""
PRELUDE = f"""
import os, socket, struct, subprocess, sys, time
M = b'stolen-from-here'
OWN, OWN6 = sys.argv[1:3]
def family(to): return socket.AF_INET6 if ':' in to else socket.AF_INET
def tcp(to, port):
    s = socket.socket(family(to)); s.settimeout(0.3); s.connect((to, port))
def udp(to, port, size=1, source=0, device=None):
    s = socket.socket(family(to), socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if source: s.bind(('', source))
    scope = (0, socket.if_nametoindex('host0')) if to.startswith(('fe80', 'ff')) else ()
    if device: s.setsockopt(socket.SOL_SOCKET, 25, device.encode())
    s.sendto(M * size, (to, port, *scope))
def raw(to, protocol, head=b''): socket.socket(family(to), socket.SOCK_RAW, protocol).sendto(head + M, (to, 0))
def ip(to, source=OWN, protocol=17, body=16): return struct.pack(
    '!BBHHHBBH4s4s', 69, 0, 20 + body, 1, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(to))
def ip6(to): return struct.pack('!IHBB16s16s', 6 << 28, 16, 17, 64, socket.inet_pton(10, OWN6), socket.inet_pton(10, to))
def whole(to, source, protocol, body): socket.socket(socket.AF_INET, socket.SOCK_RAW, 255).sendto(ip(to, source, protocol, len(body)) + body, (to, 0))
def segment(sport, dport, flags): return struct.pack('!HHIIBBHHH', sport, dport, 1, 0, 80, flags, 1024, 0, 0)
def frame(kind, packet, device='host0', told=3, queue=True):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind((device, told))
    if not queue: s.setsockopt(263, 20, 1)
    s.send(bytes.fromhex('ffffffffffff0266000001fe' + kind) + packet + M)
def run(*words): subprocess.run(words, check=True)
OTHERS = []
def elsewhere():
    other = subprocess.Popen(['unshare', '--net', 'sleep', '20'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    OTHERS.append(other); time.sleep(0.2); return other
def within(other, code): run('nsenter', '--net', '-t', str(other.pid), sys.executable, '-c', PRELUDE + code, OWN, OWN6)
def macvlan(other=None):
    run('ip', 'link', 'add', 'mv0', 'link', 'host0', 'type', 'macvlan', 'mode', 'bridge')
    if other: run('ip', 'link', 'set', 'mv0', 'netns', str(other.pid)); within(other, "run('ip', 'link', 'set', 'mv0', 'up')")
    else: run('ip', 'address', 'add', '10.67.0.1/24', 'dev', 'mv0'); run('ip', 'link', 'set', 'mv0', 'up')
    time.sleep(0.1)
def container():
    other = elsewhere()
    run('ip', 'link', 'add', 'br9', 'type', 'bridge'); run('ip', 'address', 'add', '10.99.0.1/24', 'dev', 'br9'); run('ip', 'link', 'set', 'br9', 'up')
    run('ip', 'link', 'add', 'pod0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', str(other.pid)); run('ip', 'link', 'set', 'pod0', 'master', 'br9', 'up')
    open('/proc/sys/net/ipv4/ip_forward', 'w').write('1')
    within(other, "run('ip', 'address', 'add', '10.99.0.2/24', 'dev', 'eth0'); run('ip', 'link', 'set', 'eth0', 'up');"
                  "run('ip', 'route', 'add', 'default', 'via', '10.99.0.1'); time.sleep(0.1)")
    return other
def swept(work):
    try: work()
    finally:
        for other in OTHERS: other.kill(); other.wait()
        for name in ('mv0', 'pod0', 'br9'): subprocess.run(['ip', 'link', 'delete', name], stderr=subprocess.DEVNULL)
        open('/proc/sys/net/ipv4/ip_forward', 'w').write('0')
C4, C6, NB, MON = '{network.C2}', '{network.C2_6}', '{NEIGHBOUR}', '{network.MONITORING}'
"""
_BOTH = {
    "tcp": "tcp({0}, 8443)", "tcp-53": "tcp({0}, 53)", "udp": "udp({0}, 8443)", "udp-53": "udp({0}, 53)",
    "sctp": "raw({0}, 132, struct.pack('!HHII', 9, 9, 0, 0))", "gre": "raw({0}, 47, bytes(4))", "ip-in-ip": "raw({0}, 4)",
    "fragments": "udp({0}, 8443, 200)",
}
OUT = {f"{name}-ipv{version}": code.format(peer) for name, code in _BOTH.items() for version, peer in ((4, "C4"), (6, "C6"))} | {
    "icmp-with-payload-ipv4": "raw(C4, 1, bytes.fromhex('0800000000010001'))",
    "icmp-with-payload-ipv6": "raw(C6, 58, bytes.fromhex('8000000000010001'))",
    "neighbour-tcp": "tcp(NB, 8443)", "neighbour-udp": "udp(NB, 8443)", "neighbour-ipv6": f"udp('{NEIGHBOUR_6}', 8443)",
    "link-local-ipv6": f"udp('{NEIGHBOUR_LINK}', 8443)", "multicast-ipv4": "udp('239.1.1.1', 8443)", "multicast-ipv6": "udp('ff02::1', 8443)",
    "broadcast": "udp('255.255.255.255', 8443)", "broadcast-of-the-network": "udp('10.66.0.255', 8443)",
    "metadata-address": "tcp('169.254.169.254', 80)",
    # What looks like an answer of the responder's way in, or of an allowed system.
    "source-port-22-first-packet": "raw(C4, 6, segment(22, 443, 2))", "source-port-22-answer": "raw(C4, 6, segment(22, 443, 16))",
    "source-port-514": "udp(C4, 8443, source=514)",
    "spoofed-source": f"whole(C4, '{network.address('controller')}', 17, struct.pack('!HHHH', 22, 8443, 24, 0) + M)",
    "user-of-an-allowed-daemon": "os.setuid(65534); udp(C4, 8443)",
    "allowed-system-other-port-tcp": f"tcp(MON, {OTHER_PORT})", "allowed-system-other-port-udp": f"udp(MON, {OTHER_PORT})",
    "allowed-system-other-protocol": "raw(MON, 47, bytes(4))",
    "container-behind-a-bridge": "swept(lambda: within(container(), \"udp(C4, 8443)\"))",
    "interface-added-later": "swept(lambda: (macvlan(), udp('10.67.0.255', 8443, device='mv0')))",
}
# What a packet socket puts on the wire by itself.
FRAMES = {
    "packet-socket-ipv4": "frame('0800', ip(C4))", "packet-socket-ipv6": "frame('86dd', ip6(C6))",
    "packet-socket-past-the-queue": "frame('0800', ip(C4), queue=False)", "odd-ethertype": "frame('88b5', b'')",
    "vlan-tag": "frame('810000070800', ip(C4))",
    # The kernel is told that this is IP, and the packet would go to an allowed system: the frame itself says otherwise.
    "ethertype-not-as-told": "frame('88b5', ip(MON), told=0x800)",
    "frame-by-an-interface-added-later": "swept(lambda: (macvlan(), frame('0800', ip(C4), device='mv0')))",
    "macvlan-in-another-namespace": "def work():\n    other = elsewhere(); macvlan(other); within(other, \"frame('0800', ip(C4), device='mv0')\")\nswept(work)",
}
# Who knocks, and at which port; what the host answers is heard.
IN = {
    "inbound-ssh-from-a-neighbour": ("neighbour", "tcp", 22, 4), "inbound-ssh-from-the-internet": ("internet", "tcp", 22, 4),
    "inbound-9100-from-a-neighbour": ("neighbour", "tcp", 9100, 4), "inbound-closed-port": ("neighbour", "tcp", OTHER_PORT, 4),
    "inbound-ssh-ipv6": ("neighbour", "tcp", 22, 6), "inbound-udp": ("neighbour", "udp", OTHER_PORT, 4), "inbound-ping": ("neighbour", "icmp", 0, 4),
}
# What was there before the isolation and goes on by itself: the intruder that does it, ethertype and protocol.
LIVE = {"live-tcp": ("reverse-shell", "0800 6"), "live-udp": ("beacon-udp", "0800 17"), "live-ipv6": ("beacon-ipv6", "86dd 17")}
ONCE = (*OUT, *FRAMES, *IN)
# Deletes every entry (IPCTNL_MSG_CT_DELETE without a tuple, linux/netfilter/nfnetlink_conntrack.h), as `conntrack -F` does.
FORGET = """
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.send(struct.pack("=IHHIIBBH", 20, 0x102, 5, 1, 0, 0, 0, 0))
assert struct.unpack_from("=i", s.recv(4096), 16)[0] == 0
"""
KNOCK = """
import socket, sys
kind, to, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ':' in to else socket.AF_INET
if kind == 'tcp':
    s = socket.socket(family); s.settimeout(0.3); s.connect((to, port))
elif kind == 'udp': socket.socket(family, socket.SOCK_DGRAM).sendto(b'x', (to, port))
else: socket.socket(family, socket.SOCK_RAW, 1).sendto(bytes.fromhex('0800f7fd00010001'), (to, 0))
"""


@contextlib.contextmanager
def listening(host: str, only: str = "") -> Iterator[list[int]]:
    """Listen to what comes out of the host's wire; at the end the list holds how many packets it was. `only`: as in LIVE."""
    count: list[int] = []
    ear = subprocess.Popen(
        inside("wire", [sys.executable, "-c", EAR, f"p-{host}", str(OTHER_PORT), only, *(
            one(role) for role in ("controller", "monitoring") for one in (network.address, network.address6))]),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with ear:
        assert ear.stdin is not None and ear.stdout is not None and ear.stdout.readline() == "ready\n"
        yield count
        ear.stdin.close()
        count.append(int(ear.stdout.readline()))


def heard(host: str, name: str, seconds: float = 0.15) -> int:
    """How many packets come out of the host's wire while a channel is tried; of no name, for these seconds.

    Of a live one what belongs to it, for 0.8 seconds: an intruder speaks every half second.
    """
    only = LIVE[name][1] if name in LIVE else ""
    with listening(host, only) as count:
        if name in IN:
            role, kind, port, version = IN[name]
            to = network.address(host) if version == 4 else network.address6(host)
            subprocess.run(inside(role, [sys.executable, "-c", KNOCK, kind, to, str(port)]), stderr=subprocess.DEVNULL, check=False)
        elif name in OUT or name in FRAMES:
            prelude = PRELUDE + f"PRELUDE = {PRELUDE!r}\n"
            hosts.execute(host, ["python3", "-c", prelude + {**OUT, **FRAMES}[name], network.address(host), network.address6(host)], check=False)
        time.sleep(0.8 if only else seconds)
    return count[0]


def shut(host: str) -> list[str]:
    """The channels that lead nowhere already, and so prove nothing; intruders of the live ones are there afterwards."""
    # A neighbour's address may have to be found first: whoever is not heard at once is listened to for longer.
    found = [name for name in ONCE if not heard(host, name) and not heard(host, name, 1.0)]
    for name, (intruder, _only) in LIVE.items():
        intruders.plant(host, intruder)
        found += [] if heard(host, name) else [name]
    return found
