# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on a host of the lab: what sends past every rule of it, each of which must be named.

usage: at_host_past.py CONFIG (JSON: numbers, tick). An AF_XDP socket at host0, a program of XDP at eth9 that sends back what comes in, a program
of tcx that sends a container's frames out of host0, and eth8 moved into another network namespace. Until its input ends.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import time

CONFIG = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_PROG_LOAD, _LINK_CREATE = 5, 28  # linux/bpf.h
_SCHED_CLS, _XDP, _TCX_INGRESS, _AT_XDP, _GENERIC = 3, 6, 46, 37, 2
_SOL_XDP, _OFFSETS, _TX_RING, _UMEM, _FILL, _COMPLETION, _COPY = 283, 1, 3, 4, 5, 6, 2  # linux/if_xdp.h
_ROOM = 4096


def frame(name):
    return bytes.fromhex("ffffffffffff0266000001fe88b5") + "stolen-from-here:L:{:03d};".format(CONFIG["numbers"][name]).encode()


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    answer = LIBC.syscall(_BPF, command, buffer, 128)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def instruction(code, target=0, source=0, value=0):
    return struct.pack("=BBhi", code, source << 4 | target, 0, value)


def attach(kind, program, interface, place, flags=0):
    """Load a program and leave it at an interface for as long as this process lives."""
    text, licence = ctypes.create_string_buffer(program, len(program)), ctypes.create_string_buffer(b"GPL")
    loaded = bpf(_PROG_LOAD, struct.pack("=IIQQIIQ", kind, len(program) // 8, ctypes.addressof(text), ctypes.addressof(licence), 0, 0, 0))
    bpf(_LINK_CREATE, struct.pack("=IIII", loaded, socket.if_nametoindex(interface), place, flags))


def run(line):
    for one in line.split(";"):
        subprocess.run(one.split(), check=True, stdin=subprocess.DEVNULL)


def elsewhere():
    """A network namespace of its own, held by a process."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "600"], stdin=subprocess.DEVNULL)
    path = "/proc/{}/ns/net".format(holder.pid)
    while os.readlink(path) == os.readlink("/proc/self/ns/net"):
        time.sleep(0.01)
    return holder


def within(holder, device):
    """A packet socket in there."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    LIBC.setns(os.open("/proc/{}/ns/net".format(holder.pid), os.O_RDONLY), 0)
    try:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        s.bind((device, 0))
        return s
    finally:
        LIBC.setns(own, 0)


class Xdp:
    """An AF_XDP socket that sends one frame again and again: its place in the memory that it shares with the kernel stays the same."""

    def __init__(self, device, data):
        self.memory = mmap.mmap(-1, 2 * _ROOM)
        self.memory[:len(data)] = data
        self.size = len(data)
        self.socket = socket.socket(44, socket.SOCK_RAW)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.socket.setsockopt(_SOL_XDP, _UMEM, struct.pack("=QQIII", address, 2 * _ROOM, _ROOM, 0, 0) + bytes(4))
        for ring in (_FILL, _COMPLETION, _TX_RING):
            self.socket.setsockopt(_SOL_XDP, ring, struct.pack("=I", 64))
        offsets = struct.unpack("=16Q", self.socket.getsockopt(_SOL_XDP, _OFFSETS, 128))
        self.send_at, self.done_at = offsets[4:8], offsets[12:16]  # producer, consumer, descriptors, flags
        self.ring = mmap.mmap(self.socket.fileno(), _ROOM, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0x80000000)
        self.done = mmap.mmap(self.socket.fileno(), _ROOM, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0x180000000)
        to = struct.pack("=HHIII", 44, _COPY, socket.if_nametoindex(device), 0, 0)
        if LIBC.bind(self.socket.fileno(), ctypes.create_string_buffer(to, len(to)), len(to)):
            raise OSError(ctypes.get_errno(), "bind")
        self.count = 0

    def send(self):
        struct.pack_into("=QII", self.ring, self.send_at[2] + 16 * (self.count % 64), 0, self.size, 0)
        self.count += 1
        struct.pack_into("=I", self.ring, self.send_at[0], self.count)
        LIBC.sendto(self.socket.fileno(), None, 0, socket.MSG_DONTWAIT, None, 0)
        self.done[self.done_at[1]:self.done_at[1] + 4] = self.done[self.done_at[0]:self.done_at[0] + 4]  # what was sent is taken back


def main():
    holders = [elsewhere(), elsewhere()]
    pod, away = holders
    try:
        run("ip link set eth8 netns {0}; nsenter -t {0} --net ip link set eth8 up;"
            "ip link add pod1 type veth peer name eth0 netns {1}; ip link set pod1 up; nsenter -t {1} --net ip link set eth0 up".format(away.pid, pod.pid))
        redirect = instruction(0xB7, 1, value=socket.if_nametoindex("host0")) + instruction(0xB7, 2) + instruction(0x85, value=23)
        attach(_SCHED_CLS, redirect + instruction(0x95), "pod1", _TCX_INGRESS)
        attach(_XDP, instruction(0xB7, value=3) + instruction(0x95), "eth9", _AT_XDP, _GENERIC)  # XDP_TX
        xdp = Xdp("host0", frame("af-xdp"))
        ways = [(within(pod, "eth0"), frame("tcx-redirect")), (within(away, "eth8"), frame("interface-moved-away"))]
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], CONFIG["tick"])[0]:
            xdp.send()
            for s, data in ways:
                s.send(data)
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
        subprocess.run(["ip", "link", "delete", "pod1"], stderr=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    main()
