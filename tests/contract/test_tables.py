# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures of the README are those that were measured."""

from __future__ import annotations

import json

import pytest

from tests.tools import tables


def test_the_readme_shows_the_figures_that_were_measured():
    text = tables.README.read_text(encoding="utf-8")
    rows = json.loads(tables.FIGURES.read_text(encoding="utf-8"))
    assert rows and text == tables.placed(text, "figures", tables.figures(rows))


def test_a_figure_that_does_not_hold_is_shown_as_such():
    row = {"name": "a", "value": 2.0, "unit": "s", "against": 1.0, "ratio": 2.0, "limit": 1.0, "holds": False}
    assert "**does not hold**" in tables.figures([row])


def test_a_leak_is_shown_as_such_and_a_cell_that_did_not_run_too():
    rows = [{"case": "a", "release": "deb13", "backend": "nftables", "expected": 0, "got": 3, "holds": False},
            {"case": "b", "release": "deb12", "backend": "nftables", "expected": 0, "got": 0, "holds": True}]
    assert tables.matrix(rows).splitlines()[2:] == ["| a | **3, not 0** | not run |", "| b | not run | 0 |"]


def test_a_table_without_a_place_is_refused():
    with pytest.raises(ValueError, match="leaks"):
        tables.placed("# nothing", "leaks", "| |")
