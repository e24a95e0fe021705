# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long to try to get back in, and how long to wait until the host must have taken its isolation back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ansible.errors import AnsibleConnectionFailure

# The host's timer has an accuracy of 100 ms; the rest is for a loaded host, whose undoing may take a while.
GRACE = 10.0
_LONGEST_PAUSE = 5.0


class Outcome(NamedTuple):
    """`answer`: of the run that got through, None where none did; `attempts`; `waited`: whether the rollback's time had passed."""

    answer: object
    attempts: int
    waited: bool


def insist(
    attempt: Callable[[], object],
    within: float,
    waiting: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Call `attempt` until it gets through, at most for `within` seconds; then once more when the rollback must have fired.

    `attempt` raises AnsibleConnectionFailure where it does not get through. `waiting` is called once, when the waiting for
    the rollback begins. Pauses grow from half a second to five, so that a host that drops packets is not hammered.
    """
    start = clock()
    pause = 0.5
    attempts = 0
    while True:
        attempts += 1
        try:
            return Outcome(attempt(), attempts, clock() - start > within)
        except AnsibleConnectionFailure:
            if clock() - start + pause >= within:
                break
            sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
    waiting()
    sleep(max(0.0, start + within + GRACE - clock()))
    try:
        return Outcome(attempt(), attempts + 1, True)
    except AnsibleConnectionFailure:
        return Outcome(None, attempts + 1, True)
