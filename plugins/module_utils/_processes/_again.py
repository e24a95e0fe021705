# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The second look: who lives on, in what state, and what came back, started by whom."""

from __future__ import annotations

import os

from .._host._processes import first_look
from .._text import printable
from ._facts import basename_of, image_of, script_of
from ._freeze import entries_of, state_of
from ._never import units_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._host._processes import Process

# Names of states, proc_pid_stat(5).
_STATES = {
    "D": "in an uninterruptible sleep: it dies when the kernel lets go of it", "T": "stopped", "t": "stopped by its tracer",
    "R": "running", "S": "sleeping", "I": "idle", "P": "parked",
}
_CRON = ("cron", "crond", "anacron", "atd")


def restarter(process: Process, processes: dict[int, Process]) -> str:
    """Who has started a process: cron, a unit, or its parent."""
    parent = processes.get(process.ppid)
    line = parent
    for _step in range(8):
        if line is None:
            break
        if basename_of(image_of(line)) in _CRON:
            return "cron"
        line = processes.get(line.ppid)
    if parent is None or parent.pid == 1:
        units = [unit for unit in units_of(process) if unit.endswith((".service", ".scope"))]
        return "unit {0}".format(printable(units[-1], 128)) if units else "process 1"
    return "{0} ({1})".format(printable(parent.name, 32), parent.pid)


def describe(process: Process, why: str) -> dict[str, object]:
    """A survivor for the result."""
    return {
        "pid": process.pid, "start": process.start, "name": printable(process.name, 64), "exe": printable(process.exe or ""),
        "command_line": printable(" ".join(process.argv)), "state": process.state, "why": why,
    }


def survivors(state: dict[str, object], root: str = "/proc", processes: dict[int, Process] | None = None) -> list[dict[str, object]]:
    """Of what `state` says was ended: what lives on, and what was started since from the same program or script."""
    ended = entries_of(state, "terminated")
    if not ended:
        return []
    table = first_look(root) if processes is None else processes
    wanted = {(one["pid"], one.get("start")) for one in ended}
    paths: set[str] = set()
    for one in ended:
        listed = one.get("paths")
        if isinstance(listed, list):
            paths.update(path for path in listed if isinstance(path, str))
    at = state.get("ended_at")
    since = at * os.sysconf("SC_CLK_TCK") - 1 if isinstance(at, (int, float)) else 0
    found = []
    for process in table.values():
        if not process.alive or process.kernel_thread:
            continue
        if (process.pid, process.start) in wanted:
            found.append(describe(process, "lives on, " + _STATES.get(state_of(process), "state " + state_of(process))))
        elif process.start >= since and (image_of(process) in paths or script_of(process) in paths):
            found.append(describe(process, "came back, started by " + restarter(process, table)))
    return found
