# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process table, read from /proc in one pass, cheap enough to come before the cut.

O_NONBLOCK everywhere: somebody may have mounted a folder with a FIFO `stat` over /proc/<pid> to hang whoever looks.
All texts are the kernel's bytes decoded with `surrogateescape`: they compare and re-encode without loss, and are
escaped where they leave the host (`_text.printable`), never here.
"""

from __future__ import annotations

import os

from ._files import link, read_proc
from ._patience import each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# PF_KTHREAD of include/linux/sched.h: the one mark of a kernel thread that a process cannot give itself.
KERNEL_THREAD = 0x00200000
# What the first look keeps of a command line. The whole of it goes into the evidence.
ARGV_LIMIT = 131072
_FIRST_READ = 4096
_ARGV_TOTAL = 33554432
_ARGUMENTS = 4096
_ENVIRON_LIMIT = 262144
_FIELDS = 20  # of /proc/P/stat after the name, up to and including starttime (proc_pid_stat(5), field 22)


class Process:
    """One process as it was at the first look; `cwd` and `environ` are read when first asked for.

    pid, ppid, sid, tty, flags: as in proc_pid_stat(5); start: ticks since boot; state: one letter; name: comm;
    exe: what the link says (a deleted file ends in " (deleted)"), None for kernel threads, zombies and the gone;
    argv: list of arguments, at most 128 KiB of them, the last one with all from the 4,096th on; uid: effective user;
    stdio: what descriptors 0 to 2 are; threads: how many; mute: its memory (arguments, environment, maps) did not answer.
    """

    __slots__ = (
        "_cwd", "_environ", "argv", "exe", "flags", "mute", "name", "pid", "ppid", "root", "sid", "start", "state", "stdio",
        "threads", "tty", "uid",
    )

    pid: int
    ppid: int
    start: int
    sid: int
    tty: int
    flags: int
    state: str
    name: str
    exe: str | None
    argv: list[str]
    uid: int
    stdio: tuple[str | None, str | None, str | None]
    root: str
    threads: int
    mute: bool
    _cwd: str | None
    _environ: list[str] | None

    def __init__(self) -> None:
        self.threads = 1
        self.mute = False
        self._cwd = None
        self._environ = None

    @property
    def kernel_thread(self) -> bool:
        """Whether the kernel says that this is one of its own threads."""
        return bool(self.flags & KERNEL_THREAD)

    @property
    def alive(self) -> bool:
        """Whether it can still run: a dead entry cannot, nor a zombie, unless only its first thread has ended."""
        return self.state not in "ZXx" or self.leader_exited

    @property
    def leader_exited(self) -> bool:
        """Whether its first thread had ended while others ran on: everything then shows a zombie, which it is not."""
        return self.state == "Z" and self.threads > 1

    @property
    def folder(self) -> str:
        """The folder of /proc that shows it now; where its first thread has ended, by now too, that of one that lives."""
        base = "{0}/{1}".format(self.root, self.pid)
        return base if self.exe is None or link(base + "/exe") is not None else living_thread(base)

    @property
    def cwd(self) -> str | None:
        """The working directory, None where it cannot be read."""
        if self._cwd is None:
            self._cwd = link(self.folder + "/cwd") or ""
        return self._cwd or None

    @property
    def environ(self) -> list[str]:
        """The initial environment, NAME=value each, at most 256 KiB; empty where it cannot be read."""
        if self._environ is None:
            data = read_memory(self, "environ", _ENVIRON_LIMIT)
            self._environ = [item for item in data.decode("utf-8", "surrogateescape").split("\0") if item]
        return self._environ


def parse_stat(data: bytes) -> tuple[str, list[bytes]] | None:
    """The name and the fields from `state` on of a /proc/P/stat; None where this is none.

    The name may hold anything, brackets and newlines too: it ends at the last bracket of the line.
    """
    left = data.find(b"(")
    right = data.rfind(b")")
    if left < 0 or right < left:
        return None
    fields = data[right + 1:].split(None, _FIELDS)
    if len(fields) < _FIELDS:
        return None
    return data[left + 1:right].decode("utf-8", "surrogateescape"), fields


def _command_line(path: str, limit: int) -> list[str]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        data = os.read(handle, _FIRST_READ)
        if len(data) == _FIRST_READ:
            more = data
            while more and len(data) < limit:
                more = os.read(handle, limit - len(data))
                data += more
    except OSError:
        return []
    finally:
        os.close(handle)
    if not data:
        return []
    # The terminating zero goes; arguments that are empty stay.
    return data[:-1 if data.endswith(b"\0") else None].decode("utf-8", "surrogateescape").split("\0", _ARGUMENTS - 1)


def living_thread(base: str) -> str:
    """Where to read a process whose first thread has ended: the folder of a thread that lives, or `base` where there is none."""
    try:
        threads = os.listdir(base + "/task")
    except OSError:
        return base
    for thread in threads:
        if link("{0}/task/{1}/exe".format(base, thread)) is not None:
            return "{0}/task/{1}".format(base, thread)
    return base


def _read(pid: int, root: str, memory: bool = True, limit: int = ARGV_LIMIT) -> Process | None:
    """One process, or None where it is gone. `memory`: read its arguments too, which may hang; `limit`: bytes of them."""
    base = "{0}/{1}".format(root, pid)
    try:
        handle = os.open(base + "/stat", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        data = os.read(handle, _FIRST_READ)
    except OSError:
        return None
    finally:
        os.close(handle)
    parsed = parse_stat(data)
    if parsed is None:
        return None
    name, fields = parsed
    process = Process()
    process.root = root
    process.pid = pid
    process.name = name
    process.state = fields[0].decode("ascii", "replace")
    process.ppid = int(fields[1])
    process.sid = int(fields[3])
    process.tty = int(fields[4])
    process.flags = flags = int(fields[6])
    process.threads = int(fields[17])
    process.start = int(fields[19])
    process.mute = not memory
    process.exe = None
    process.argv = []
    process.stdio = (None, None, None)
    try:
        # The folder belongs to the effective user, also where the process is not dumpable (task_dump_owner()).
        process.uid = os.stat(base).st_uid
    except OSError:
        return None
    if flags & KERNEL_THREAD:
        return process
    if process.leader_exited:
        base = living_thread(base)
    # A process that claims no image may still have arguments: the two are read apart.
    process.exe = link(base + "/exe")
    if memory:
        process.argv = _command_line(base + "/cmdline", limit)
    process.stdio = (link(base + "/fd/0"), link(base + "/fd/1"), link(base + "/fd/2"))
    return process


def read_process(pid: int, root: str = "/proc") -> Process | None:
    """One process, or None where it is gone."""
    found, stuck = each([pid], lambda number: _read(number, root))
    return _read(pid, root, False) if stuck else found[0]


def read_memory(process: Process, name: str, limit: int) -> bytes:
    """`cmdline`, `environ` or `maps` of a process, at most `limit` bytes; empty where it does not answer, now or before."""
    if process.mute:
        return b""
    found, stuck = each(["{0}/{1}".format(process.folder, name)], lambda path: read_proc(path, limit))
    process.mute = bool(stuck)
    return b"" if stuck else found[0]


def first_look(root: str = "/proc") -> dict[int, Process]:
    """All processes by their number: about 50 microseconds each, no maps, no full scan of descriptors.

    What goes away while we look is left out; what comes is seen by the next look. Arguments beyond 32 MiB in all are kept with
    4 KiB a process: thousands of processes can share the pages of one long list, but we would hold it thousands of times.
    """
    left = _ARGV_TOTAL

    def look(pid: int) -> Process | None:
        nonlocal left
        process = _read(pid, root, True, ARGV_LIMIT if left > 0 else _FIRST_READ)
        if process is not None:
            left -= sum(map(len, process.argv))
        return process

    found, stuck = each([int(name) for name in os.listdir(root) if name.isdigit() and name.isascii()], look)
    found += [_read(pid, root, False) for pid in stuck]
    return {process.pid: process for process in found if process is not None}


def ancestors(processes: Mapping[int, Process], pid: int) -> list[int]:
    """The line of parents: `pid` itself first, up to process 1 or to where the line cannot be followed or closes a circle."""
    line: list[int] = []
    while pid > 0 and pid not in line:
        line.append(pid)
        process = processes.get(pid)
        pid = process.ppid if process is not None else 0
    return line


def start_of(pid: int, root: str = "/proc") -> int | None:
    """When a process started, in ticks since boot; None where it is gone."""
    parsed = parse_stat(read_proc("{0}/{1}/stat".format(root, pid), _FIRST_READ))
    return int(parsed[1][19]) if parsed is not None else None


def same(process: Process, root: str = "/proc") -> bool:
    """Whether the number still is this very process with this very image.

    The start time finds a number that was given again, the image finds an exec in between.
    """
    parsed = parse_stat(read_proc("{0}/{1}/stat".format(root, process.pid), _FIRST_READ))
    if parsed is None or int(parsed[1][19]) != process.start:
        return False
    base = "{0}/{1}".format(root, process.pid)
    if parsed[1][0] == b"Z" and int(parsed[1][17]) > 1:
        base = living_thread(base)
    return link(base + "/exe") == process.exe


def now(process: Process, root: str = "/proc") -> str | None:
    """The present state letter of this very process (by number and start time), None where it is gone."""
    parsed = parse_stat(read_proc("{0}/{1}/stat".format(root, process.pid), _FIRST_READ))
    if parsed is None or int(parsed[1][19]) != process.start:
        return None
    state = parsed[1][0].decode("ascii", "replace")
    # Only its first thread has ended: the state of the others is asked of one of them.
    if state == "Z" and int(parsed[1][17]) > 1:
        other = parse_stat(read_proc(living_thread("{0}/{1}".format(root, process.pid)) + "/stat", _FIRST_READ))
        return other[1][0].decode("ascii", "replace") if other is not None else state
    return state
