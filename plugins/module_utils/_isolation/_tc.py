# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs for frames put into the kernel where tc keeps them, straight over NETLINK_ROUTE: starting tc takes too long before a kill.

A device's qdisc clsact holds filters for both directions. Ours is the first of preference 1, kind bpf, handle 0xf12eb, and is told
from others' by that. Nothing else of a device is touched; a clsact that was there stays. Numbers are those of linux/rtnetlink.h,
pkt_cls.h and pkt_sched.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import NamedTuple

from .._host._netstate import ask
from ._layer2 import HANDLE, PREFERENCE

# TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS) and so on: where filters of a direction hang.
PARENTS = {"egress": 0xFFFFFFF3, "ingress": 0xFFFFFFF2}
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_NEW_QDISC, _NEW, _DELETE, _GET = 36, 44, 45, 46
_REQUEST, _ACK, _EXCLUSIVE, _CREATE = 1, 4, 0x200, 0x400
_MESSAGE, _HEADER, _ATTRIBUTE = struct.Struct("=BxxxiIII"), struct.Struct("=IHHII"), struct.Struct("=HH")
_KIND, _OPTIONS, _CHAIN = 1, 2, 11
_COUNT, _CODE, _FLAGS = 4, 5, 8  # TCA_BPF_*
_SHARED = -1  # TCM_IFINDEX_MAGIC_BLOCK
_DIRECT = 1  # TCA_BPF_FLAG_ACT_DIRECT: what the program returns is what happens
_SECONDS = 5.0


class Filter(NamedTuple):
    """One filter of a device, in the order in which they are asked. program: of classic BPF, where it is one that decides; aside: nobody
    asks it by itself (another chain than the first), or it hangs on a block that several devices share."""

    kind: str
    preference: int
    protocol: int
    handle: int
    program: bytes
    aside: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is ours, by its place and name."""
        return not self.aside and (self.kind, self.preference, self.protocol, self.handle) == ("bpf", PREFERENCE, _all(), HANDLE)


def _all() -> int:
    return socket.htons(3)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes one after the other, by number."""
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, number = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            break
        found[number & 0x3FFF] = data[at + _ATTRIBUTE.size:at + size]
        at += (size + 3) & ~3
    return found


def parse(body: bytes) -> Filter | None:
    """A filter of a dump; None for what only says that filters of a kind are there."""
    if len(body) < _MESSAGE.size:
        return None
    _family, index, handle, _parent, info = _MESSAGE.unpack_from(body)
    found = attributes(body[_MESSAGE.size:])
    if _OPTIONS not in found:
        return None
    options = attributes(found[_OPTIONS])
    direct = struct.unpack("=I", options[_FLAGS])[0] & _DIRECT if len(options.get(_FLAGS, b"")) == 4 else 0
    kind = found.get(_KIND, b"").split(b"\0", 1)[0].decode("ascii", "replace")
    return Filter(kind, info >> 16, info & 0xFFFF, handle, options.get(_CODE, b"") if kind == "bpf" and direct else b"",
                  index == _SHARED or any(found.get(_CHAIN, b"")))


def filters(index: int, direction: str) -> list[Filter]:
    """The filters of a device that has a clsact or an ingress qdisc. Raises OSError."""
    body = _MESSAGE.pack(0, index, 0, PARENTS[direction], 0)
    return [one for one in map(parse, ask(socket.NETLINK_ROUTE, _GET, body)) if one is not None]


def _attribute(number: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value + bytes(-len(value) % 4)


class Channel:
    """Changes, one after the other. Each gives the kernel's error number, 0 where it did what was asked for."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_SECONDS)

    def close(self) -> None:
        """No more changes."""
        self._socket.close()

    def _do(self, request: int, flags: int, message: bytes) -> int:
        size = _HEADER.size + len(message)
        try:
            self._socket.send(_HEADER.pack(size, request, _REQUEST | _ACK | flags, 1, 0) + message)
            answer = self._socket.recv(65536 + size)  # where it refuses, its answer holds what it was asked
        except OSError as error:
            return error.errno or errno.EIO
        return -struct.unpack_from("=i", answer, _HEADER.size)[0] if len(answer) >= _HEADER.size + 4 else errno.EIO

    def add_qdisc(self, index: int) -> int:
        """A clsact for a device."""
        return self._do(_NEW_QDISC, _CREATE | _EXCLUSIVE, _MESSAGE.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0) + _attribute(_KIND, b"clsact\0"))

    def put(self, index: int, direction: str, program: bytes) -> int:
        """Our filter, in the place of an earlier one of ours: no frame passes in between."""
        options = (_attribute(_COUNT, struct.pack("=H", len(program) // 8)) + _attribute(_CODE, program)
                   + _attribute(_FLAGS, struct.pack("=I", _DIRECT)))
        return self._do(_NEW, _CREATE, self._place(index, direction) + _attribute(_KIND, b"bpf\0") + _attribute(_OPTIONS, options))

    def take(self, index: int, direction: str) -> int:
        """Our filter away."""
        return self._do(_DELETE, 0, self._place(index, direction) + _attribute(_KIND, b"bpf\0"))

    @staticmethod
    def _place(index: int, direction: str) -> bytes:
        return _MESSAGE.pack(0, index, HANDLE, PARENTS[direction], PREFERENCE << 16 | _all())
