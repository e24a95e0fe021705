# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every test of an action plugin starts from."""

from __future__ import annotations

import pytest
from ansible_collections.firebreak.response.tests.unit.plugins.action.fakes import Fixture


@pytest.fixture
def site(tmp_path, monkeypatch):
    return Fixture(tmp_path, monkeypatch)
