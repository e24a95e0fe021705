# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When each step of a run on the host was done, on one clock."""

from __future__ import annotations

import contextlib
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Timeline:
    """Seconds since the start of the module, step by step.

    The clock is monotonic: an attacker who sets the host's time does not bend it.
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        # What starting Python and importing cost before this clock began, in processor seconds.
        self.import_seconds = round(time.process_time(), 4)
        self.steps: list[dict[str, object]] = []

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """What is imported within, once it is known what is wanted, counts as what was imported before the clock began."""
        at, before = time.monotonic(), time.process_time()
        yield
        self._start += time.monotonic() - at
        self.import_seconds = round(self.import_seconds + time.process_time() - before, 4)

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def mark(self, step: str) -> float:
        """Note that `step` is done now; the seconds since the start."""
        at = round(self.now(), 4)
        self.steps.append({"step": step, "at": at})
        return at
