# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways onto the wire that no rule of this network namespace meets: interfaces that stand in another one, AF_XDP sockets, tcx programs."""

from __future__ import annotations

import errno
import json
import os
import re
import struct

from .._text import printable
from ._child import Child, enter_network
from ._files import read_proc
from ._netstate import ask, dump
from ._patience import each
from ._sockets import read_packet_sockets, read_sockets
from ._tcx import programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST = 64  # namespaces that are looked into
_MAPS = 16777216  # bytes of what a process has mapped that are read
_KEYS = ("name", "type", "kind", "index", "link")
_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG of linux/netlink.h
_ETHERNET = 1  # include/uapi/linux/if_arp.h
_NAMED = ("run/netns", "run/docker/netns")
_XDP = 44  # AF_XDP
_MAPPED = re.compile(rb" socket:\[(\d+)\]$", re.MULTILINE)


def namespaces(root: str = "/") -> dict[int, str]:
    """The other network namespaces that processes or names hold: inode -> a path of it."""
    proc = os.path.join(root, "proc")
    paths = [os.path.join(proc, name, "ns/net") for name in os.listdir(proc) if name.isdigit()]
    for named in each([os.path.join(root, folder) for folder in _NAMED], _listed)[0]:
        paths += named
    own = os.stat(os.path.join(proc, "self/ns/net"))
    found: dict[int, str] = {}
    for path, entry in each(paths, _entry)[0]:
        # What is on another file system is no namespace, whatever its name, and opening it may never end.
        if entry is not None and entry.st_dev == own.st_dev and entry.st_ino != own.st_ino:
            found.setdefault(entry.st_ino, path)
    return found


def _listed(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
    except OSError:
        return []


def _entry(path: str) -> tuple[str, os.stat_result | None]:
    try:
        return path, os.stat(path)
    except OSError:
        return path, None


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
    def ask_there() -> str:
        return json.dumps([(inode, [{key: link.get(key) for key in _KEYS} for link in dump("links")])
                           for inode, path in found if enter_network(path)])

    answer = Child(ask_there).result()
    if answer is None:
        raise OSError(errno.EIO, "the other network namespaces cannot be looked into")
    return [(int(inode), links) for inode, links in json.loads(answer)]


def xdp_sockets(known: Callable[[], Iterable[int]], root: str = "/") -> tuple[int, int]:
    """How many AF_XDP sockets there are in this namespace, and how many processes did not let us see whether they use one.

    Where the kernel does not tell, what processes have mapped does.

    `known`: gives inodes of sockets of other kinds; what else a process has mapped of a socket are the rings of one for AF_XDP.
    """
    told = _diagnosed()
    if told is not None:
        return told, 0
    proc = os.path.join(root, "proc")
    mapped, stuck = each([os.path.join(proc, name, "maps") for name in os.listdir(proc) if name.isdigit()], _mapped)
    found: set[int] = set().union(*mapped)
    return (len(found.difference(known())) if found else 0), len(stuck)


def _mapped(path: str) -> set[int]:
    return {int(inode) for inode in _MAPPED.findall(read_proc(path, _MAPS))}


def _diagnosed() -> int | None:
    """The number of them by XDP_DIAG (linux/xdp_diag.h); None where the kernel was built without."""
    try:
        return len(ask(_SOCK_DIAG, 20, struct.pack("=BBHIIII", _XDP, 0, 0, 0, 1, 0xFFFFFFFF, 0xFFFFFFFF)))
    except OSError:
        return None


def ways_past() -> list[dict[str, str]]:
    """What can send without meeting any rule of this network namespace: [{"device", "what"}]."""
    try:
        links = dump("links")
        found = interfaces(links) + programs(links)
        count, stuck = xdp_sockets(lambda: [*(one.inode for one in read_packet_sockets()), *(one.inode for one in read_sockets())])
    except OSError as error:
        return [{"device": "", "what": "other network namespaces cannot be looked into: {0}".format(error.strerror)}]
    if count:
        found.append(("", "{0} AF_XDP sockets".format(count)))
    if stuck:
        found.append(("", "{0} processes whose memory does not answer, and may use AF_XDP sockets".format(stuck)))
    return [{"device": printable(name, 64), "what": what} for name, what in found]
