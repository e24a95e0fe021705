# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs at both ends that go on talking over the sockets they have, whatever happens, and say what they get; and an ear between."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

from tests.lab import hosts, network
from tests.lab.machine import inside

EVERY = 0.2  # seconds between what each end says on each socket
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
# Every byte that arrives is told as [name of the flow, bytes], a line each. The name goes by the port of the flow.
_COMMON = """
import json, os, socket, struct, sys, threading, time
names = {int(port): name for name, port in json.loads(sys.argv[1]).items()}
ports = {name: port for port, name in names.items()}
lock = threading.Lock()
def tell(name, count):
    with lock: print(json.dumps([name, count]), flush=True)
def forever(work):
    def again():
        while True:
            try: pause = work()
            except OSError: pause = 0.2
            time.sleep(pause or 0)
    threading.Thread(target=again, daemon=True).start()
def talk(s, name, say=True):
    def hear():
        data = s.recv(65536)
        if data: tell(name, len(data))
        return 0 if data else 1
    def speak(): s.send(b"stolen-from-here" * 8); return EVERY
    forever(hear)
    if say: forever(speak)
""".replace("EVERY", str(EVERY))
HOST = _COMMON + """
C4, C6 = sys.argv[2:4]
def begin(name):
    peer = (C6 if name.endswith("ipv6") else C4, ports[name])
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    if name.startswith("unconnected"):
        s = socket.socket(family, socket.SOCK_DGRAM); s.bind(("", 0))
        def hear(): tell(name, len(s.recv(65536)))
        def speak(): s.sendto(b"stolen-from-here" * 8, peer); return 0.2
        forever(hear); forever(speak)
    elif name.startswith("udp"):
        s = socket.socket(family, socket.SOCK_DGRAM); s.connect(peer); talk(s, name)
    elif name.startswith("accepted"):
        s = socket.create_server(("", peer[1]))
        def accept(): talk(s.accept()[0], name)
        threading.Thread(target=accept, daemon=True).start()
    else:
        def connect():
            s = socket.socket(family)
            try: s.connect(peer)
            except OSError: time.sleep(60); return
            tell(name, 1)
            silent = name.startswith("silent")
            talk(s, name, not silent)
            if silent: s.send(b"hello")
        threading.Thread(target=connect, daemon=True).start()
print(os.getpid(), flush=True)
for name in sys.argv[4:]: begin(name)
for line in sys.stdin: begin(line.strip())
os._exit(0)
"""
FAR = _COMMON + """
def serve(name, port):
    if name.startswith(("udp", "unconnected")):
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(("::", port)); peers = []
        def hear():
            data, peer = s.recvfrom(65536); peers[:] = [peer]; tell(name, len(data))
        def speak():
            if peers: s.sendto(b"order", peers[0])
            return 0.2
        forever(hear); forever(speak)
        return
    s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    def accept():
        one = s.accept()[0]; tell(name, 1)
        half = name.startswith("half-closed")
        talk(one, name, not half)
        if half: one.send(b"order"); one.shutdown(socket.SHUT_WR)
    forever(accept)
print("ready", flush=True)
for name, port in ports.items():
    if not name.startswith("accepted"): serve(name, port)
for line in sys.stdin:
    to, name = line.split(); talk(socket.create_connection((to, ports[name])), name)
os._exit(0)
"""
# Payload of TCP and UDP that comes out of the host and belongs to a flow.
WIRE = FRAMES_OF + """
names = {int(port): name for name, port in json.loads(sys.argv[1]).items()}
for kind, data in frames_of(sys.argv[2]):
    if kind == 0x0800: protocol, at, end = data[23], 14 + (data[14] & 15) * 4, 14 + struct.unpack_from("!H", data, 16)[0]
    elif kind == 0x86dd: protocol, at, end = data[20], 54, 54 + struct.unpack_from("!H", data, 18)[0]
    else: continue
    if protocol not in (6, 17): continue
    size = end - at - (8 if protocol == 17 else (data[at + 12] >> 4) * 4)
    name = next((names[port] for port in struct.unpack_from("!HH", data, at) if port in names), None)
    if name and size > 0: print(json.dumps([name, size]), flush=True)
"""


class Teller:
    """A program that tells what it gets: (when, flow, bytes), times in seconds of the machine's monotonic clock."""

    def __init__(self, argv: list[str]) -> None:
        self._program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._program.stdout is not None
        self.word = self._program.stdout.readline().strip()
        assert self.word, argv[:6]
        self.told: list[tuple[float, str, int]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._program.stdout or ():
            name, count = json.loads(line)
            self.told.append((time.monotonic(), name, count))

    def order(self, text: str) -> None:
        """One line for the program."""
        assert self._program.stdin is not None
        self._program.stdin.write(text + "\n")
        self._program.stdin.flush()

    def got(self, name: str, since: float = 0) -> int:
        """How many bytes of a flow it has told of since then."""
        return sum(count for at, flow, count in list(self.told) if flow == name and at > since)

    def end(self) -> None:
        """Its input ends, and so does it."""
        with self._program:
            assert self._program.stdin is not None
            try:
                self._program.stdin.close()
            except BrokenPipeError:  # it was killed
                pass
            self._reader.join()


def on_host(host: str, ports: dict[str, int], names: list[str]) -> Teller:
    """The host's end of these flows, in one process; its word is the process's number there."""
    return Teller(["nsenter", "-t", str(hosts.leader(host)), "-a", "--", "python3", "-c", HOST, json.dumps(ports), network.C2, network.C2_6, *names])


def far_end(ports: dict[str, int]) -> Teller:
    """The attacker's end of all flows; "ADDRESS NAME" makes it open one itself."""
    return Teller(inside("internet", [sys.executable, "-c", FAR, json.dumps(ports)]))


def ear(host: str, ports: dict[str, int]) -> Teller:
    """What comes out of the host's wire."""
    return Teller(inside("wire", [sys.executable, "-c", WIRE, json.dumps(ports), f"p-{host}"]))


def states(host: str, port: int) -> list[tuple[str, int, int]]:
    """State, retransmissions and inode of the host's TCP sockets with this port at either end (proc_net_tcp)."""
    found = []
    for line in hosts.execute(host, ["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout.splitlines():
        fields = line.split()
        if len(fields) > 9 and f":{port:04X}" in (fields[1][-5:], fields[2][-5:]):
            found.append((fields[3], int(fields[6], 16), int(fields[9])))
    return found
