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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# PF_KTHREAD of include/linux/sched.h: the one mark of a kernel thread that a process cannot give itself.
KERNEL_THREAD = 0x00200000
# What the first look keeps of a command line. The whole of it goes into the evidence.
ARGV_LIMIT = 131072
_FIRST_READ = 4096
_ENVIRON_LIMIT = 262144
_FIELDS = 20  # of /proc/P/stat after the name, up to and including starttime (proc_pid_stat(5), field 22)


class Process:
    """One process as it was at the first look; `cwd` and `environ` are read when first asked for.

    pid, ppid, sid, tty, flags: as in proc_pid_stat(5); start: ticks since boot; state: one letter; name: comm;
    exe: what the link says (a deleted file ends in " (deleted)"), None for kernel threads, zombies and the gone;
    argv: list of arguments, at most 128 KiB of them; uid: effective user; stdio: what descriptors 0 to 2 are.
    """

    __slots__ = (
        "_cwd", "_environ", "argv", "exe", "flags", "name", "pid", "ppid", "root", "sid", "start", "state", "stdio",
        "tty", "uid",
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
    _cwd: str | None
    _environ: list[str] | None

    @property
    def kernel_thread(self) -> bool:
        """Whether the kernel says that this is one of its own threads."""
        return bool(self.flags & KERNEL_THREAD)

    @property
    def alive(self) -> bool:
        """Whether it can still run: a zombie or a dead entry cannot."""
        return self.state not in "ZXx"

    @property
    def cwd(self) -> str | None:
        """The working directory, None where it cannot be read."""
        if self._cwd is None:
            self._cwd = link("{0}/{1}/cwd".format(self.root, self.pid)) or ""
        return self._cwd or None

    @property
    def environ(self) -> list[str]:
        """The initial environment, NAME=value each, at most 256 KiB; empty where it cannot be read."""
        if self._environ is None:
            data = read_proc("{0}/{1}/environ".format(self.root, self.pid), _ENVIRON_LIMIT)
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
    fields = data[right + 1:].split()
    if len(fields) < _FIELDS:
        return None
    return data[left + 1:right].decode("utf-8", "surrogateescape"), fields


def _command_line(path: str) -> list[str]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        data = os.read(handle, _FIRST_READ)
        if len(data) == _FIRST_READ:
            more = data
            while more and len(data) < ARGV_LIMIT:
                more = os.read(handle, ARGV_LIMIT - len(data))
                data += more
    except OSError:
        return []
    finally:
        os.close(handle)
    if not data:
        return []
    # The terminating zero goes; arguments that are empty stay.
    return data[:-1 if data.endswith(b"\0") else None].decode("utf-8", "surrogateescape").split("\0")


def read_process(pid: int, root: str = "/proc") -> Process | None:
    """One process, or None where it is gone."""
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
    process.start = int(fields[19])
    process._cwd = None
    process._environ = None
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
    # A process that claims no image may still have arguments: the two are read apart.
    process.exe = link(base + "/exe")
    process.argv = _command_line(base + "/cmdline")
    process.stdio = (link(base + "/fd/0"), link(base + "/fd/1"), link(base + "/fd/2"))
    return process


def first_look(root: str = "/proc") -> dict[int, Process]:
    """All processes by their number: about 50 microseconds each, no maps, no full scan of descriptors.

    What goes away while we look is left out; what comes is seen by the next look.
    """
    table: dict[int, Process] = {}
    for name in os.listdir(root):
        if name.isdigit() and name.isascii():
            process = read_process(int(name), root)
            if process is not None:
                table[process.pid] = process
    return table


def ancestors(processes: Mapping[int, Process], pid: int) -> list[int]:
    """The line of parents: `pid` itself first, up to process 1 or to where the line cannot be followed or closes a circle."""
    line: list[int] = []
    while pid > 0 and pid not in line:
        line.append(pid)
        process = processes.get(pid)
        pid = process.ppid if process is not None else 0
    return line


def same(process: Process, root: str = "/proc") -> bool:
    """Whether the number still is this very process with this very image.

    The start time finds a number that was given again, the image finds an exec in between.
    """
    parsed = parse_stat(read_proc("{0}/{1}/stat".format(root, process.pid), _FIRST_READ))
    if parsed is None or int(parsed[1][19]) != process.start:
        return False
    return link("{0}/{1}/exe".format(root, process.pid)) == process.exe


def now(process: Process, root: str = "/proc") -> str | None:
    """The present state letter of this very process (by number and start time), None where it is gone."""
    parsed = parse_stat(read_proc("{0}/{1}/stat".format(root, process.pid), _FIRST_READ))
    if parsed is None or int(parsed[1][19]) != process.start:
        return None
    return parsed[1][0].decode("ascii", "replace")
