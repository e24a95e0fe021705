# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures of the README are those that were measured."""

from __future__ import annotations

import json

import pytest

from tests.integration.lab import channels
from tests.tools import tables


def test_the_readme_shows_the_figures_that_were_measured():
    text = tables.README.read_text(encoding="utf-8")
    rows = json.loads(tables.FIGURES.read_text(encoding="utf-8"))
    assert rows and text == tables.placed(text, "figures", tables.figures(rows))


def test_the_readme_compares_the_ways_as_they_were_measured():
    text = tables.README.read_text(encoding="utf-8")
    rows = json.loads(tables.LEAKS.read_text(encoding="utf-8"))
    assert text == tables.placed(text, "ways", tables.ways(rows))
    ours, *theirs = dict.fromkeys(row["way"] for row in rows)
    assert ours == tables.OURS and len(theirs) == 3
    assert not any(row["leaks"] for row in rows if row["way"] == ours)
    assert all(any(row["leaks"] for row in rows if row["way"] == way) for way in theirs)


def test_every_channel_is_in_a_group_and_every_group_has_one():
    groups = {tables.group(name) for name in (*channels.CHANNELS, *channels.PAST, channels.ELSE)}
    assert groups == set(tables.GROUPS)


def test_there_are_as_many_channels_as_promised_and_most_are_tried_live_too():
    ways = [way for tried in channels.CHANNELS.values() for way in tried]
    assert len(channels.CHANNELS) >= 45 and all(channels.CHANNELS.values()) and set(ways) == set(tables.WAYS)
    assert ways.count(channels.LIVE) >= 45 and ways.count(channels.NEW) >= 45


def test_ours_is_compared_only_once_every_cell_was_run(tmp_path):
    old = tables.condensed(tables.OURS, [{"case": "tcp-ipv4", "release": "deb13", "backend": "nftables", "got": 0, "holds": True}])
    new = [{"case": "tcp-ipv4", "release": release, "backend": backend, "got": "3 live", "live": 3, "new": 0, "holds": False}
           for release in ("deb13", "deb12", "deb11") for backend in ("nftables", "iptables")]
    (tmp_path / "matrix-leaks.json").write_text(json.dumps(new[:-1]), encoding="utf-8")
    assert tables.refreshed(old, tmp_path) == old
    (tmp_path / "matrix-leaks.json").write_text(json.dumps(new), encoding="utf-8")
    (tmp_path / "matrix-others.json").write_text(json.dumps([{**new[0], "backend": "a script", "got": 0, "live": 0, "holds": True}]), encoding="utf-8")
    rows = tables.refreshed(old, tmp_path)
    assert [(row["way"], row["leaks"]) for row in rows if row["channels"]] == [(tables.OURS, 1), ("a script", 0)]
    assert "| 1 | **1 leak**: 1 live | 0 |" in tables.ways(rows)


def test_what_is_open_and_said_is_told_by_channel_and_release_and_what_is_shut_is_not():
    past, plain, odd = "packet-socket-past-the-queue", "packet-socket-ipv4", "odd-ethertype"
    rows = [{"case": case, "release": release, "backend": "nftables", "holds": True, "live": count, "new": count,
             "got": f"{count} live, {count} new, said" if count else got}
            for case, counts, got in ((past, (0, 0, 32), 0), (plain, (0, 0, 0), "0, said"), (odd, (8, 8, 8), 0))
            for release, count in zip(("deb13", "deb12", "deb11"), counts, strict=True)]
    found = tables.condensed(tables.OURS, rows)
    assert [row["said"] for row in found if row["channels"]] == [{past: ["deb11"], odd: ["deb13", "deb12", "deb11"]}]
    assert f"| 3 | 0; open and said: {past} (deb11), {odd} |" in tables.ways(found)


def test_a_figure_that_does_not_hold_is_shown_as_such():
    row = {"name": "a", "value": 2.0, "unit": "s", "against": 1.0, "ratio": 2.0, "limit": 1.0, "holds": False}
    assert "**does not hold**" in tables.figures([row])


def test_a_leak_is_shown_as_such_and_a_cell_that_did_not_run_too():
    rows = [{"case": "a", "release": "deb13", "backend": "nftables", "expected": 0, "got": 3, "holds": False},
            {"case": "b", "release": "deb12", "backend": "nftables", "expected": 0, "got": 0, "holds": True}]
    assert tables.matrix(rows).splitlines()[2:] == ["| a | **3, not 0** | not run |", "| b | not run | 0 |"]
    assert tables.matrix([{**row, "ways": ["live", "new"]} for row in rows]).splitlines()[2] == "| a (live, new) | **3, not 0** | not run |"


def test_a_table_without_a_place_is_refused():
    with pytest.raises(ValueError, match="leaks"):
        tables.placed("# nothing", "leaks", "| |")
