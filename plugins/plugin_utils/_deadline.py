# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A call that may take only so long: a host that keeps its connection alive and never answers would hold us for ever.

Ansible runs each host's task in a process of its own, in its main thread, and its own `timeout` of a task uses the same alarm.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from types import FrameType

# Seconds between two attempts to end a call: the first may fall into a place where an exception goes unheard.
_AGAIN = 2.0
# Seconds that a program has to end after SIGTERM: ssh and sshpass tidy up.
_TIDY = 3.0


class Late(BaseException):
    """The call took too long. No Exception, or connection plugins would take it for a reason to try again."""


def _in_queue(frame: FrameType | None) -> bool:
    """Whether a message to Ansible's main process is just being written: half of one would spoil all that follow."""
    while frame is not None and frame.f_globals.get("__name__") != __name__:
        if str(frame.f_globals.get("__name__")).startswith("multiprocessing."):
            return True
        frame = frame.f_back
    return False


def within(seconds: float, call: Callable[[], object]) -> object:
    """What `call` gives. Raises Late after `seconds`, and ends the programs that the call was waiting for.

    An earlier alarm, of the task's own timeout, stays: one that comes sooner rings as if we were not here, one that comes
    later gets its time back. Outside the main thread there is no alarm, and no limit.
    """
    earlier = signal.getitimer(signal.ITIMER_REAL)[0]
    if threading.current_thread() is not threading.main_thread() or 0 < earlier <= seconds:
        return call()
    armed = True

    def ring(_number: int, frame: FrameType | None) -> None:
        if armed and not _in_queue(frame):
            raise Late

    start = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
            return call()
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Late as late:
        armed = False
        _end_programs(late)
        raise
    finally:
        armed = False  # again, for an alarm that rang on the way here
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if earlier:
            signal.setitimer(signal.ITIMER_REAL, max(earlier - (time.monotonic() - start), 0.001))


def _end_programs(late: Late) -> None:
    """End the programs that the interrupted functions held: connection plugins leave theirs behind, and nobody else knows them."""
    trace = late.__traceback__
    found = []
    while trace is not None:
        found += [value for value in trace.tb_frame.f_locals.values() if isinstance(value, subprocess.Popen)]
        trace = trace.tb_next
    for program in {id(one): one for one in found}.values():
        try:
            program.terminate()
            program.wait(_TIDY)
        except subprocess.TimeoutExpired:
            program.kill()
        except OSError:
            continue  # of another user, as sudo's is: it ends when its pipes are closed
