# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways onto the wire that no rule of this network namespace meets: interfaces that stand in another one, and AF_XDP sockets."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import struct

from .._text import printable
from ._netstate import dump
from ._sockets import read_packet_sockets, read_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of linux/sched.h
_MOST = 64  # namespaces that are looked into
_ANSWER = 16777216
_ETHERNET = 1  # include/uapi/linux/if_arp.h
_NAMED = ("run/netns", "run/docker/netns")
_XDP = 44  # AF_XDP
_MAPPED = re.compile(rb" socket:\[(\d+)\]$", re.MULTILINE)


def namespaces(root: str = "/") -> dict[int, str]:
    """The other network namespaces that processes or names hold: inode -> a path of it."""
    proc = os.path.join(root, "proc")
    found: dict[int, str] = {}
    paths = [os.path.join(proc, name, "ns/net") for name in os.listdir(proc) if name.isdigit()]
    for folder in _NAMED:
        try:
            paths += [os.path.join(root, folder, name) for name in os.listdir(os.path.join(root, folder))]
        except OSError:
            continue
    for path in paths:
        try:
            found.setdefault(os.stat(path).st_ino, path)
        except OSError:
            continue
    found.pop(os.stat(os.path.join(proc, "self/ns/net")).st_ino, None)
    return found


def led_away(own: list[dict[str, object]], theirs: list[dict[str, object]]) -> list[str]:
    """Interfaces of another namespace that do not end at one of ours: real ones, and wires whose other end is elsewhere."""
    ends = {(link.get("index"), link.get("link")) for link in own if link.get("kind") == "veth"}
    return sorted(str(link.get("name")) for link in theirs if link.get("type") == _ETHERNET and (
        not link.get("kind") or link.get("kind") == "veth" and (link.get("link"), link.get("index")) not in ends))


def interfaces(own: list[dict[str, object]], root: str = "/") -> list[tuple[str, str]]:
    """(interface, where it stands) for each that is led away; `own`: the links of this namespace. Raises OSError."""
    found = list(namespaces(root).items())
    if not found:
        return []
    names = [(name, "network namespace {0}".format(inode)) for inode, links in _asked(found[:_MOST]) for name in led_away(own, links)]
    if len(found) > _MOST:
        names.append(("?", "{0} more network namespaces, not looked into".format(len(found) - _MOST)))
    return names


def _asked(found: list[tuple[int, str]]) -> list[tuple[int, list[dict[str, object]]]]:
    """The links of each namespace, asked by a child, which alone goes there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            answer = []
            for inode, path in found:
                if _enter(path):
                    answer.append((inode, [{key: link.get(key) for key in ("name", "type", "kind", "index", "link")} for link in dump("links")]))
            view = memoryview(json.dumps(answer).encode("ascii"))
            while view:
                view = view[os.write(writer, view):]
        finally:
            os._exit(0)
    os.close(writer)
    data = b""
    while len(data) < _ANSWER:
        part = os.read(reader, 65536)
        if not part:
            break
        data += part
    os.close(reader)
    os.waitpid(pid, 0)
    try:
        return [(int(inode), links) for inode, links in json.loads(data)]
    except (ValueError, TypeError) as error:
        raise OSError(errno.EIO, "the other network namespaces cannot be looked into") from error


def _enter(path: str) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # gone meanwhile
        return False
    enter = getattr(os, "setns", None)  # Python 3.12 and later
    try:
        if enter is not None:
            enter(handle, _NEW_NETWORK)
            return True
        import ctypes

        status: int = ctypes.CDLL(None, use_errno=True).setns(handle, _NEW_NETWORK)
        return status == 0
    except OSError:
        return False
    finally:
        os.close(handle)


def xdp_sockets(known: Callable[[], Iterable[int]], root: str = "/") -> int:
    """How many AF_XDP sockets there are in this namespace, or in use by its processes where the kernel does not tell.

    `known`: gives inodes of sockets of other kinds; what else a process has mapped of a socket are the rings of one for AF_XDP.
    """
    told = _diagnosed()
    if told is not None:
        return told
    found: set[int] = set()
    proc = os.path.join(root, "proc")
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            with open(os.path.join(proc, name, "maps"), "rb") as maps:
                found.update(int(inode) for inode in _MAPPED.findall(maps.read(_ANSWER)))
        except OSError:
            continue
    return len(found.difference(known())) if found else 0


def _diagnosed() -> int | None:
    """The number of them by XDP_DIAG (linux/xdp_diag.h); None where the kernel was built without."""
    body = struct.pack("=BBHIIII", _XDP, 0, 0, 0, 1, 0xFFFFFFFF, 0xFFFFFFFF)
    count = 0
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4) as channel:
            channel.settimeout(2.0)
            channel.send(struct.pack("=IHHII", 16 + len(body), 20, 0x301, 1, 0) + body)
            while True:
                data = channel.recv(262144)
                at = 0
                while at + 16 <= len(data):
                    length, kind = struct.unpack_from("=IH", data, at)
                    if kind == 3 or length < 16:  # NLMSG_DONE
                        return count
                    if kind == 2:  # NLMSG_ERROR
                        return None
                    count += 1
                    at += (length + 3) & ~3
    except OSError:
        return None


def ways_past() -> list[dict[str, str]]:
    """What can send without meeting any rule of this network namespace: [{"device", "what"}]."""
    try:
        found = interfaces(dump("links"))
        count = xdp_sockets(lambda: [*(one.inode for one in read_packet_sockets()), *(one.inode for one in read_sockets())])
    except OSError as error:
        return [{"device": "", "what": "other network namespaces cannot be looked into: {0}".format(error.strerror)}]
    if count:
        found.append(("", "{0} AF_XDP sockets".format(count)))
    return [{"device": printable(name, 64), "what": what} for name, what in found]
