# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work on things of the host that may never answer, without waiting for ever.

Reading the memory of a process (its arguments, environment, maps) takes a lock that any user can hold for as long as he likes
with a FUSE file system of his own, and no signal but death ends the wait. So a thread reads, and is left behind where it hangs:
it ends with the module.
"""

from __future__ import annotations

import _thread
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")
    R = TypeVar("R")

# What takes 50 microseconds is given this long. Who makes many processes that hang must not make us wait so long for each.
SECONDS = 0.5
_MANY = 4
_SHORT = 0.05


class _Worker:
    """One thread at work on the items from a place on."""

    def __init__(self, items: Sequence[T], start: int, work: Callable[[T], R], done: list[R]) -> None:
        self.at = start
        self.abandoned = False
        self.finished = _thread.allocate_lock()
        self._items = items
        self._work = work
        self._done = done
        self.finished.acquire()

    def run(self) -> None:
        """All that is left; what comes back after somebody else has gone on behind us counts no more."""
        try:
            for index in range(self.at, len(self._items)):
                self.at = index
                found = self._work(self._items[index])
                if self.abandoned:
                    return
                self._done.append(found)
            self.at = len(self._items)
        finally:
            self.finished.release()


def each(items: Sequence[T], work: Callable[[T], R], seconds: float = SECONDS) -> tuple[list[R], list[T]]:
    """`work` for every item: what it gave, in order, and the items for which it did not come back in time.

    `work` raises nothing. Where the host has no room for a thread it is done here, without a limit.
    """
    done: list[R] = []
    stuck: list[T] = []
    start = 0
    while start < len(items):
        worker = _Worker(items, start, work, done)
        try:
            _thread.start_new_thread(worker.run, ())  # Thread.start() would wait until the thread runs
        except RuntimeError:
            worker.run()
        last = -1
        while not worker.finished.acquire(timeout=seconds if len(stuck) < _MANY else _SHORT):
            if worker.at == last:
                worker.abandoned = True
                break
            last = worker.at
        start = worker.at
        if start < len(items):
            stuck.append(items[start])
            start += 1
    return done, stuck


def beside(work: Callable[[], R]) -> Callable[[], R]:
    """Begin `work` in a thread, for what the kernel answers at once; the answer waits for what it gives, without a limit.

    Where the host has no room for a thread, or the work has failed there, it is done when it is asked for.
    """
    found: list[R] = []
    running = _thread.allocate_lock()

    def run() -> None:
        try:
            found.append(work())
        finally:
            running.release()

    def result() -> R:
        with running:
            if not found:
                found.append(work())
        return found[0]

    running.acquire()
    try:
        _thread.start_new_thread(run, ())  # Thread.start() would wait until the thread runs
    except RuntimeError:
        running.release()
    return result


def in_time(work: Callable[[], None], deadline: float) -> bool:
    """Whether `work` came to its end before `deadline` (monotonic); what hangs is left behind.

    Where the host has no room for a thread it is done here, without a limit.
    """
    import threading

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        work()
        return True
    thread.join(max(0.0, deadline - time.monotonic()))
    return not thread.is_alive()
