# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a host of the lab (Python 3.9 and later): every channel of `channels.py` at once, over sockets that it has had from the start
("live") and over new ones each time ("new"), and what comes in over the live ones.

usage: at_host.py CONFIG (JSON). On its input: "on" and "off" for new sockets, "counts" for {channel: orders that reached the program}.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import time

from at_work import Loop

CONFIG = json.loads(sys.argv[1])
NUMBERS, PEERS, PORTS = CONFIG["numbers"], CONFIG["peers"], CONFIG["ports"]
TICK = CONFIG["tick"]
LIVE, NEW = "L", "N"
LIBC = ctypes.CDLL(None, use_errno=True)
DEVICE = "host0"


def tag(way, name):
    """What stands in every packet of a channel."""
    return "stolen-from-here:{}:{:03d};".format(way, NUMBERS[name]).encode()


def own_port(way, name):
    """The port at the host's end, by which packets without data are told apart."""
    return PORTS[way] + NUMBERS[name]


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


# --- ways to open a channel: each gives a function of the way that returns (socket to listen at or None, function that sends once) -------
def udp(name, to, port=PORTS["far"], times=1, source=0, device="", group="", user=0):
    def begin(way):
        peer = PEERS[to][way]
        LIBC.setfsuid(user)  # the owner that a rule sees is whoever opened it
        s = socket.socket(family(peer), socket.SOCK_DGRAM)
        LIBC.setfsuid(0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        scope = (0, socket.if_nametoindex(DEVICE)) if peer.startswith(("fe80", "ff")) else ()
        if device:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if source and way == NEW:  # the last one to be bound gets it all; this is an allowed system's port too
            s.bind(("", source + 6000))
        else:
            s.bind(("", source or (PORTS["group"] if group and way == LIVE else own_port(way, name))))
        if group and way == LIVE and peer.startswith("ff"):
            member = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=I", scope[1])
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        elif group and way == LIVE and peer.startswith("239"):
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(CONFIG["own"]))
        return s, lambda: s.sendto(tag(way, name) * times, (peer, port, *scope))
    return begin


def tcp(name, to, port=PORTS["far"]):
    def begin(way):
        peer = PEERS[to][way]
        s = socket.socket(family(peer), socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # gone at once, and the port free again
        s.bind(("", own_port(way, name)))
        if way == LIVE:
            s.settimeout(3)
            s.connect((peer, port))
            s.setblocking(False)
            return s, lambda: s.send(tag(way, name))
        s.setblocking(False)
        s.connect_ex((peer, port))
        return s, lambda: None
    return begin


def raw(name, to, protocol, head=b"", new_protocol=0):
    def begin(way):
        peer = PEERS[to][way]
        s = socket.socket(family(peer), socket.SOCK_RAW, new_protocol if way == NEW and new_protocol else protocol)
        return s, lambda: s.sendto(head + tag(way, name), (peer, 0))
    return begin


def whole(name, to, source):
    def begin(way):
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        return s, lambda: s.sendto(ip4(PEERS[to][way], source) + struct.pack("!HHHH", 22, PORTS["far"], 8 + len(tag(way, name)), 0)
                                   + tag(way, name), (PEERS[to][way], 0))
    return begin


def frame(name, kind, packet=b"", device=DEVICE, told=3, queue=True, hears=0):
    """`told`: what the kernel is told that this is; `hears`: the type of the frames that a second socket listens for."""
    def begin(way):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # it hears everything, and nobody listens
        s.bind((device, told))
        if not queue:
            s.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
        ear = None
        if hears and way == LIVE:
            ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            ear.bind((device, hears))
        data = bytes.fromhex("ffffffffffff0266000001fe" + kind) + packet + tag(way, name)
        return ear, lambda: (s, s.send(data))
    return begin


def hearing(name):
    """Sends nothing, and hears all."""
    def begin(_way):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        s.bind((DEVICE, 3))
        return s, lambda: None
    return begin


def elsewhere(number, opener):
    """The same in another network namespace; a socket stays in the one where it was opened."""
    def begin(way):
        if LIBC.setns(SPACES[number], 0):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return opener(way)
        finally:
            LIBC.setns(OWN_SPACE, 0)
    return begin


# --- packets by hand --------------------------------------------------------------------------------------------------------------------
def ip4(to, source=CONFIG["own"], protocol=17, body=40):
    return struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + body, 1, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(to))


def ip6(to):
    return struct.pack("!IHBB16s16s", 6 << 28, 24, 17, 64, socket.inet_pton(10, CONFIG["own6"]), socket.inet_pton(10, to))


def segment(flags):
    return struct.pack("!HHIIBBHHH", 22, 443, 1, 0, 80, flags, 1024, 0, 0)


def channels():
    """Every channel that this program opens itself: name -> opener."""
    found = {}
    for version in ("4", "6"):
        to, echo = "internet" + version, (1, b"\x08") if version == "4" else (58, b"\x80")
        made = {
            "tcp": tcp, "tcp-53": lambda name, to: tcp(name, to, 53), "udp": udp, "udp-53": lambda name, to: udp(name, to, 53),
            "sctp": lambda name, to: raw(name, to, 132, struct.pack("!HHII", 9, 9, 0, 0)),
            "gre": lambda name, to: raw(name, to, 47, bytes(4)),
            "ip-in-ip": lambda name, to: raw(name, to, 4), "fragments": lambda name, to: udp(name, to, times=150),
            "icmp-with-payload": lambda name, to, echo=echo: raw(name, to, echo[0], echo[1] + bytes.fromhex("00000000010001")),
        }
        for name, opener in made.items():
            found[name + "-ipv" + version] = opener(name + "-ipv" + version, to)
    c4, c6 = PEERS["internet4"][LIVE], PEERS["internet6"][LIVE]
    monitoring, ipv4 = PEERS["monitoring"][LIVE], ip4(c4)
    single = {
        "neighbour-tcp": (tcp, "neighbour4"), "neighbour-udp": (udp, "neighbour4"), "neighbour-ipv6": (udp, "neighbour6"),
        "link-local-ipv6": (udp, "link"), "metadata-address": (tcp, "metadata"), "metadata-address-udp": (udp, "metadata"),
    }
    found.update({name: opener(name, to) for name, (opener, to) in single.items()})
    more = {
        "multicast-ipv4": (udp, "group4", {"group": PEERS["group4"][LIVE]}),
        "multicast-ipv6": (udp, "group6", {"group": PEERS["group6"][LIVE]}),
        "broadcast": (udp, "everybody", {"group": "-"}), "broadcast-of-the-network": (udp, "network", {}),
        "source-port-22-first-packet": (raw, "internet4", {"protocol": 6, "head": segment(2)}),
        "source-port-22-answer": (raw, "internet4", {"protocol": 6, "head": segment(16)}),
        "allowed-system-other-port-tcp": (tcp, "monitoring", {"port": PORTS["other"]}),
        "allowed-system-other-port-udp": (udp, "monitoring", {"port": PORTS["other"]}),
        "source-port-514": (udp, "internet4", {"source": 514}), "spoofed-source": (whole, "internet4", {"source": CONFIG["responder"]}),
        "user-of-an-allowed-daemon": (udp, "internet4", {"user": 65534}),
        "allowed-system-other-protocol": (raw, "monitoring", {"protocol": 47, "head": bytes(4), "new_protocol": 50}),
        "second-interface": (udp, "second", {"device": "eth9"}), "interface-added-later": (udp, "later", {"device": "eth8"}),
        "macvlan": (udp, "beside", {"device": "mv0"}),
        "packet-socket-ipv4": (frame, "0800", {"packet": ipv4, "hears": 0x800}),
        "packet-socket-ipv6": (frame, "86dd", {"packet": ip6(c6), "hears": 0x86dd}),
        "packet-socket-past-the-queue": (frame, "0800", {"packet": ipv4, "queue": False}),
        "odd-ethertype": (frame, "88b5", {"hears": 0x88b5}),
        "vlan-tag": (frame, "810000070800", {"packet": ipv4}),
        # The kernel is told that this is IP, and the packet would go to an allowed system: the frame itself says otherwise.
        "ethertype-not-as-told": (frame, "88b5", {"packet": ip4(monitoring), "told": 0x800}),
        "frame-by-a-second-interface": (frame, "0800", {"packet": ipv4, "device": "eth9"}),
        "frame-by-an-interface-added-later": (frame, "0800", {"packet": ipv4, "device": "eth8"}),
        "frame-by-a-macvlan": (frame, "0800", {"packet": ipv4, "device": "mv0"}),
    }
    found.update({name: opener(name, to, **how) for name, (opener, to, how) in more.items()})
    found["packet-socket-that-hears-all"] = hearing("packet-socket-that-hears-all")
    found["macvlan-in-another-namespace"] = elsewhere(0, frame("macvlan-in-another-namespace", "0800", ipv4, device="mv1"))
    found["container-behind-a-bridge-udp"] = elsewhere(1, udp("container-behind-a-bridge-udp", "internet4"))
    found["container-behind-a-bridge-tcp"] = elsewhere(1, tcp("container-behind-a-bridge-tcp", "internet4"))
    return found


# --- what the host has of others: namespaces, a container behind a bridge with a published port, macvlans ---------------------------------
HOLDERS = []
SPACES = []
OWN_SPACE = os.open("/proc/self/ns/net", os.O_RDONLY)
NAT = """
table ip lab_pod {
  chain post { type nat hook postrouting priority 100; ip saddr 10.99.0.0/24 oifname "host0" masquerade; }
  chain pre { type nat hook prerouting priority -100; iifname "host0" tcp dport PUBLISHED dnat to 10.99.0.2:8080; }
}
""".replace("PUBLISHED", str(PORTS["published"]))


def run(line, check=True):
    for one in line.split(";"):
        subprocess.run(one.split(), check=check, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=None if check else subprocess.DEVNULL)


def make():
    """Everything that channels need beside the host's own wire."""
    own = os.readlink("/proc/self/ns/net")
    for _number in range(2):
        holder = subprocess.Popen(["unshare", "--net", "sleep", "600"], stdin=subprocess.DEVNULL)
        HOLDERS.append(holder)
        path = "/proc/{}/ns/net".format(holder.pid)
        while os.readlink(path) == own:
            time.sleep(0.01)
        SPACES.append(os.open(path, os.O_RDONLY))
    one, two = (holder.pid for holder in HOLDERS)
    run("ip link add mv0 link host0 type macvlan mode bridge; ip address add 10.68.0.1/24 dev mv0; ip link set mv0 up;"
        "ip link add mv1 link host0 type macvlan mode bridge; ip link set mv1 netns {0}; nsenter -t {0} --net ip link set mv1 up;"
        "ip link add br9 type bridge; ip address add 10.99.0.1/24 dev br9; ip link set br9 up;"
        "ip link add pod0 type veth peer name eth0 netns {1}; ip link set pod0 master br9 up;"
        "nsenter -t {1} --net ip address add 10.99.0.2/24 dev eth0; nsenter -t {1} --net ip link set eth0 up;"
        "nsenter -t {1} --net ip route add default via 10.99.0.1; sysctl -qw net.ipv4.ip_forward=1".format(one, two))
    subprocess.run(["nft", "-f", "-"], input=NAT.encode(), check=True)


def sweep():
    """Take it away again."""
    run("ip link delete mv0; ip link delete pod0; ip link delete br9; sysctl -qw net.ipv4.ip_forward=0; nft delete table ip lab_pod", False)
    for holder in HOLDERS:
        holder.kill()
        holder.wait()


class Speaker(Loop):
    """All channels at work, in one thread."""

    def __init__(self):
        super().__init__(TICK)
        self.openers = channels()
        self.names = {number: name for name, number in NUMBERS.items()}
        self.open = {}
        self.new = True
        self.came_in = dict.fromkeys(NUMBERS, 0)
        self.peers = {}

    def begin(self):
        """Open what is live, and the doors for those who call."""
        for name in CONFIG["live"]:
            if name in self.openers:
                try:
                    ear, send = self.openers[name](LIVE)
                except OSError as error:
                    print(name, error, file=sys.stderr, flush=True)
                    continue
                self.live.append(send)
                if ear is not None:
                    self.attend(ear, name)
        door = socket.create_server(("", PORTS["door"]), family=socket.AF_INET6, dualstack_ipv6=True)
        self.attend(door, "door")
        self.attend(elsewhere(1, lambda _way: socket.create_server(("", 8080)))(LIVE), "door")
        self.datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.datagrams.bind(("::", PORTS["door"]))
        self.attend(self.datagrams, "inbound-udp-to-a-program")

    def tick(self):
        self.send()
        for peer in self.peers.values():
            self.answer(LIVE, peer)
        if self.new:
            for name in CONFIG["new"]:
                if name in self.openers:
                    before = self.open.pop(name, None)
                    if before is not None and before[0] is not None:
                        before[0].close()
                    try:
                        self.open[name] = self.openers[name](NEW)
                        self.open[name][1]()
                    except OSError:
                        continue

    def answer(self, way, peer):
        try:
            self.datagrams.sendto(tag(way, "inbound-udp-to-a-program"), peer)
        except OSError:
            pass

    def accept(self, door):
        s, peer = door.accept()
        name = self.names.get(peer[1] - PORTS[LIVE])
        if name is None:
            s.close()
            return
        self.attend(s, name)
        self.live.append(lambda: s.send(tag(LIVE, name)))

    def read(self, s, name):
        """Orders of this very channel; what a socket gets that hears all is counted whatever it is."""
        if name == "door":
            self.accept(s)
            return
        try:
            data, peer = s.recvfrom(65536)
        except BlockingIOError:
            return
        except OSError:
            data, peer = b"", None
        if not data and s.type == socket.SOCK_STREAM:
            self.selector.unregister(s)
        order = "order-to-here:{}:{:03d};".format(LIVE, NUMBERS[name]).encode()
        if order in data:
            self.came_in[name] += 1
            if s is self.datagrams:
                self.peers[peer[0]] = peer
        elif s is self.datagrams and data:
            self.answer(NEW, peer)

    def obey(self, line):
        if line == "counts":
            return json.dumps(self.came_in)
        self.new = line == "on"
        if not self.new:
            for s, _send in self.open.values():
                if s is not None:
                    s.close()
            self.open.clear()
        return line


def main():
    try:
        make()
        speaker = Speaker()
        speaker.begin()
        print("ready", flush=True)
        speaker.go()
    finally:
        sweep()


if __name__ == "__main__":
    main()
