# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs beside a host of the lab, at one role's place: answers every channel, and goes on sending orders over the live ones by itself.

usage: at_far_end.py CONFIG (JSON). On its input: "on" and "off" for calls from new ports.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys

from at_work import Loop

CONFIG = json.loads(sys.argv[1])
NUMBERS, PORTS, TICK = CONFIG["numbers"], CONFIG["ports"], CONFIG["tick"]
NAMES = {number: name for name, number in NUMBERS.items()}
LIVE, NEW = "L", "N"
_AT_ONCE = struct.pack("ii", 1, 0)  # a connection goes with its socket, and the next one may have its ports
MARK = b"stolen-from-here:L:"


def order(way, name):
    """What is to reach the program on the host."""
    return "order-to-here:{}:{:03d};".format(way, NUMBERS[name]).encode()


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn(own, to, port, source):
    """The first packet of a connection, by hand: nobody here or there keeps anything of it."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    head = struct.pack("!HHIIBBHHH", source, port, int.from_bytes(os.urandom(4), "big"), 0, 80, 2, 1024, 0, 0)
    ends = socket.inet_pton(family, own) + socket.inet_pton(family, to)
    pseudo = ends + (struct.pack("!BBH", 0, 6, 20) if family == socket.AF_INET else struct.pack("!IHBB", 20, 0, 0, 6))
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as s:
        s.bind((own, 0))
        s.sendto(head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:], (to, 0))


def ping(to, number, payload):
    """An echo request."""
    head = struct.pack("!BBHHH", 8, 0, 0, number, 1) + payload
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.sendto(head[:2] + struct.pack("!H", checksum(head)) + head[4:], (to, 0))


def content(kind, name):
    """An order as a frame's content: where the type is one of IP, a packet of the neighbour's, of a protocol for experiments."""
    data = order(LIVE, name)
    if kind == "0800":
        own, to = (socket.inet_aton(one) for one in CONFIG["four"])
        head = struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(data), 1, 0, 64, 253, 0, own, to)
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + data
    if kind == "86dd":
        own, to = (socket.inet_pton(socket.AF_INET6, one) for one in CONFIG["six"])
        return struct.pack("!IHBB16s16s", 6 << 28, len(data), 253, 64, own, to) + data
    return data


class End(Loop):
    """This role's end of every channel, in one thread."""

    def __init__(self):
        super().__init__(TICK)
        self.peers = {}
        self.new = True
        for port in CONFIG["serves"]:
            door = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            self.attend(door, "door")
            s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            s.bind(("::", port))
            self.attend(s, "datagrams")
        for family, protocol, head, name, to in CONFIG["raw"]:
            s = socket.socket(family, socket.SOCK_RAW, protocol)
            self.live.append(lambda s=s, data=bytes.fromhex(head) + order(LIVE, name), to=to: s.sendto(data, (to, 0)))
        for name, to in CONFIG["says"]:
            s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            scope = (0, socket.if_nametoindex("host0")) if ":" in to else ()
            self.live.append(lambda s=s, name=name, to=(to, PORTS["group"], *scope): s.sendto(order(LIVE, name), to))
        for kind, name in CONFIG["frames"]:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.bind(("host0", 3))
            self.live.append(lambda s=s, data=bytes.fromhex(CONFIG["mac"] + "0266000001fe" + kind) + content(kind, name): s.send(data))

    def call(self):
        """Open what comes into the host and stays; the host is ready."""
        for kind, name, own, to, port in CONFIG["calls"]:
            family = socket.AF_INET6 if ":" in to else socket.AF_INET
            s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if kind == "tcp":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            s.bind((own, PORTS[LIVE] + NUMBERS[name]))
            s.settimeout(3)
            try:
                s.connect((to, port))
            except OSError as error:
                print(name, error, file=sys.stderr, flush=True)
                continue
            self.attend(s, "call")
            self.live.append(lambda s=s, name=name: s.send(order(LIVE, name)))
        for name, to in CONFIG["pings"]:
            self.live.append(lambda name=name, to=to: ping(to, NUMBERS[name], order(LIVE, name)))

    def knock(self):
        """Call anew."""
        for kind, name, own, to, port in CONFIG["knocks"]:
            source = PORTS[NEW] + NUMBERS[name]
            if kind == "tcp":
                syn(own, to, port, source)
            elif kind == "udp":
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    s.bind((own, source))
                    s.sendto(order(NEW, name), (to, port))
            else:
                ping(to, int.from_bytes(os.urandom(2), "big"), order(NEW, name))

    def tick(self):
        self.send()
        for s, peer, data in self.peers.values():
            try:
                s.sendto(data, peer)
            except OSError:
                continue
        if self.new:
            try:
                self.knock()
            except OSError as error:
                print("knock", error, file=sys.stderr, flush=True)

    def read(self, s, what):
        if what == "door":
            accepted, peer = s.accept()
            name = NAMES.get(peer[1] - PORTS[LIVE])
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.attend(accepted, "call")
            if name is not None:
                self.live.append(lambda: accepted.send(order(LIVE, name)))
            return
        try:
            data, peer = s.recvfrom(65536)
        except BlockingIOError:
            return
        except OSError:
            data, peer = b"", None
        if what == "call" and not data and s.type == socket.SOCK_STREAM:
            self.selector.unregister(s)
            if s.getsockname()[1] in CONFIG["serves"]:
                s.close()
        at = data.find(MARK) if what == "datagrams" else -1
        if at >= 0:  # the same flow is answered for good, with as much as it brought
            name = NAMES[int(data[at + len(MARK):at + len(MARK) + 3])]
            self.peers[name] = s, peer, order(LIVE, name) * (150 if len(data) > 1000 else 1)

    def obey(self, line):
        if line == "call":
            self.call()
        else:
            self.new = line == "on"
        return line


if __name__ == "__main__":
    end = End()
    print("ready", flush=True)
    end.go()
