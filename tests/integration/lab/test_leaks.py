# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The leak matrix: channels out of an isolated host and into it, listened for on its own wire.

`./dev matrix leaks` runs it; each case is tried before the isolation too, so that a channel which never worked proves nothing.
"""

from __future__ import annotations

from tests.lab import intruders
from tests.lab.controller import adhoc

from . import matrix
from .channels import FRAMES, IN, OUT, heard

# What was there before the isolation and goes on by itself.
LIVE = {"live-tcp": "reverse-shell", "live-udp": "beacon-udp", "live-ipv6": "beacon-ipv6"}


def heard_live(host: str) -> int:
    """What goes on by itself: an intruder speaks every half second."""
    return heard(host, "", 0.8)


def test_nothing_leaks(cell):
    host, backend = cell
    once = [*OUT, *FRAMES, *IN]
    # A neighbour's address may have to be found first: whoever is not heard at once is listened to for longer.
    before = {name: heard(host, name) or heard(host, name, 1.0) for name in once}
    for name, intruder in LIVE.items():
        intruders.plant(host, intruder)
        before[name] = heard_live(host)
        intruders.unplant(host, intruder)  # each channel must be heard alone
    shut = [name for name, count in before.items() if not count]
    assert not shut, f"channels that are shut before the isolation prove nothing: {shut}"
    for intruder in LIVE.values():
        intruders.plant(host, intruder)
    result = adhoc(host, "isolation", f"case=LEAKS backend={backend}").of(host)
    assert result["verdict"] == "contained"
    # Where nft knows no egress hook, the result says that frames are not held back.
    said = any("packet sockets" in line for line in result["not_covered"])
    assert said is (host == "deb11")
    rows = []
    try:
        for name in (*once, *LIVE):
            count = heard_live(host) if name in LIVE else heard(host, name)
            open_ = said and name in FRAMES
            rows.append({"case": name, "release": host, "backend": backend, "expected": "0, or said" if name in FRAMES else 0,
                         "got": f"{count}, said" if count and open_ else count, "holds": count == 0 or open_})
    finally:
        released = adhoc(host, "isolation", "case=LEAKS state=released").of(host)
    matrix.write("leaks", rows)
    assert released["verdict"] == "released", released["reasons"]
    assert [row for row in rows if not row["holds"]] == []
