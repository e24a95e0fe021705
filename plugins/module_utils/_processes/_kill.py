# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a process: through a descriptor, after a second comparison, with a wait for its death."""

from __future__ import annotations

import os
import signal
import time

from .._host import _pidfd as pidfd
from .._host._processes import now, same
from ._decide import Finding


def kill(findings: list[Finding], root: str, seconds: float) -> None:
    """End them all. Sets `outcome`: terminated, pending (killed, not dead within the time), changed (spared: another
    process or another program by now), gone."""
    handles: dict[int, int] = {}
    waiting: list[Finding] = []
    try:
        for one in findings:
            pid = one.process.pid
            try:
                handle = pidfd.open_process(pid)
            except ProcessLookupError:
                one.outcome = "gone"
                continue
            if handle is not None:
                handles[pid] = handle
            # The descriptor holds the process fast; only now can a comparison mean the process that is signalled.
            if not same(one.process, root):
                one.outcome = "gone" if now(one.process, root) is None else "changed"
                if handle is not None:
                    os.close(handles.pop(pid))
                continue
            waiting.append(one)
        for one in waiting:
            _send(one, handles.get(one.process.pid))
        _wait(waiting, handles, root, seconds)
    finally:
        for handle in handles.values():
            os.close(handle)


def _send(one: Finding, handle: int | None) -> None:
    """SIGKILL, then SIGCONT: on cgroup v1 a frozen task takes its end only when it is thawed."""
    for number in (signal.SIGKILL, signal.SIGCONT):
        try:
            if handle is not None:
                pidfd.send(handle, number)
            else:  # no descriptors here: it is stopped, so its number cannot be given to another in between
                os.kill(one.process.pid, number)
        except ProcessLookupError:
            return


def _wait(waiting: list[Finding], handles: dict[int, int], root: str, seconds: float) -> None:
    dead = pidfd.wait_for_death({one.process.pid: handles[one.process.pid] for one in waiting if one.process.pid in handles}, seconds)
    end = time.monotonic() + seconds
    for one in waiting:
        while one.process.pid not in dead and now(one.process, root) not in (None, "Z", "X", "x"):
            if one.process.pid in handles or time.monotonic() > end:
                break
            time.sleep(0.005)
        one.outcome = "terminated" if now(one.process, root) in (None, "Z", "X", "x") else "pending"
