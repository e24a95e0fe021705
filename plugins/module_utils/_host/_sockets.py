# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sockets of the host, as /proc/net shows them, and who holds them."""

from __future__ import annotations

import os
import socket as _socket
from typing import Iterable, Mapping, NamedTuple

from ._files import read_proc

# include/net/tcp_states.h; UDP and raw sockets use ESTABLISHED for "connected" and CLOSE for "not".
_STATES = (
    "UNKNOWN", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
    "LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV",
)
_TABLES = (
    ("tcp", "tcp", 4), ("tcp6", "tcp", 6), ("udp", "udp", 4), ("udp6", "udp", 6), ("udplite", "udplite", 4),
    ("udplite6", "udplite", 6), ("raw", "raw", 4), ("raw6", "raw", 6),
)
_LIMIT = 67108864
_MAPPED = b"\x00" * 10 + b"\xff\xff"


class Socket(NamedTuple):
    """One socket. Addresses are text; an IPv4-mapped address is IPv4 text while `family` stays 6.

    state: "ESTABLISHED", "LISTEN", ...; for UDP and raw "ESTABLISHED" means that the peer is fixed. inode is 0 for
    sockets that no process holds any more. For raw sockets local_port is the IP protocol.
    """

    protocol: str
    family: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    state: str
    uid: int
    inode: int


class PacketSocket(NamedTuple):
    """One AF_PACKET socket; `ethertype` in host order (0x0003 is all), `ifindex` 0 for every interface."""

    kind: int
    ethertype: int
    ifindex: int
    uid: int
    inode: int


def _address(text: str) -> str:
    """The kernel's hexadecimal words, each in host byte order, as address text. Raises ValueError."""
    raw = bytes.fromhex(text)
    if len(raw) == 4:
        return _socket.inet_ntoa(raw[::-1] if _LITTLE else raw)
    if len(raw) != 16:
        raise ValueError("no address")
    if _LITTLE:
        raw = raw[3::-1] + raw[7:3:-1] + raw[11:7:-1] + raw[15:11:-1]
    if raw[:12] == _MAPPED:
        return _socket.inet_ntoa(raw[12:])
    return _socket.inet_ntop(_socket.AF_INET6, raw)


_LITTLE = _socket.htons(1) != 1


def parse_sockets(text: str, protocol: str, family: int) -> list[Socket]:
    """The sockets of one file of /proc/net. Lines that do not fit are left out."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            local, _colon, local_port = fields[1].partition(":")
            remote, _colon, remote_port = fields[2].partition(":")
            number = int(fields[3], 16)
            found.append(Socket(
                protocol, family, _address(local), int(local_port, 16), _address(remote), int(remote_port, 16),
                _STATES[number] if number < len(_STATES) else "UNKNOWN", int(fields[7]), int(fields[9]),
            ))
        except (IndexError, ValueError):
            continue
    return found


def read_tables(root: str = "/proc") -> dict[str, bytes]:
    """The kernel's tables of TCP, UDP, UDP-Lite and raw sockets, as it writes them, by the name of the file."""
    return {name: read_proc("{0}/net/{1}".format(root, name), _LIMIT) for name, _protocol, _family in _TABLES}


def sockets_of(tables: Mapping[str, bytes]) -> list[Socket]:
    """The sockets in the tables of `read_tables`."""
    found: list[Socket] = []
    for name, protocol, family in _TABLES:
        if tables[name]:
            found.extend(parse_sockets(tables[name].decode("ascii", "replace"), protocol, family))
    return found


def read_sockets(root: str = "/proc") -> list[Socket]:
    """Every TCP, UDP, UDP-Lite and raw socket of the network namespace that `root` shows."""
    return sockets_of(read_tables(root))


def parse_packet_sockets(text: str) -> list[PacketSocket]:
    """The sockets of /proc/net/packet. Lines that do not fit are left out."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            found.append(PacketSocket(int(fields[2]), int(fields[3], 16), int(fields[4]), int(fields[7]), int(fields[8])))
        except (IndexError, ValueError):
            continue
    return found


def read_packet_sockets(root: str = "/proc") -> list[PacketSocket]:
    """Every AF_PACKET socket of the network namespace that `root` shows."""
    return parse_packet_sockets(read_proc(root + "/net/packet", _LIMIT).decode("ascii", "replace"))


def own_addresses(root: str = "/proc") -> set[str]:
    """The addresses of the host itself: what is sent to them never leaves it."""
    own = set()
    last = ""
    for line in read_proc(root + "/net/fib_trie", _LIMIT).decode("ascii", "replace").splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0] == "|--":
            last = fields[1]
        elif len(fields) == 3 and fields[1:] == ["host", "LOCAL"]:
            own.add(last)
    for line in read_proc(root + "/net/if_inet6", _LIMIT).decode("ascii", "replace").splitlines():
        try:
            own.add(_socket.inet_ntop(_socket.AF_INET6, bytes.fromhex(line.split()[0])))
        except (IndexError, ValueError):
            continue
    return own


def descriptors(folder: str) -> list[int]:
    """The inodes of the sockets that a process holds, by its folder of /proc; empty where it is gone or refused."""
    folder += "/fd"
    found = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        try:
            target = os.readlink("{0}/{1}".format(folder, name))
        except OSError:
            continue
        if target.startswith("socket:[") and target[8:-1].isdigit():
            found.append(int(target[8:-1]))
    return found


def owners(inodes: Iterable[int], root: str = "/proc", pids: list[int] | None = None) -> dict[int, list[int]]:
    """Which processes hold each of the sockets: inode -> pids, every holder, ascending.

    `inodes`: a collection of int; `pids` narrows the search. Inodes that nobody holds are missing in the answer.
    """
    wanted = {inode for inode in inodes if inode}
    found: dict[int, list[int]] = {}
    if not wanted:
        return found
    if pids is None:
        pids = [int(name) for name in os.listdir(root) if name.isdigit()]
    for pid in sorted(pids):
        for inode in wanted.intersection(descriptors("{0}/{1}".format(root, pid))):
            found.setdefault(inode, []).append(pid)
    return found
