# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A handle on one process that no reuse of its number can deceive: pidfd_open(2), pidfd_send_signal(2)."""

from __future__ import annotations

import errno
import os
import signal

# The same on every architecture since Linux 5.1 (include/uapi/asm-generic/unistd.h), but for alpha.
_SEND_SIGNAL = 424
_OPEN = 434


def _syscall(number: int, *arguments: int) -> int:
    """A system call for a Python that has no wrapper (3.8). Raises OSError."""
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    answer: int = call(ctypes.c_long(number), *[ctypes.c_long(argument) for argument in arguments])
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def open_process(pid: int) -> int | None:
    """A descriptor of the process; None where kernel or sandbox offers none. Raises ProcessLookupError where it is gone."""
    opener = getattr(os, "pidfd_open", None)
    try:
        handle: int = opener(pid) if opener is not None else _syscall(_OPEN, pid, 0)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise ProcessLookupError(error.errno, error.strerror) from error
        return None  # ENOSYS before 5.3, EPERM under a filter, EMFILE: the caller goes the old way
    return handle


def send(handle: int, number: int) -> None:
    """Send a signal through the descriptor. Raises ProcessLookupError where the process is gone, else OSError."""
    sender = getattr(signal, "pidfd_send_signal", None)
    if sender is not None:
        sender(handle, number)
    else:
        _syscall(_SEND_SIGNAL, handle, number, 0, 0)


def wait_for_death(handles: dict[int, int], seconds: float) -> set[int]:
    """pid -> descriptor; the pids that have died within the time. A zombie has died."""
    import select
    import time

    poll = select.poll()
    pids = {handle: pid for pid, handle in handles.items()}
    for handle in pids:
        poll.register(handle, select.POLLIN)
    end = time.monotonic() + seconds
    dead: set[int] = set()
    while len(dead) < len(pids):
        left = end - time.monotonic()
        found = poll.poll(max(0, int(left * 1000)))
        for handle, _events in found:
            dead.add(pids[handle])
            poll.unregister(handle)
        if left <= 0:
            break
    return dead
