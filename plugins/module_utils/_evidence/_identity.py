# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who took the evidence, with what, on which host: the facts a manifest opens with."""

from __future__ import annotations

import hashlib
import os
import sys

from .._host._files import read_proc, read_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._context import Context

# The collection's version, as in galaxy.yml, which never reaches a host; a test keeps the two the same.
VERSION = "1.0.0"


def host(root: str = "/") -> dict[str, object]:
    """{"nodename", "machine_id", "boot_id", "kernel", "architecture"}; None for what cannot be read."""
    uname = os.uname()
    try:
        machine = read_regular(os.path.join(root, "etc/machine-id"), 64).decode("ascii", "replace").strip()
    except OSError:
        machine = ""
    boot = read_proc(os.path.join(root, "proc/sys/kernel/random/boot_id"), 64).decode("ascii", "replace").strip()
    return {
        "nodename": uname.nodename, "machine_id": machine or None, "boot_id": boot or None,
        "kernel": uname.release, "architecture": uname.machine,
    }


def tool(context: Context | None = None) -> dict[str, object]:
    """{"name", "version", "interpreter", "interpreter_sha256", "python", "pid", "uid"}.

    The interpreter runs, so its hash is among those that a reading of the processes (`context`) has computed anyway.
    """
    sha256: object = None
    if context is not None:
        key = context.programs.of.get(os.getpid())
        sha256 = context.programs.files[key]["sha256"] if key is not None else None
    if sha256 is None:
        digest = hashlib.sha256()
        try:
            with open("/proc/self/exe", "rb", buffering=0) as program:
                for data in iter(lambda: program.read(1048576), b""):
                    digest.update(data)
            sha256 = digest.hexdigest()
        except OSError:
            sha256 = None
    return {
        "name": "firebreak.response", "version": VERSION, "interpreter": os.path.realpath("/proc/self/exe"),
        "interpreter_sha256": sha256, "python": "{0}.{1}.{2}".format(*sys.version_info[:3]),
        "pid": os.getpid(), "uid": os.geteuid(),
    }
