# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What dies with a process: its file where that has no name, maps, environment, arguments, descriptors."""

from __future__ import annotations

import json
import os
import time

from .._errors import FirebreakError
from .._host._files import read_proc
from .._host._patience import in_time
from .._host._processes import read_memory, same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._evidence._bundle import Bundle
    from ._decide import Finding

# The largest program that is taken whole; of a larger one so much, which is said.
PROGRAM_LIMIT = 67108864
_TEXTS = (("cmdline", 4194304), ("environ", 1048576), ("maps", 4194304), ("status", 65536), ("stat", 4096), ("cgroup", 65536))
# What is read from the process's own memory, whose lock it can hold for as long as it likes.
_MEMORY = ("cmdline", "environ", "maps")
_DESCRIPTORS = 4096
# A file system of the attacker's own (FUSE) may never answer.
_SECONDS = 5.0


def capture(findings: list[Finding], bundle: Bundle, deferred: bool = False) -> list[tuple[Finding, int]]:
    """Take all of them, then make it safe. Sets `captured` and `why` of each. The files that were put off, open.

    What fails is said and does not raise: `kill` leaves alive what was not captured, unless the operator named it.
    """
    later: list[tuple[Finding, int]] = []
    seen: set[tuple[int, int]] = set()
    try:
        bundle.collector = "suspects"
        for one in findings:
            if not one.outcome:
                _capture(one, bundle, seen, later, deferred)
        bundle.sync()
    except FirebreakError as error:  # no room, or a disk that fails: nothing of this is safe
        for one in findings:
            one.captured, one.why = "failed", str(error)
    return later


def _capture(one: Finding, bundle: Bundle, seen: set[tuple[int, int]], later: list[tuple[Finding, int]], deferred: bool) -> None:
    process = one.process
    base = process.folder + "/"
    folder = "[root]/proc/{0}/".format(process.pid)
    handle = _open_program(base + "exe")
    texts = [(name, read_memory(process, name, limit) if name in _MEMORY else read_proc(base + name, limit), limit) for name, limit in _TEXTS]
    links = {name: _readlink(base + name) for name in ("cwd", "root", "exe")}
    descriptors = _descriptors(base + "fd")
    # Asked after reading: only so does all of it belong to this very process.
    if not same(process, process.root):
        if handle is not None:
            os.close(handle)
        one.captured, one.why = "failed", "it ended or changed while it was read"
        return
    one.captured = "complete"
    if process.mute:
        one.captured, one.why = "partial", "its memory did not answer"
    for name, data, limit in texts:
        why = "cut at {0} bytes".format(limit) if len(data) >= limit else ""
        if process.mute and name in _MEMORY and not data:
            why = "its memory did not answer"
        bundle.add_bytes(folder + name, data, base + name, outcome="partial" if why else "complete", why=why)
    facts = dict(links, fds=descriptors, start_ticks=process.start, name=process.name)
    bundle.add_bytes(folder + "links.json", json.dumps(facts, indent=1).encode("ascii"), base + "fd")
    if handle is None:
        if process.exe is not None:
            one.captured, one.why = "failed", "its program could not be opened"
        return
    stat = os.fstat(handle)
    one.identity = (stat.st_dev, stat.st_ino)
    if one.identity in seen or (stat.st_nlink and one.facts["system_path"]):
        os.close(handle)  # what packages own stays on the disk, and is in the list of hashes
        return
    seen.add(one.identity)
    if stat.st_nlink and deferred:
        later.append((one, handle))  # it has a name: the kill does not destroy it
        return
    try:
        _take_program(one, handle, bundle)
    finally:
        os.close(handle)


def take_files(files: list[tuple[Finding, int]], bundle: Bundle) -> None:
    """Take the programs that were put off, and close them."""
    for one, handle in files:
        try:
            _take_program(one, handle, bundle)
        finally:
            os.close(handle)


def _take_program(one: Finding, handle: int, bundle: Bundle) -> None:
    """The content of the file, read by a thread, so that a file system that hangs takes five seconds and no more."""
    parts: list[bytes] = []
    failure: list[str] = []

    def read() -> None:
        left = PROGRAM_LIMIT
        at = 0
        try:
            while left > 0:
                data = os.pread(copy, min(1048576, left), at)
                if not data:
                    break
                parts.append(data)
                at += len(data)
                left -= len(data)
        except OSError as error:
            failure.append("unreadable: {0}".format(error.strerror))
        finally:
            os.close(copy)

    copy = os.dup(handle)
    answered = in_time(read, time.monotonic() + _SECONDS)
    size = os.fstat(handle).st_size
    why = failure[0] if failure else ""
    if not answered:
        why = "its file system did not answer in {0:.0f} s".format(_SECONDS)
    elif not why and size > PROGRAM_LIMIT:
        why = "cut at {0} of {1} bytes".format(PROGRAM_LIMIT, size)
    data = b"".join(list(parts))
    process = one.process
    entry = bundle.add_bytes(
        "[root]/proc/{0}/exe".format(process.pid), data, process.exe or "", outcome="partial" if why else "complete", why=why)
    if size and not entry["size"]:
        one.captured, one.why = "failed", why or "its program could not be read"
    elif entry["outcome"] != "complete":
        one.captured, one.why = "partial", str(entry.get("why", ""))


def _open_program(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None


def _readlink(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _descriptors(folder: str) -> dict[str, str | None]:
    try:
        names = os.listdir(folder)[:_DESCRIPTORS]
    except OSError:
        return {}
    return {name: _readlink("{0}/{1}".format(folder, name)) for name in names}
