# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`contain` on 30 light hosts against two runs of `ansible -m ping` on the same hosts, in turn."""

from __future__ import annotations

import statistics
import tempfile
import time

from tests.lab import fleet, hosts
from tests.lab.controller import Run, adhoc

HOSTS = 30
ROUNDS = 5
LIMIT = 1.3


def _timed(module: str, arguments: str = "") -> tuple[float, Run]:
    """Seconds of one run by 30 forks. A folder of its own for control sockets: no connection of before is used again."""
    with tempfile.TemporaryDirectory(prefix="cp-") as folder:
        began = time.monotonic()
        run = adhoc("all", module, arguments, "--forks", str(HOSTS), inventory=fleet.INVENTORY,
                    env={"ANSIBLE_SSH_CONTROL_PATH_DIR": folder})
        took = time.monotonic() - began
    if len(run.results) != HOSTS or run.status:
        raise RuntimeError(f"a run that did not reach every host is no figure: {run.out[-2000:]}{run.err[-2000:]}")
    return took, run


def _round(number: int) -> tuple[float, float]:
    """Seconds of the containment, and of the two pings before and after it."""
    before = _timed("ansible.builtin.ping")[0]
    took, run = _timed("contain", f"case=FLEET-{number} second_look=0")
    for name in run.results:
        if run.of(name).get("verdict") != "contained":
            raise RuntimeError(f"{name} is not contained: {run.of(name).get('reasons')}")
    after = _timed("ansible.builtin.ping")[0]
    _timed("isolation", f"case=FLEET-{number} state=released")
    return took, before + after


def measure() -> list[dict[str, object]]:
    """One figure a release; its ratio is the median of the rounds' ratios."""
    figures: list[dict[str, object]] = []
    for host in hosts.HOSTS:
        fleet.up(HOSTS, host=host)
        try:
            _timed("ansible.builtin.ping")  # the first one of all waits for the neighbours' addresses
            pairs = [_round(number) for number in range(ROUNDS)]
        finally:
            fleet.down()
        ratio = statistics.median(took / pings for took, pings in pairs)
        figures.append({
            "name": f"contain-fleet/{host}/{HOSTS} hosts contained", "value": round(statistics.median(took for took, _pings in pairs), 2),
            "unit": "s", "against": round(statistics.median(pings for _took, pings in pairs), 2), "ratio": round(ratio, 2),
            "limit": LIMIT, "holds": ratio <= LIMIT})
    return figures
