# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts, swap and block devices, as far as it takes to tell what comes over the network.

Forms: proc_pid_mountinfo(5), proc_swaps(5), Documentation/ABI of Linux for /sys. Mount points and sources may be anybody's words:
they are compared, never followed, but for names of devices below /dev and /sys.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from .._host._files import link, read_proc

_MOUNTS = 10000
_SWAPS = 100
_DEVICES = 256
_ESCAPE = re.compile(r"\\([0-7]{3})")
_BLANKS = re.compile(r"[ \t]+")

_NETWORK = frozenset((
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "9p", "afs", "lustre", "gfs2", "ocfs2", "gpfs", "beegfs", "orangefs", "pvfs2",
    "coda", "ncpfs"))
# Subtypes of FUSE, which whoever mounts chooses.
_FUSE = frozenset(("glusterfs", "ceph", "ceph-fuse", "sshfs", "mfs", "moosefs", "lizardfs", "s3fs", "gcsfuse", "davfs", "juicefs", "seaweedfs"))
_OWN_WIRE = frozenset(("trans=virtio", "trans=xen"))  # 9p between a guest and its own hypervisor
_BY_NAME = (
    (re.compile(r"rbd\d"), "Ceph RBD"), (re.compile(r"nbd\d"), "NBD"), (re.compile(r"drbd\d"), "DRBD"), (re.compile(r"rnbd\d"), "RNBD"),
    (re.compile(r"etherd!"), "AoE"))
_ISCSI = re.compile(r"session\d+")
_NVME = re.compile(r"nvme\d+")
_SUBSYSTEM = re.compile(r"nvme-subsys\d+")
_FABRICS = ("tcp", "rdma")


class Mount(NamedTuple):
    """One mount. place: where, unescaped; device: "major:minor", major 0 where there is no block device; kind: of file system."""

    place: str
    device: str
    kind: str
    source: str
    options: str

    @property
    def by_a_user(self) -> bool:
        """Whether somebody other than root may have mounted it: fusermount writes down who did."""
        return self.kind.startswith("fuse") and "user_id=0" not in self.options.split(",")


def _plain(text: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes in octal."""
    return _ESCAPE.sub(lambda match: chr(int(match.group(1), 8)), text) if "\\" in text else text


def parse_mounts(text: str) -> tuple[list[Mount], bool]:
    """The mounts of a mountinfo in its order, at most 10,000, and whether these are all."""
    lines = text.split("\n", _MOUNTS)
    found = []
    for line in lines[:_MOUNTS]:
        left, _dash, right = line.partition(" - ")
        fields, kinds = left.split(" ", 5), right.split(" ")
        if len(fields) > 4 and len(kinds) > 1:
            found.append(Mount(_plain(fields[4]), fields[2], kinds[0], _plain(kinds[1]), kinds[2] if len(kinds) > 2 else ""))
    return found, len(lines) <= _MOUNTS or not lines[_MOUNTS]


def parse_swaps(text: str) -> list[str]:
    """The paths of devices and files that the host swaps to, at most 100."""
    # By blanks and tabs alone: other kinds of white space may stand in a path.
    return [_plain(_BLANKS.split(line, 1)[0]) for line in text.split("\n", _SWAPS + 1)[1:_SWAPS + 1] if line.startswith("/")]


def covering(mounts: list[Mount], path: str) -> Mount | None:
    """The mount that a path lies on: the longest place, of several the last; what is mounted on demand is looked through."""
    best: Mount | None = None
    for mount in mounts:
        place = mount.place
        if place != "/" and path != place and not path.startswith(place + "/"):
            continue
        if mount.kind != "autofs" and (best is None or len(place) >= len(best.place)):
            best = mount
    return best


def network_kind(mount: Mount) -> str:
    """The kind of network file system, one of our own words; "" where it is none."""
    if mount.kind in _NETWORK:
        return "" if mount.kind == "9p" and not _OWN_WIRE.isdisjoint(mount.options.split(",")) else mount.kind
    family, _dot, subtype = mount.kind.partition(".")
    return mount.kind if family == "fuse" and subtype in _FUSE else ""


def behind(device: str, source: str, root: str = "/") -> str | None:
    """What the data of a block device come over: "" where it is none or all its parts are local, None where that cannot be read.

    `device`: "major:minor" or ""; `source`: what was mounted, which counts where the number says nothing (btrfs has one of its own).
    Through device mapper and RAID down to the disks; `root`: another host's root.
    """
    base = root.rstrip("/")
    if device and not device.startswith("0:"):
        first = link("{0}/sys/dev/block/{1}".format(base, device))
        if first is None:
            return None
    elif source.startswith("/dev/"):
        first = link(base + source) or source
    else:
        return ""
    waiting = [os.path.basename(first)]
    seen: set[str] = set()
    answered = False
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        if len(seen) >= _DEVICES:
            return None
        seen.add(name)
        for form, word in _BY_NAME:
            if form.match(name):
                return word
        place = link("{0}/sys/class/block/{1}".format(base, name))
        if place is None:
            continue  # also the folder above a disk, which is tried below as if it were one
        answered = True
        parts = place.split("/")
        word = _fabric(parts, base)
        if word:
            return word
        waiting += parts[-2:-1]  # of a partition its disk
        try:
            waiting += os.listdir("{0}/sys/class/block/{1}/slaves".format(base, name))[:_DEVICES]
        except OSError:
            pass  # partitions have none
    return "" if answered else None


def _fabric(parts: list[str], base: str) -> str:
    """What a disk is connected by, from the parts of its place among the devices; "" where that is no network."""
    for part in parts:
        if _ISCSI.fullmatch(part) and os.path.lexists("{0}/sys/class/iscsi_session/{1}".format(base, part)):
            return "iSCSI"
        controllers = [part] if _NVME.fullmatch(part) else []
        if _SUBSYSTEM.fullmatch(part):
            try:
                controllers = [name for name in os.listdir("{0}/sys/class/nvme-subsystem/{1}".format(base, part)) if _NVME.fullmatch(name)]
            except OSError:
                controllers = []
        for controller in controllers[:_DEVICES]:
            told = read_proc("{0}/sys/class/nvme/{1}/transport".format(base, controller), 64).decode("ascii", "replace").strip()
            if told in _FABRICS:
                return "NVMe over {0}".format(told)
    return ""
