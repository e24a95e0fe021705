# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The leak matrix: channels out of an isolated host and into it, listened for on its own wire.

`./dev matrix leaks` runs it; each case is tried before the isolation too, so that a channel which never worked proves nothing.
"""

from __future__ import annotations

from tests.lab.controller import adhoc

from . import matrix
from .channels import LIVE, ONCE, heard, shut

QDISC_BYPASS, PAST_THE_QUEUE = "QDISC_BYPASS", "packet-socket-past-the-queue"


def test_nothing_leaks(cell):
    host, backend = cell
    before = shut(host)
    assert not before, f"channels that are shut before the isolation prove nothing: {before}"
    result = adhoc(host, "isolation", f"case=LEAKS backend={backend}").of(host)
    assert result["verdict"] == "contained"
    # Where nft knows no egress hook, tc holds frames back, and the result says what it does not see.
    old = host == "deb11"
    assert result["proof"]["layer2"]["cover"] == ("tc" if old else "egress-hook")
    said = any(QDISC_BYPASS in line for line in result["not_covered"])
    assert said is old
    rows = []
    try:
        for name in (*ONCE, *LIVE):
            # Of the live ones each is charged with whatever is heard, answers of the kernel included.
            count = heard(host, "", 0.8) if name in LIVE else heard(host, name)
            open_ = said and name == PAST_THE_QUEUE
            rows.append({"case": name, "release": host, "backend": backend, "expected": "0, or said" if name == PAST_THE_QUEUE else 0,
                         "got": f"{count}, said" if count and open_ else count, "holds": count == 0 or open_})
    finally:
        released = adhoc(host, "isolation", "case=LEAKS state=released").of(host)
    matrix.write("leaks", rows)
    assert released["verdict"] == "released", released["reasons"]
    assert [row for row in rows if not row["holds"]] == []
