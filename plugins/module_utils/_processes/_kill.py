# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""End processes: the right ones, compared once more after a handle was opened that cannot change hands."""

from __future__ import annotations

import json
import os
import signal
import time

from .._host._pidfd import open_process, send, wait_for_death
from .._host._processes import now, same
from .._text import printable
from ._freeze import entries_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._host._workdir import Workdir
    from ._decide import Finding
    from ._suspects import Suspects

# How long a killed process may take to die. One in an uninterruptible sleep takes as long as its device.
_SECONDS = 2.0
# Open handles at a time, below the usual limit of 1024 descriptors.
_BATCH = 400
# How many of the ended are kept in state.json, and how many bytes they may take there: it must stay readable whatever they are called.
_KEPT = 2000
_KEPT_BYTES = 2097152


def bounded(entries: list[dict[str, object]], limit: int = _KEPT_BYTES) -> list[dict[str, object]]:
    """The last entries, all with number and start time; the texts of those with the longest only as far as there is room.

    A path that another entry names too is written once: the second look asks for all of them together.
    """
    entries = entries[-_KEPT:]
    bare: list[dict[str, object]] = [{key: one[key] for key in ("pid", "start") if key in one} for one in entries]
    left = limit - len(json.dumps(bare))
    seen: set[str] = set()
    kept: dict[int, dict[str, object]] = {}
    for at in sorted(range(len(entries)), key=lambda number: len(json.dumps(entries[number]))):
        one = dict(entries[at])
        listed = one.get("paths")
        if not isinstance(listed, list):
            continue  # shortened by an earlier run
        one["paths"] = paths = [path for path in listed if isinstance(path, str) and path not in seen]
        size = len(json.dumps(one)) - len(json.dumps(bare[at]))
        if size <= left:
            left -= size
            seen.update(paths)
            kept[at] = one
    return [kept.get(at, one) for at, one in enumerate(bare)]


def remember(work: Workdir, findings: list[Finding]) -> None:
    """Write down who is about to be ended, for the second look: number, start time and what would have to start it again."""
    ended = entries_of(work.read(), "terminated")
    for one in findings:
        ended.append({
            "pid": one.process.pid, "start": one.process.start, "name": printable(one.process.name, 64),
            "exe": printable(one.process.exe or ""), "paths": one.paths,
        })
    work.update(terminated=bounded(ended), ended_at=time.clock_gettime(time.CLOCK_BOOTTIME))


def forget_dead(work: Workdir, findings: list[Finding]) -> None:
    """Nobody has to thaw what is dead."""
    dead = {(one.process.pid, one.process.start) for one in findings if one.outcome in ("terminated", "gone")}
    frozen = [one for one in entries_of(work.read(), "frozen") if (one["pid"], one.get("start")) not in dead]
    work.update(frozen=frozen or None)


def kill(suspects: Suspects, findings: list[Finding]) -> bool:
    """End them and wait. Sets `outcome` of each; whether one had to be ended without a handle (before Linux 5.3)."""
    old_way = False
    for start in range(0, len(findings), _BATCH):
        handles: dict[int, int] = {}
        plain: list[Finding] = []
        batch = [one for one in findings[start:start + _BATCH] if not one.outcome]
        try:
            for one in batch:
                if one.captured not in ("complete", "partial") and not one.named:
                    one.outcome = "kept"
                    continue
                handle = _kill_one(suspects, one)
                if handle is not None:
                    handles[one.process.pid] = handle
                elif not one.outcome:
                    plain.append(one)
            dead = wait_for_death(handles, _SECONDS) if handles else set()
        finally:
            for handle in handles.values():
                os.close(handle)
        if plain:
            old_way = True
            dead |= _wait(suspects, plain)
        for one in batch:
            if not one.outcome:
                one.outcome = "terminated" if one.process.pid in dead else "pending"
    return old_way


def _kill_one(suspects: Suspects, one: Finding) -> int | None:
    """Open, compare, kill. The handle to wait on; None where there is none, or where `outcome` says why not."""
    process = one.process
    try:
        handle = open_process(process.pid)
    except ProcessLookupError:
        one.outcome = "gone"
        return None
    try:
        if now(process, suspects.root) in (None, "Z", "X"):
            one.outcome = "gone"
        elif not same(process, suspects.root) or not suspects.still_so(one):
            one.outcome = "changed"
        elif handle is not None:
            send(handle, signal.SIGKILL)
            return handle
        else:
            # Stopped, it can neither end nor become another program between the comparison and the kill.
            os.kill(process.pid, signal.SIGSTOP)
            if same(process, suspects.root):
                os.kill(process.pid, signal.SIGKILL)
            else:
                os.kill(process.pid, signal.SIGCONT)
                one.outcome = "changed"
    except ProcessLookupError:
        one.outcome = "gone"
    except OSError as error:
        one.outcome, one.why = "kept", "the kernel refused: {0}".format(error.strerror)
    if handle is not None:
        os.close(handle)
    return None


def _wait(suspects: Suspects, findings: list[Finding]) -> set[int]:
    end = time.monotonic() + _SECONDS
    left = list(findings)
    dead: set[int] = set()
    while left and time.monotonic() < end:
        for one in list(left):
            if now(one.process, suspects.root) in (None, "Z", "X"):
                dead.add(one.process.pid)
                left.remove(one)
        if left:
            time.sleep(0.002)
    return dead
