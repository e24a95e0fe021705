# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a watched isolation writes into the host's journal in a day, against a timer that loads the rules anew every other second.

The journal is evidence, and what is written pushes out what was there. Measured while nothing happens, and while somebody takes the
rules away as often as he can.
"""

from __future__ import annotations

import concurrent.futures
import time

from tests.lab import hosts
from tests.lab.controller import adhoc

SECONDS = 40
DAY = 86400
LIMIT = 0.05
_TIMER = ("[Timer]\nOnActiveSec=0\nOnUnitActiveSec=2\nAccuracySec=100ms\n", "[Service]\nType=oneshot\nExecStart=/usr/sbin/nft -f /run/bench.nft\n")
_FLUSHING = f"end=$(($(date +%s) + {SECONDS})); while [ $(date +%s) -lt $end ]; do nft flush ruleset; sleep 0.5; done"


def _written(host: str, units: str, script: str) -> int:
    """Bytes that the journal has grown by, in its export form, by units and by what is said of them, while a script ran on the host."""
    cursor = hosts.execute(host, ["journalctl", "-q", "-n", "1", "-o", "cat", "--show-cursor"]).stdout.split("cursor: ")[1].strip()
    hosts.execute(host, ["sh", "-c", script], timeout=SECONDS + 60)
    return int(hosts.execute(host, ["sh", "-c", f"journalctl -q --after-cursor='{cursor}' -u '{units}' -o export | wc -c"]).stdout)


def _measure(host: str) -> list[dict[str, object]]:
    hosts.execute(host, ["sh", "-c", "cat >/run/bench.nft"], text="add table inet bench\ndelete table inet bench\ntable inet bench { }\n")
    for name, text in zip(("timer", "service"), _TIMER):
        hosts.execute(host, ["sh", "-c", f"cat >/run/systemd/system/bench.{name}"], text=text)
    wait = f"sleep {SECONDS}"
    timer = f"systemctl daemon-reload; systemctl start bench.timer; {wait}; systemctl stop bench.timer; nft delete table inet bench"
    against = _written(host, "bench.*", timer)
    result = adhoc(host, "isolation", "case=JOURNAL").of(host)
    if result["verdict"] != "contained" or not result["proof"]["hold"]["watch"]:
        raise RuntimeError(f"{host} is not held: {result}")
    time.sleep(3)
    taken = {"in peace": _written(host, "firebreak-hold-*", wait), "rules flushed twice a second": _written(host, "firebreak-hold-*", _FLUSHING)}
    adhoc(host, "isolation", "case=JOURNAL state=released")
    day = DAY / SECONDS / 1e6
    return [{"name": f"isolation-journal/{host}/{what}", "value": round(size * day, 3), "unit": "MB a day", "against": round(against * day, 1),
             "ratio": round(size / against, 3), "limit": LIMIT if what == "in peace" else None,
             "holds": size / against <= LIMIT if what == "in peace" else None} for what, size in taken.items()]


def measure() -> list[dict[str, object]]:
    """Two figures a release."""
    hosts.up()
    with concurrent.futures.ThreadPoolExecutor(len(hosts.HOSTS)) as pool:
        return [figure for figures in pool.map(_measure, hosts.HOSTS) for figure in figures]
