# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine for classic BPF, with what the kernel asks of a program before it takes it (net/core/filter.c), and frames to try it on."""

from __future__ import annotations

import functools
import ipaddress
import struct

DROP, PASS = 2, 0xFFFFFFFF
NOTES = 0xFFFFF000  # SKF_AD_OFF
_SIZES = {0x20: 4, 0x28: 2, 0x30: 1}
_TYPES = {4: 0x0800, 6: 0x86DD}


class Past(AssertionError):
    """A load beyond the end of the packet: in the kernel, the program would end with 0 and let it pass."""


@functools.lru_cache(maxsize=None)
def taken(program: bytes) -> list[tuple[int, int, int, int]]:
    """The instructions of a program that the kernel would take."""
    code = list(struct.iter_unpack("=HBBI", program))
    assert 0 < len(code) <= 4096 and code[-1][0] == 0x06
    for place, (operation, yes, no, number) in enumerate(code):
        assert operation in (*_SIZES, 0x80, 0x54, 0x05, 0x15, 0x35, 0x06), hex(operation)
        if operation == 0x05:
            assert place + 1 + number < len(code)
        elif operation in (0x15, 0x35):
            assert place + 1 + max(yes, no) < len(code)
        else:
            assert yes == no == 0
    return code


def run(program: bytes, frame: bytes, told: int = 0, tagged: int = 0) -> int:
    """What a program returns for a frame. told: the type that the kernel has noted; tagged: whether there is a VLAN tag beside it."""
    code = taken(program)
    place, loaded = 0, 0
    while True:
        operation, yes, no, number = code[place]
        place += 1
        if operation in _SIZES:
            if number >= NOTES:
                loaded = {0: told, 48: tagged}[number - NOTES]
            elif number + _SIZES[operation] > len(frame):
                raise Past(number)
            else:
                loaded = int.from_bytes(frame[number:number + _SIZES[operation]], "big")
        elif operation == 0x80:
            loaded = len(frame)
        elif operation == 0x54:
            loaded &= number
        elif operation == 0x05:
            place += number
        elif operation == 0x06:
            return number
        else:
            place += yes if (loaded == number if operation == 0x15 else loaded >= number) else no


def packet(source: str, target: str, protocol: int = 17, body: bytes = b"", hops: int = 64, **more: int) -> bytes:
    """An IP packet; `more`: first (byte), fragment (field of IPv4), option (the header before the body of IPv6)."""
    one, two = ipaddress.ip_address(source), ipaddress.ip_address(target)
    if one.version == 4:
        return struct.pack("!BBHHHBBH", more.get("first", 0x45), 0, 20 + len(body), 1, more.get("fragment", 0), hops, protocol, 0) + (
            one.packed + two.packed + body)
    if "option" in more:
        body, protocol = struct.pack("!BBHI", protocol, 0, 0x0502, 0) + body, more["option"]
    return struct.pack("!BBHHBB", more.get("first", 0x60), 0, 0, len(body), protocol, hops) + one.packed + two.packed + body


def frame(data: bytes, kind: int | None = None) -> bytes:
    """It in a frame, of its own type where none is given."""
    return bytes(12) + struct.pack("!H", _TYPES.get(data[0] >> 4, 0) if kind is None else kind) + data


def ports(source: int, target: int) -> bytes:
    """The head of a UDP packet."""
    return struct.pack("!HHHH", source, target, 8, 0)
