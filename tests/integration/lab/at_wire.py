# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ear: runs at the other ends of a host's wires, and counts what comes out of the host, by channel and way.

usage: at_wire.py CONFIG (JSON). On its input: "counts" for {"WAY NUMBER" or "else": packets}. Not counted are ARP, neighbour discovery,
MLD and what goes to an allowed address, unless it is marked as a channel's or goes by one of its ports.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import sys

CONFIG = json.loads(sys.argv[1])
DEVICES = set(CONFIG["devices"])
ALLOWED = {socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in CONFIG["allowed"]}
PORTS = CONFIG["ports"]
MARK = re.compile(rb"(?:stolen-from|order-to)-here:([LN]):(\d\d\d);")
_SOL_PACKET, _STATISTICS, _RCVBUFFORCE = 263, 6, 33


def key(kind, data):
    """What a frame is counted as; "" for what is none of ours."""
    found = MARK.search(data)
    if found is not None:
        return "{} {}".format(found.group(1).decode(), int(found.group(2)))
    if kind == 0x0806:
        return ""
    if kind == 0x0800:
        to, protocol, at = data[30:34], data[23], 14 + (data[14] & 15) * 4
    elif kind == 0x86DD:
        to, protocol, at = data[38:54], data[20], 54
    else:
        return "else"
    if protocol in (6, 17) and len(data) >= at + 4:
        for port in struct.unpack_from("!HH", data, at):
            for way in "LN":
                if 0 < port - PORTS[way] <= CONFIG["most"]:
                    return "{} {}".format(way, port - PORTS[way])
    if protocol == 58 and len(data) > 54 and 133 <= data[54] <= 137 or protocol == 0 and to[0] == 0xFF:
        return ""
    return "" if to in ALLOWED else "else"


def main():
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:  # at every device: one of them comes and goes
        s.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 26)
        print("ready", flush=True)
        counts = {}
        while True:
            readable = select.select([s, sys.stdin], [], [])[0]
            if s in readable:  # everything that was heard is counted before a question is answered
                data, source = s.recvfrom(2048)
                if source[0] in DEVICES and source[2] != socket.PACKET_OUTGOING:
                    what = key(struct.unpack_from("!H", data, 12)[0], data)
                    if what:
                        counts[what] = counts.get(what, 0) + 1
                continue
            if not sys.stdin.readline():
                return
            assert struct.unpack("=II", s.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1] == 0, "the ear has missed packets"
            print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
