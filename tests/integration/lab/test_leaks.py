# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The leak matrix: channels out of an isolated host and into it, listened for on its own wires and in its programs.

`./dev matrix leaks` runs it. Every channel is at work before the isolation, or the test fails; what was open goes on being used through
it, and is opened anew after it. Counted is from the moment on at which the controller knows that the host is isolated.
"""

from __future__ import annotations

from tests.lab import hosts, network
from tests.lab.controller import adhoc

from . import matrix
from .channels import IN, LIVE, NEW, PAST
from .trial import Past, Trial, rows_of

SECONDS = 8.0


def test_nothing_leaks(cell):
    host, backend = cell
    with Trial(host) as trial:
        assert trial.void() == [], "channels that are shut before the isolation prove nothing"
        trial.pause()
        result = adhoc(host, "isolation", f"case=LEAKS backend={backend}").of(host)
        try:
            assert (result["verdict"], result["reasons"]) == ("contained", [])
            trial.resume()
            rows = rows_of(trial.heard(SECONDS), cell, result)
            # Who may talk with the host does.
            allowed = hosts.answers("monitoring", network.address(host), 9100), hosts.answers("controller", network.address(host), 22)
            assert allowed == (True, True) and hosts.answers(host, network.MONITORING, 6514) and hosts.answers(host, "127.0.0.1", 9100)
        finally:
            trial.close()
            released = adhoc(host, "isolation", "case=LEAKS state=released").of(host)
    matrix.write("leaks", rows)
    assert released["verdict"] == "released", released["reasons"]
    assert [row for row in rows if not row["holds"]] == []
    assert {way for row in rows for way in row["ways"]} == {LIVE, NEW, IN}


def test_what_no_rule_can_hold_back_is_named(cell):
    host, backend = cell
    rows = []
    with Past(host) as past:
        assert past.void() == [], "what leads nowhere before the isolation proves nothing"
        result = adhoc(host, "isolation", f"case=PAST backend={backend}").of(host)
        counts = past.soon()
    released = adhoc(host, "isolation", "case=PAST state=released").of(host)
    frames = result["proof"]["layer2"]
    for name, words in PAST.items():
        count = counts[name, LIVE]
        named = result["verdict"] == "partial" and any(words in one["what"] for one in (*frames["programs"], *frames["elsewhere"]))
        rows.append({"case": name, "release": host, "backend": backend, "expected": "0, or said", "ways": [LIVE], LIVE: count,
                     "got": (f"{count} {LIVE}" if count else "0") + (", said" if named else ""), "holds": not count or named})
    matrix.write("leaks", rows)
    assert released["verdict"] == "released", released["reasons"]
    assert [row for row in rows if not row["holds"]] == []
