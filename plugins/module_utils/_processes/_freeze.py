# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stop processes in rounds until nothing of their kind starts any more, and let them go on again."""

from __future__ import annotations

import os
import signal
import time

from .._host._pidfd import open_process, send
from .._host._processes import now, same
from .._text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._host._processes import Process
    from .._host._workdir import Workdir
    from ._decide import Finding
    from ._suspects import Suspects

STOPPED = "Tt"
# A fork bomb is stopped within a few rounds; what is not stable after these is said, not waited for.
_ROUNDS = 50
_SECONDS = 2.0
_WAIT = 0.25
# state.json must stay readable: so many processes are stopped for a case at most, and the first of them have their names in it.
_MOST = 50000
_NAMED = 5000


def entries_of(state: dict[str, object], key: str) -> list[dict[str, object]]:
    """A list of records in `state.json`; records of another form are left out."""
    value = state.get(key)
    return [one for one in value if isinstance(one, dict) and isinstance(one.get("pid"), int)] if isinstance(value, list) else []


def state_of(process: Process) -> str:
    """Its state at the look; where its first thread had ended, the present one of another thread."""
    return now(process, process.root) or "Z" if process.state == "Z" else process.state


def signal_process(process: Process, number: int, root: str = "/proc", exact: bool = True) -> bool:
    """Send a signal to this very process; whether it went out. `exact`: with this very image too, not only this start time."""
    try:
        handle = open_process(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not (same(process, root) if exact else now(process, root) is not None):
            return False
        if handle is not None:
            send(handle, number)
        else:
            os.kill(process.pid, number)
    except OSError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def freeze(suspects: Suspects, work: Workdir) -> int:
    """Stop the targets of `suspects`; how many were stopped that ran. Sets `frozen` of each, and `stable`."""
    known = {(one["pid"], one.get("start")) for one in entries_of(work.read(), "frozen")} if suspects.targets else set()
    count = 0
    end = time.monotonic() + _SECONDS
    for _round in range(_ROUNDS):
        pending = [one for one in suspects.targets if not one.frozen and not one.outcome]
        running = []
        for one in pending:
            if now(one.process, suspects.root) == "T":
                one.frozen = True
                one.was_stopped = (one.process.pid, one.process.start) not in known
            else:
                running.append(one)
        if running:
            count += _stop(suspects, _record(work, running))
        if not suspects.newcomers() and not any(not one.frozen and not one.outcome for one in suspects.targets):
            return count
        if time.monotonic() > end:
            break
    suspects.stable = False
    return count


def _record(work: Workdir, findings: list[Finding]) -> list[Finding]:
    """Write down who is about to be stopped: whoever undoes this needs number and start time. Who has been written down, all or the first."""
    frozen = entries_of(work.read(), "frozen")
    there = {(one["pid"], one.get("start")) for one in frozen}
    recorded = []
    for one in findings:
        if (one.process.pid, one.process.start) not in there:
            if len(frozen) >= _MOST:
                continue  # left running, which the result says
            entry: dict[str, object] = {"pid": one.process.pid, "start": one.process.start}
            if len(frozen) < _NAMED:
                entry["name"] = printable(one.process.name, 64)
            frozen.append(entry)
        recorded.append(one)
    work.update(frozen=frozen)
    return recorded


def _stop(suspects: Suspects, findings: list[Finding]) -> int:
    """Send SIGSTOP to all, then see that each has stopped with the image that was meant; how many have."""
    sent = []
    for one in findings:
        if signal_process(one.process, signal.SIGSTOP, suspects.root):
            sent.append(one)
        elif now(one.process, suspects.root) in (None, "Z", "X"):
            one.outcome = "gone"
        else:
            suspects.replaced(one)  # exec between look and stop: judged anew, stopped in the next round
    end = time.monotonic() + _WAIT
    count = 0
    for one in sent:
        state = now(one.process, suspects.root)
        while state is not None and state not in STOPPED + "ZX" and time.monotonic() < end:
            time.sleep(0.0005)
            state = now(one.process, suspects.root)
        if state is None or state in "ZX":
            one.outcome = "gone"
            continue
        one.frozen = True  # also in state D: the signal waits for it
        count += 1
        if not same(one.process, suspects.root) and not suspects.replaced(one):
            # The image changed in the very moment, into one that nothing speaks against.
            signal_process(one.process, signal.SIGCONT, suspects.root, exact=False)
            count -= 1
    return count


def thaw(work: Workdir, root: str = "/proc") -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Let go on what we have stopped; (thawed, failed). What is gone, or is another by now, is in neither.

    In check mode: what would be thawed, and nothing is sent.
    """
    from .._host._processes import read_process

    thawed: list[dict[str, object]] = []
    failed: list[dict[str, object]] = []
    for entry in entries_of(work.read(), "frozen"):
        process = read_process(int(str(entry["pid"])), root)
        if process is None or process.start != entry.get("start") or state_of(process) not in STOPPED:
            continue
        if not work.writable or signal_process(process, signal.SIGCONT, root, exact=False):
            thawed.append(entry)
        else:
            failed.append(entry)
    return thawed, failed
