# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a suspect holds, into the bundle: program, maps, environment, descriptors, status."""

from __future__ import annotations

import os

from .._host._files import link, read_proc
from .._text import printable
from ._decide import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._evidence._bundle import Bundle

# A program larger than this is cut, and the capture is partial.
PROGRAM_LIMIT = 67108864
_FILES = (("cmdline", 1048576), ("environ", 1048576), ("status", 65536), ("maps", 4194304), ("stat", 4096), ("cgroup", 65536),
          ("mountinfo", 1048576))
_DESCRIPTORS = 4096


def capture(one: Finding, bundle: Bundle, root: str, seen: set[tuple[int, int]]) -> None:
    """Copy it. Sets `captured` to complete, partial or failed; a program that cannot be read does not save its process.

    `seen` holds device and inode of programs that are in the bundle already. Raises HostError where the bundle is full.
    """
    base = "{0}/{1}".format(root, one.process.pid)
    missing = []
    for name, limit in _FILES:
        data = read_proc("{0}/{1}".format(base, name), limit)
        if data:
            bundle.add_bytes("[root]/proc/{0}/{1}".format(one.process.pid, name), data, source="{0}/{1}".format(base, name))
        elif name in ("status", "maps"):
            missing.append(name)
    links = ["{0} {1}".format(name, printable(link("{0}/{1}".format(base, name)) or "")) for name in ("exe", "cwd", "root")]
    links.extend("fd/{0} {1}".format(name, printable(link("{0}/fd/{1}".format(base, name)) or "")) for name in _descriptors(base))
    bundle.add_bytes("[root]/proc/{0}/links.txt".format(one.process.pid), "\n".join(links).encode("utf-8"), source=base)
    if not _program(one, bundle, base, seen):
        missing.append("exe")
    one.captured = "partial" if missing else "complete"
    one.why = ", ".join(missing)


def _descriptors(base: str) -> list[str]:
    try:
        return sorted(os.listdir(base + "/fd"), key=int)[:_DESCRIPTORS]
    except (OSError, ValueError):
        return []


def _program(one: Finding, bundle: Bundle, base: str, seen: set[tuple[int, int]]) -> bool:
    """Copy the running file, deleted or not, once for each file. Programs that packages own are hashed elsewhere."""
    if one.facts["system_path"] and not one.facts["deleted"]:
        return True
    try:
        handle = os.open(base + "/exe", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        entry = os.fstat(handle)
        if (entry.st_dev, entry.st_ino) in seen:
            return True
        seen.add((entry.st_dev, entry.st_ino))
        added = bundle.add_fd("[root]/proc/{0}/exe".format(one.process.pid), handle, PROGRAM_LIMIT, source=base + "/exe")
        return added.get("outcome") == "complete"
    finally:
        os.close(handle)
