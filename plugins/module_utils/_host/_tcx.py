# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs at interfaces that neither rtnetlink nor tc shows: those of tcx (Linux 6.6) and netkit (6.7). Only bpf(2) tells of them.

They come before every rule for what enters at their interface, and may send it out of another one past every rule there.
"""

from __future__ import annotations

import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SINCE = (6, 6)
_PROG_QUERY = 16  # BPF_PROG_QUERY of linux/bpf.h
_TCX = (46, 47)  # BPF_TCX_INGRESS, BPF_TCX_EGRESS
_NETKIT = (54, 55)  # BPF_NETKIT_PRIMARY, BPF_NETKIT_PEER
_SIZE = 128
# bpf(2) by what uname(2) calls the machine, for programs of 64 bits.
_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}


def count(interface: int, place: int) -> int:
    """How many programs are attached at this place of an interface, by its number. Raises OSError."""
    import ctypes

    number = _NUMBERS.get(os.uname().machine)
    if number is None or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, "bpf(2) is not known here")
    # target_ifindex, attach_type, query_flags, attach_flags, prog_ids, prog_cnt of union bpf_attr: only the number is asked for
    attributes = ctypes.create_string_buffer(struct.pack("=IIIIQI", interface, place, 0, 0, 0, 0), _SIZE)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    if call(ctypes.c_long(number), ctypes.c_long(_PROG_QUERY), attributes, ctypes.c_long(_SIZE)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    found: int = struct.unpack_from("=I", attributes.raw, 24)[0]
    return found


def version(release: str) -> tuple[int, int]:
    """The first two numbers of a kernel's release; (0, 0) where it has none."""
    major, _dot, rest = release.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def programs(
    links: list[dict[str, object]], ask: Callable[[int, int], int] = count, release: str | None = None,
) -> list[tuple[str, str]]:
    """(interface, what is there) for each of these links with such programs; ("", why) where it cannot be told.

    A kernel that is too old for them has none, whatever it answers.
    """
    if version(os.uname().release if release is None else release) < _SINCE:
        return []
    found: list[tuple[str, str]] = []
    for link in links:
        for place in _NETKIT if link.get("kind") == "netkit" else _TCX:
            try:
                number = ask(int(str(link.get("index"))), place)
            except OSError as error:
                if error.errno == errno.ENODEV:  # gone since
                    continue
                if error.errno == errno.EINVAL:  # built without
                    return []
                return [*found, ("", "programs of tcx cannot be looked for: {0}".format(error.strerror))]
            if number and (str(link.get("name")), "tcx programs") not in found:
                found.append((str(link.get("name")), "tcx programs"))
    return found
