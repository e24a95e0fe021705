# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collectors share: the host's root, what was read already, the clock, and what they found for the summary."""

from __future__ import annotations

import os
import time

from .._host._files import link
from .._host._patience import beside
from .._host._processes import first_look
from .._host._sockets import read_tables, sockets_of
from ._programs import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .._host._processes import Process
    from .._host._sockets import Socket
    from ._commands import Command

# Descriptors of one process that are looked at. A server with more is rare; where it happens the record says so.
DESCRIPTORS = 65536
_NOTABLE = 50
# Of one kind, so that an attacker who makes a thousand of one thing does not push the others out of sight.
_NOTABLE_KIND = 10


class Context:
    """One reading of one host. What is given (`processes`, `sockets`, `owners`) is not read again.

    `root`: "/" or the root of a made-up host; `max_seconds`: for all collectors together, from now.
    `counts` and `notable` become the summary of the result.
    """

    def __init__(
        self,
        root: str = "/",
        processes: dict[int, Process] | None = None,
        sockets: list[Socket] | None = None,
        owners: dict[int, list[int]] | None = None,
        max_seconds: float = 30.0,
    ) -> None:
        self.root = root
        self.proc = os.path.join(root, "proc")
        self.end = time.monotonic() + max_seconds
        self.deadline = self.end  # of the collector that runs now
        self.counts: dict[str, int] = {}
        self.notable: list[dict[str, object]] = []
        self.programs = Programs()
        self.commands: dict[str, Command] = {}
        self.failed: list[str] = []  # why a command could not be started
        self._processes = processes
        self._sockets = sockets
        self._tables: Callable[[], dict[str, bytes]] | None = None
        self._owners = owners
        # Processes whose descriptors were not looked at for want of time, and those of which only a part was.
        self.unscanned = 0
        self.cut = 0
        self._descriptors: dict[int, list[tuple[str, str]]] | None = None

    @property
    def live(self) -> bool:
        """Whether this is the running host: only then are netlink and commands asked."""
        return self.root == "/"

    def path(self, name: str) -> str:
        """The path of a file of the host, `name` without the leading slash."""
        return os.path.join(self.root, name)

    def late(self) -> bool:
        """Whether the running collector has used up its time."""
        return time.monotonic() > self.deadline

    def note(self, what: str, **details: object) -> None:
        """Something an analyst should see first; texts of the host are escaped where the summary leaves."""
        kind = sum(1 for item in self.notable if item["what"] == what)
        if len(self.notable) < _NOTABLE and kind < _NOTABLE_KIND:
            self.notable.append(dict(details, what=what))
        self.counts["notable"] = self.counts.get("notable", 0) + 1

    @property
    def processes(self) -> dict[int, Process]:
        """The process table."""
        if self._processes is None:
            self._processes = first_look(self.proc)
        return self._processes

    def start(self) -> Callable[[], dict[str, bytes]]:
        """Begin to read the sockets beside the processes: the kernel walks its tables for milliseconds, without the GIL."""
        if self._tables is None:
            self._tables = beside(lambda: read_tables(self.proc))
        return self._tables

    @property
    def tables(self) -> dict[str, bytes]:
        """The kernel's tables that `sockets` comes from, read once: what is parsed is what goes into the evidence."""
        return self.start()()

    @property
    def sockets(self) -> list[Socket]:
        """Sockets of our own network namespace."""
        if self._sockets is None:
            self._sockets = sockets_of(self.tables)
        return self._sockets

    @property
    def descriptors(self) -> dict[int, list[tuple[str, str]]]:
        """pid -> [(number, what it is)], scanned once for all collectors; processes that vanish have none."""
        if self._descriptors is None:
            readlink = os.readlink
            table: dict[int, list[tuple[str, str]]] = {}
            for pid, process in self.processes.items():
                if process.kernel_thread:
                    continue
                if self.late():
                    self.unscanned += 1  # many processes can share one large table of descriptors
                    continue
                # `folder` asks the kernel once more, which all of them together cannot spend before the cut.
                folder = (process.folder if process.leader_exited else "{0}/{1}".format(self.proc, pid)) + "/fd"
                first = process.stdio
                try:
                    # Since Linux 6.2 the folder's size is the number of descriptors (before, 0): most have these three.
                    if None not in first and os.stat(folder).st_size == len(first):
                        table[pid] = [("0", str(first[0])), ("1", str(first[1])), ("2", str(first[2]))]
                        continue
                    names = os.listdir(folder)
                    self.cut += len(names) > DESCRIPTORS
                except OSError:
                    continue
                found = []
                for name in names[:DESCRIPTORS]:
                    try:
                        found.append((name, readlink(folder + "/" + name)))
                    except OSError:
                        pass  # closed since
                table[pid] = found
            self._descriptors = table
        return self._descriptors

    @property
    def owners(self) -> dict[int, list[int]]:
        """Socket inode -> processes that hold it."""
        if self._owners is None:
            owners: dict[int, list[int]] = {}
            for pid, found in self.descriptors.items():
                for _name, target in found:
                    if target.startswith("socket:[") and target[8:-1].isdigit():
                        pids = owners.setdefault(int(target[8:-1]), [])
                        if not pids or pids[-1] != pid:
                            pids.append(pid)
            self._owners = owners
        return self._owners

    def namespace(self, pid: int | str, kind: str) -> str | None:
        """The name of a process's namespace, such as `net:[4026531840]`."""
        return link("{0}/{1}/ns/{2}".format(self.proc, pid, kind))
