# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts and swap of the kernel's tables, and made-up block devices followed down to what they are connected by."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._isolation._storage import (
    Mount,
    behind,
    covering,
    network_kind,
    parse_mounts,
    parse_swaps,
)


def mount(place: str, kind: str = "ext4", options: str = "rw", device: str = "8:1") -> Mount:
    return Mount(place, device, kind, "/dev/sda1", options)


def device(root: Path, name: str, place: str, number: str = "", slaves: tuple[str, ...] = ()) -> None:
    """A block device whose link in /sys/class/block leads to `place`."""
    block = root / "sys/class/block"
    block.mkdir(parents=True, exist_ok=True)
    folder = root / "sys/devices" / place
    (folder / "slaves").mkdir(parents=True, exist_ok=True)
    for slave in slaves:
        (folder / "slaves" / slave).symlink_to("../../" + slave)
    (block / name).symlink_to("../../devices/" + place)
    if number:
        numbers = root / "sys/dev/block"
        numbers.mkdir(parents=True, exist_ok=True)
        (numbers / number).symlink_to("../../devices/" + place)


def iscsi(root: Path, name: str = "sdb", number: str = "") -> None:
    device(root, name, "platform/host3/session1/target3:0:0/3:0:0:0/block/" + name, number)
    (root / "sys/class/iscsi_session/session1").mkdir(parents=True, exist_ok=True)


def test_mounts_are_read_with_their_escapes():
    text = (
        "27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n"
        "40 27 0:50 / /mnt/a\\040b\\011\\012c\\134d rw - nfs4 10.0.0.9:/x\\040y rw,vers=4.2\n"
        "short\n41 27 0:51 / /no-dash rw ext4\n")
    assert parse_mounts(text) == ([
        Mount("/", "254:0", "ext4", "/dev/vda", "rw,discard"),
        Mount("/mnt/a b\t\nc\\d", "0:50", "nfs4", "10.0.0.9:/x y", "rw,vers=4.2")], True)


def test_what_python_takes_for_the_end_of_a_line_is_part_of_a_name():
    (found,) = parse_mounts("40 27 0:50 / /mnt/a\x0b\x85\u2028b rw - nfs4 srv:/x rw\n")[0]
    assert found.place == "/mnt/a\x0b\x85\u2028b"


def test_a_hundred_thousand_mounts_are_bounded_and_said():
    found, whole = parse_mounts("27 1 8:1 / / rw - ext4 /dev/sda1 rw\n" * 100000)
    assert (len(found), whole) == (10000, False)
    assert parse_mounts("27 1 8:1 / / rw - ext4 /dev/sda1 rw\n" * 10000)[1]


def test_swap_on_paths_with_blanks():
    text = (
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/var/my\\040swap\\011file                partition\t1024\t0\t-2\n"
        "/dev/dm-1                               partition\t1024\t0\t-3\n"
        "/srv/a\u2003b\xa0c\tfile\t1\t0\t-4\nnonsense\n")
    assert parse_swaps(text) == ["/var/my swap\tfile", "/dev/dm-1", "/srv/a\u2003b\xa0c"]
    assert parse_swaps("") == [] and len(parse_swaps("head\n" + "/dev/sda2 partition 1 0 -2\n" * 5000)) == 100


def test_a_path_lies_on_the_longest_and_last_mount():
    mounts = [mount("/"), mount("/usr", "xfs"), mount("/", "nfs4"), mount("/home", "autofs"), mount("/usrlocal", "cifs")]
    assert [covering(mounts, path) for path in ("/", "/usr/bin", "/usr", "/home", "/us")] == [
        mounts[2], mounts[1], mounts[1], mounts[2], mounts[2]]
    assert covering([mount("/home")], "/var") is None


@pytest.mark.parametrize(("kind", "options", "found"), [
    ("nfs4", "rw", "nfs4"), ("cifs", "rw", "cifs"), ("ceph", "rw", "ceph"), ("fuse.glusterfs", "rw,user_id=0", "fuse.glusterfs"),
    ("9p", "rw,trans=tcp", "9p"), ("9p", "rw", "9p"), ("9p", "rw,trans=virtio", ""), ("ext4", "rw", ""), ("virtiofs", "rw", ""),
    ("fuse.gvfsd-fuse", "rw", ""), ("fuse", "rw", ""), ("nfsd", "rw", ""), ("fuseblk", "rw", ""),
])
def test_network_file_systems(kind, options, found):
    assert network_kind(mount("/", kind, options)) == found


def test_who_may_have_mounted():
    assert mount("/home/u7/x", "fuse.sshfs", "rw,user_id=1001,group_id=1001").by_a_user
    assert mount("/home/u7/x", "fuse.glusterfs", "rw,user_id=01").by_a_user
    assert not mount("/home", "fuse.glusterfs", "rw,user_id=0,group_id=0").by_a_user
    assert not mount("/home", "nfs4").by_a_user


def test_a_local_disk_and_its_partition(tmp_path):
    device(tmp_path, "sda", "pci0000:00/ata1/host0/target0:0:0/0:0:0:0/block/sda")
    device(tmp_path, "sda1", "pci0000:00/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1", "8:1")
    assert behind("8:1", "/dev/sda1", str(tmp_path)) == ""


def test_iscsi_is_found_under_partitions_raid_and_device_mapper(tmp_path):
    iscsi(tmp_path)
    device(tmp_path, "sdb1", "platform/host3/session1/target3:0:0/3:0:0:0/block/sdb/sdb1", "8:17")
    device(tmp_path, "md0", "virtual/block/md0", slaves=("sda1", "sdb1"))
    device(tmp_path, "md0p1", "virtual/block/md0/md0p1")
    device(tmp_path, "dm-0", "virtual/block/dm-0", "253:0", ("md0p1",))
    root = str(tmp_path)
    assert behind("8:17", "", root) == behind("253:0", "/dev/mapper/vg-root", root) == "iSCSI"
    (tmp_path / "dev/mapper").mkdir(parents=True)
    (tmp_path / "dev/mapper/vg-root").symlink_to("../dm-0")
    assert behind("0:37", "/dev/mapper/vg-root", root) == behind("", "/dev/dm-0", root) == "iSCSI"


def test_a_folder_called_like_a_session_is_none(tmp_path):
    device(tmp_path, "sdb", "pci/host3/session1/target/block/sdb", "8:16")
    assert behind("8:16", "", str(tmp_path)) == ""


@pytest.mark.parametrize(("transport", "found"), [
    ("tcp\n", "NVMe over tcp"), ("rdma", "NVMe over rdma"), ("fc", ""), ("pcie", ""), ("", ""),
])
def test_nvme_by_its_transport_alone_and_over_several_paths(tmp_path, transport, found):
    (tmp_path / "sys/class/nvme/nvme0").mkdir(parents=True)
    (tmp_path / "sys/class/nvme/nvme0/transport").write_text(transport)
    (tmp_path / "sys/class/nvme-subsystem/nvme-subsys1/nvme0").mkdir(parents=True)
    device(tmp_path, "nvme0n1", "virtual/nvme-fabrics/ctl/nvme0/nvme0n1", "259:0")
    device(tmp_path, "nvme1n1", "virtual/nvme-subsystem/nvme-subsys1/nvme1n1")
    device(tmp_path, "nvme1n1p1", "virtual/nvme-subsystem/nvme-subsys1/nvme1n1/nvme1n1p1", "259:1")
    assert behind("259:0", "", str(tmp_path)) == behind("259:1", "", str(tmp_path)) == found


@pytest.mark.parametrize(("name", "found"), [("rbd0p1", "Ceph RBD"), ("nbd3", "NBD"), ("drbd1", "DRBD"), ("etherd!e0.0", "AoE"), ("sdrbd", None)])
def test_devices_that_their_name_gives_away(tmp_path, name, found):
    assert behind("", "/dev/" + name, str(tmp_path)) == found


def test_circles_and_crowds_of_slaves_end(tmp_path):
    device(tmp_path, "dm-0", "virtual/block/dm-0", "253:0", ("dm-1",))
    device(tmp_path, "dm-1", "virtual/block/dm-1", slaves=("dm-0", "dm-1"))
    assert behind("253:0", "", str(tmp_path)) == ""
    device(tmp_path, "dm-2", "virtual/block/dm-2", "253:2", tuple("x{0}".format(number) for number in range(300)))
    assert behind("253:2", "", str(tmp_path)) is None
    (tmp_path / "sys/class/block/dm-9").symlink_to("dm-9")
    assert behind("", "/dev/dm-9", str(tmp_path)) == ""


def test_what_is_not_there_is_not_told_and_what_is_no_device_is_local(tmp_path):
    assert behind("8:1", "/dev/sda1", str(tmp_path)) is None
    assert behind("0:25", "tmpfs", str(tmp_path)) == behind("0:25", "pool/root", str(tmp_path)) == ""
