# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A private network with a wire whose other end is this program: real packets go in and out, and what got through is seen."""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ansible_collections.firebreak.response.plugins.module_utils._host._child import leave_network
from ansible_collections.firebreak.response.tests.integration.kernel.policies import (
    ICMP, ICMP6, OTHERS, OWN, OWN_LINK, TCP, UDP, Packet,
)

Result = TypeVar("Result")
_TUNSETIFF, _TUN, _TAP, _NO_PI = 0x400454CA, 1, 2, 0x1000  # linux/if_tun.h
TYPES = {4: 0x0800, 6: 0x86DD}
_ADDRESS = bytes((2, 0, 0, 0, 0, 1))
# Fewer than the wire (500) and a socket's buffer hold.
_AT_ONCE = 50


class Wire:
    """A network of its own for one thread, with `tun0` (packets) and `tap0` (Ethernet) that end here.

    Work in it goes through `call`; programs that the work starts are in that network too.
    """

    def __init__(self) -> None:
        self.patience = 2.0  # seconds for what should arrive and has not
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self.call(self._make)

    def call(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, done inside."""
        return self._thread.submit(work).result()

    def close(self) -> None:
        """Everything goes with the last descriptor and the thread."""
        for one in (self.tun, self.tap):
            os.close(one)
        for listener in (*self._listeners.values(), *self._senders.values()):
            listener.close()
        self._thread.shutdown()

    def _make(self) -> None:
        if not leave_network():
            raise RuntimeError("needs root for a network namespace")
        # One processor: what was sent before is dealt with before.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for name in ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv6/conf/default/accept_dad",
                     "ipv6/conf/default/accept_ra"):
            _set(name, "0")
        self.tun, self.tap = _device("tun0", _TUN), _device("tap0", _TAP)
        subprocess.run(["ip", "-batch", "-"], check=True, text=True, input="\n".join((
            "link set lo up", "link set tun0 up", f"link set tap0 address {_ADDRESS.hex(':')}", "link set tap0 up",
            f"address add {OWN[4]}/32 dev tun0", f"address add {OWN[6]}/128 dev tun0 nodad",
            f"address add {OWN_LINK[0]}/64 dev tun0 nodad", "route add default dev tun0", "route add ::/0 dev tun0")) + "\n")
        _set("ipv4/ip_forward", "1")
        _set("ipv6/conf/all/forwarding", "1")
        self._scope = socket.if_nametoindex("tun0")
        self._listeners = {
            (family, protocol): socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
            for family in (socket.AF_INET, socket.AF_INET6) for protocol in sorted({TCP, UDP, *OTHERS})}
        self._senders = {4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
                         6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)}
        self._senders[4].setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for name in ("tun0", "tap0"):
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sender.bind((name, 0))
            self._senders[name] = sender

    def through(self, packets: Sequence[Packet], wait_for: Sequence[bool] | None = None, ethernet: bool = False) -> list[bool]:
        """Which of the packets get through; `wait_for`: which are expected to, so that a slow machine is waited for.

        ethernet: what comes in comes in frames.
        """
        passed: list[bool] = []
        for begin in range(0, len(packets), _AT_ONCE):
            some = packets[begin:begin + _AT_ONCE]
            passed += self._some(some, begin + 1, (wait_for or [False] * len(packets))[begin:begin + _AT_ONCE], ethernet)
        return passed

    def _some(self, packets: Sequence[Packet], number: int, wait_for: Sequence[bool], ethernet: bool) -> list[bool]:
        made = [build(packet, number + place) for place, packet in enumerate(packets)]
        self._arrived()
        for packet, data in zip(packets, made):
            if packet.way in ("in", "through"):
                os.write(self.tap if ethernet else self.tun, frame(data, TYPES[packet.version]) if ethernet else data)
                continue
            with contextlib.suppress(OSError):  # what the rules refuse, the sender is told
                self._senders[packet.version].sendto(data, (packet.target, 0) if packet.version == 4 else (
                    packet.target, 0, 0, self._scope if packet.target[:3] in ("fe8", "ff0") else 0))
        keys = [(True, _outer(data)) if packet.way in ("out", "through") else (False, _inner(packet, data))
                for packet, data in zip(packets, made)]
        return self._wait(keys, wait_for)

    def frames(self, frames: Sequence[tuple[str, bytes, int]], wait_for: Sequence[bool]) -> list[bool]:
        """Which frames (device, bytes, type that the sender tells the kernel) of a packet socket come out of the device."""
        passed: list[bool] = []
        for begin in range(0, len(frames), _AT_ONCE):
            some = frames[begin:begin + _AT_ONCE]
            self._arrived()
            for device, data, told in some:
                with contextlib.suppress(OSError):
                    self._senders[device].sendto(data, (device, told))
            passed += self._wait([(True, data) for _device, data, _told in some], wait_for[begin:begin + _AT_ONCE])
        return passed

    def _wait(self, keys: Sequence[tuple[bool, bytes]], wait_for: Sequence[bool]) -> list[bool]:
        end = time.monotonic() + self.patience
        seen = self._arrived()
        while any(wanted and key not in seen for wanted, key in zip(wait_for, keys)):
            if time.monotonic() > end:
                self.patience = 0.05  # there is a failure, and what follows only makes its example smaller
                break
            time.sleep(0.01)
            seen |= self._arrived()
        return [key in seen for key in keys]

    def _arrived(self) -> set[tuple[bool, bytes]]:
        """What came out of the wires (True) and what the host took in (False) since the last time."""
        found = set()
        for descriptor in (self.tun, self.tap):
            for data in _pieces(lambda descriptor=descriptor: os.read(descriptor, 2048)):
                found |= {(True, data), (True, _outer(data))}
        for (family, protocol), listener in self._listeners.items():
            for data in _pieces(lambda listener=listener: listener.recv(2048)):
                found.add((False, bytes([protocol]) + (data[(data[0] & 15) * 4:] if family == socket.AF_INET else data)))
        return found


def _pieces(read: Callable[[], bytes]) -> Iterator[bytes]:
    while True:
        try:
            yield read()
        except BlockingIOError:
            return


def _set(name: str, value: str) -> None:
    with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as setting:
        setting.write(value)


def _device(name: str, kind: int) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode("ascii"), kind | _NO_PI))
    return descriptor


def frame(data: bytes, kind: int) -> bytes:
    """An Ethernet frame of this type from a neighbour to the host."""
    return _ADDRESS + bytes((2, 0, 0, 0, 0, 2)) + struct.pack("!H", kind) + data


def _outer(data: bytes) -> bytes:
    """A packet without what a router changes: hops and, in IPv4, the checksum."""
    if not data:
        return data
    return data[:8] + data[9:10] + data[12:] if data[0] >> 4 == 4 else data[:7] + data[8:]


def _inner(packet: Packet, data: bytes) -> bytes:
    return bytes([packet.protocol]) + data[20 if packet.version == 4 else 48 if packet.header else 40:]


def _sum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def build(packet: Packet, number: int) -> bytes:
    """The bytes of a packet, which end in its number; checksums are right, for the kernel throws away what is not."""
    four = packet.version == 4
    family = socket.AF_INET if four else socket.AF_INET6
    source, target = socket.inet_pton(family, packet.source), socket.inet_pton(family, packet.target)
    tail = struct.pack("!I", number)
    if packet.protocol == TCP:
        body, place = struct.pack("!HHIIBBHHH", packet.first, packet.second, number, 1, 5 << 4, packet.flags, 1024, 0, 0) + tail, 16
    elif packet.protocol in (ICMP, ICMP6):
        body, place = struct.pack("!BBHI", packet.first, packet.second, 0, 0) + bytes(20) + tail, 2
    else:
        body, place = struct.pack("!HHHH", packet.first, packet.second, 12, 0) + tail, 6
    pseudo = source + target + struct.pack("!BBH" if four else "!IHBB", *((0, packet.protocol, len(body)) if four else (
        len(body), 0, 0, packet.protocol)))
    if packet.protocol in (TCP, UDP, ICMP, ICMP6):
        check = _sum((b"" if packet.protocol == ICMP else pseudo) + body)
        body = body[:place] + struct.pack("!H", check) + body[place + 2:]
    if four:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1 + number % 65535, 100 if packet.later else 0, packet.hops,
                           packet.protocol, 0)
        return head[:10] + struct.pack("!H", _sum(head + source + target)) + source + target + body
    following = packet.protocol
    if packet.later:
        body, following = struct.pack("!BBHI", packet.protocol, 0, 100 << 3, number) + body, 44
    elif packet.header:  # destination options, padded
        body, following = struct.pack("!BBBB4x", packet.protocol, 0, 1, 4) + body, 60
    return struct.pack("!IHBB", 6 << 28, len(body), following, packet.hops) + source + target + body
