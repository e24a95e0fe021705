# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan -> programs of classic BPF for tc that let the same frames pass as the rules of `_layer2.render`. Pure: runs nothing.

They are for hosts whose nft or kernel knows no egress hook: cls_bpf takes classic programs from Linux 4.4 on, its qdisc clsact from 4.5.
A load beyond the end of a packet ends a program with 0, which would let it pass: before every load the length is asked for. Stricter
than nft in what nobody needs: IPv4 options in DHCP and in what says that a packet is too big, and headers before ICMPv6 other than
the one option header of MLD.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Sequence, Tuple

from ._policy import EGRESS, OBSERVE

if TYPE_CHECKING:
    from ._leases import Network
    from ._policy import Plan

# Code, jumps where a test holds and where not (both over so many instructions), and a number: struct sock_filter of linux/filter.h.
Instruction = Tuple[int, int, int, int]
_ONE = struct.Struct("=HBBI")
MOST = 4096  # BPF_MAXINSNS of linux/bpf_common.h
_FAR = 200  # of the 255 that a jump can take
# linux/bpf_common.h: load a word, half a word or a byte at a place, or the length; and, with; jump; jump if equal, if at least; return.
_WORD, _HALF, _BYTE, _LENGTH, _AND, _JUMP, _EQUAL, _LEAST, _RETURN = 0x20, 0x28, 0x30, 0x80, 0x54, 0x05, 0x15, 0x35, 0x06
# linux/filter.h, SKF_AD_OFF: what the kernel has noted of the type, and whether it carries a VLAN tag beside the packet.
_TYPE, _TAGGED = 0xFFFFF000, 0xFFFFF000 + 48
# linux/pkt_cls.h: TC_ACT_SHOT, and TC_ACT_UNSPEC, which leaves the rest to the filters of others.
_DROP: Instruction = (_RETURN, 0, 0, 2)
_PASS: Instruction = (_RETURN, 0, 0, 0xFFFFFFFF)
_IP4, _IP6, _ARP = 0x0800, 0x86DD, 0x0806
_ALL = 0xFFFFFFFF
_ICMP, _UDP, _ICMP6 = 1, 17, 58


def programs(plan: Plan) -> dict[str, bytes]:
    """The programs by "egress_ethernet" and so on, as for `_layer2.Devices`, each as struct sock_filter[].

    Raises ValueError where one is longer than the kernel takes; nothing where nothing is to be held back.
    """
    made = {}
    for direction in () if plan.mode == OBSERVE else ("egress",) if plan.mode == EGRESS else ("egress", "ingress"):
        for kind in ("ethernet", "bare"):
            code = _program(plan, direction == "egress", kind == "ethernet")
            if len(code) > MOST:
                raise ValueError("the allow list takes {0} instructions, and tc takes {1}".format(len(code), MOST))
            made["{0}_{1}".format(direction, kind)] = b"".join(_ONE.pack(*one) for one in code)
    return made


def written(program: bytes) -> str:
    """A program as tc(8) takes it: "LENGTH,CODE JT JF K,..."."""
    return "{0},{1}".format(len(program) // _ONE.size, "".join("{0} {1} {2} {3},".format(*one) for one in _ONE.iter_unpack(program)))


def _if(load: Sequence[Instruction], test: int, value: int, then: Sequence[Instruction]) -> list[Instruction]:
    """`then` where what is loaded meets the test; else what follows it."""
    return [*load, (test, 1, 0, value), (_JUMP, 0, 0, len(then)), *then]


def _long(size: int, then: Sequence[Instruction]) -> list[Instruction]:
    return _if([(_LENGTH, 0, 0, 0)], _LEAST, size, then)


def _byte(place: int, value: int, then: Sequence[Instruction]) -> list[Instruction]:
    return _if([(_BYTE, 0, 0, place)], _EQUAL, value, then)


def _any(load: Sequence[Instruction], values: Sequence[int]) -> list[Instruction]:
    """Pass where what is loaded is one of the values; else what follows, with the same loaded."""
    code = list(load)
    for begin in range(0, len(values), _FAR):
        some = values[begin:begin + _FAR]
        # Each but the last jumps to the return behind all of them; the last one jumps over it.
        code += [(_EQUAL, len(some) - 1 - place, 0 if place < len(some) - 1 else 1, value) for place, value in enumerate(some)]
        code.append(_PASS)
    return code


def _within(networks: Sequence[Network], place: int, then: Sequence[Instruction] = (_PASS,)) -> list[Instruction]:
    """`then` where the address at a place is in one of the networks of one family; else what follows."""
    code: list[Instruction] = []
    for network in networks:
        code += _words(_split(network), place, list(then))
    return code


def _split(network: Network) -> list[tuple[int, int]]:
    """The (value, mask) of each word of an address that a network says something of."""
    address, mask = network.network_address.packed, network.netmask.packed
    words = [(int.from_bytes(address[at:at + 4], "big"), int.from_bytes(mask[at:at + 4], "big")) for at in range(0, len(mask), 4)]
    return [word for word in words if word[1]]


def _words(words: Sequence[tuple[int, int]], place: int, then: list[Instruction]) -> list[Instruction]:
    for number in reversed(range(len(words))):
        value, mask = words[number]
        then = _if(_masked(place + 4 * number, mask), _EQUAL, value, then)
    return then


def _masked(place: int, mask: int) -> list[Instruction]:
    load: list[Instruction] = [(_WORD, 0, 0, place)]
    return load if mask == _ALL else [*load, (_AND, 0, 0, mask)]


def _peers(networks: Sequence[list[tuple[int, int]]], place: int) -> list[Instruction]:
    """Pass where the address is in one of many networks, given as `_split` gives them: words that many share are looked at once."""
    ends: dict[int, list[int]] = {}
    further: dict[int, list[list[tuple[int, int]]]] = {}
    for (value, mask), *rest in networks:
        if rest:
            further.setdefault(value, []).append(rest)
        else:
            ends.setdefault(mask, []).append(value)
    code: list[Instruction] = []
    for mask, values in sorted(ends.items()):
        code += _any(_masked(place, mask), values)
    for value, rests in sorted(further.items()):
        code += _if(_masked(place, _ALL), _EQUAL, value, _peers(rests, place + 4))
    return code


def _program(plan: Plan, leaving: bool, ethernet: bool) -> list[Instruction]:
    at = 14 if ethernet else 0  # where the packet begins
    code = _if([(_BYTE, 0, 0, _TAGGED)], _EQUAL, 0, [])
    code[-1] = _DROP  # in the place of the jump: a tag that the bytes do not show
    families = []
    for kind, size, first, body in ((_IP4, 20, 0x40, _four), (_IP6, 40, 0x60, _six)):
        version = _if([(_BYTE, 0, 0, at), (_AND, 0, 0, 0xF0)], _EQUAL, first, [*body(plan, leaving, at), _DROP])
        inside = _long(at + size, version)
        if not (leaving and ethernet):  # on a wire only bytes count; DHCP clients on old kernels leave the note empty
            inside = _if([(_HALF, 0, 0, _TYPE)], _EQUAL, kind, inside)
        families += _if([(_HALF, 0, 0, 12)], _EQUAL, kind, inside) if ethernet else inside
    if ethernet:
        families = _long(at, [*_any([(_HALF, 0, 0, 12)], [_ARP]), *families])
    return [*code, *families, _DROP]


def _four(plan: Plan, leaving: bool, at: int) -> list[Instruction]:
    """For IPv4 packets of at least 20 bytes from `at` on."""
    code = _peers([_split(network) for network in plan.peers() if network.version == 4], at + (16 if leaving else 12))
    mine = [network for network in plan.leases if network.version == 4]
    rest: list[Instruction] = []
    if mine and leaving:
        rest += _if(_masked(at + 16, _ALL), _EQUAL, 0xFFFFFFFF, _ports(at, 9, 20, 68, 67))
    elif mine:
        rest += _within(mine, at + 12, _ports(at, 9, 20, 67, 68))
    if not leaving:
        rest += _byte(at + 9, _ICMP, _long(at + 22, _if([(_HALF, 0, 0, at + 20)], _EQUAL, 0x0304, [_PASS])))
    # No options, and no fragment but the first, which alone has ports and types.
    return [*code, *_byte(at, 0x45, _if([(_HALF, 0, 0, at + 6), (_AND, 0, 0, 0x1FFF)], _EQUAL, 0, rest))]


def _ports(at: int, protocol: int, size: int, source: int, target: int) -> list[Instruction]:
    """Pass where a UDP packet goes from one port to the other; `protocol`: where that stands; `size`: of the header before."""
    ports = _if([(_WORD, 0, 0, at + size)], _EQUAL, source << 16 | target, [_PASS])
    return _byte(at + protocol, _UDP, _long(at + size + 4, ports))


_LINK, _SCOPE = [(0xFE800000, 0xFFC00000)], [(0xFF020000, 0xFFFF0000)]  # fe80::/10 and ff02::/16


def _six(plan: Plan, leaving: bool, at: int) -> list[Instruction]:
    """For IPv6 packets of at least 40 bytes from `at` on. The types and where they pass are those of `_nftables`."""
    address = at + (24 if leaving else 8)
    code = _peers([_split(network) for network in plan.peers() if network.version == 6], address)
    if any(network.version == 6 for network in plan.leases):
        if leaving:  # ff02::1:2
            code += _words([(0xFF020000, _ALL), (0, _ALL), (0, _ALL), (0x00010002, _ALL)], address, _ports(at, 6, 40, 546, 547))
        else:
            code += _words(_LINK, address, _ports(at, 6, 40, 547, 546))
    plain, reports = at + 40, at + 48  # where the type stands, without and with the option header

    def types(place: int, hops: int, target: Sequence[tuple[int, int]], values: Sequence[int]) -> list[Instruction]:
        return _byte(at + 7, hops, _words(target, address, _any([(_BYTE, 0, 0, place)], values)))

    if leaving:
        listening = [types(place, 1, _SCOPE, [131, 132, 143]) for place in (plain, reports)]
        direct = [*types(plain, 255, _LINK, [133, 135, 136]), *types(plain, 255, _SCOPE, [133, 135, 136]), *listening[0]]
    else:
        listening = [types(place, 1, _LINK, [130]) for place in (plain, reports)]
        nowhere = [(0, _ALL)] * 4
        direct = [*_any([(_BYTE, 0, 0, plain)], [2]), *_byte(at + 7, 255, _any([(_BYTE, 0, 0, plain)], [136])),
                  *types(plain, 255, _LINK, [134, 135]), *types(plain, 255, nowhere, [135]), *listening[0]]
    # The option header of MLD (RFC 2710, section 3): eight bytes, ICMPv6 next.
    optional = _byte(at + 6, 0, _long(at + 49, _if([(_HALF, 0, 0, at + 40)], _EQUAL, _ICMP6 << 8, listening[1])))
    return [*code, *_byte(at + 6, _ICMP6, _long(at + 41, direct)), *optional]
