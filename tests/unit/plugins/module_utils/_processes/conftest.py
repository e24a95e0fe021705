# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The made-up host of these tests."""

from __future__ import annotations

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._processes import _facts as facts
from ansible_collections.firebreak.response.plugins.module_utils._processes import _never
from ansible_collections.firebreak.response.tests.unit.plugins.module_utils._processes.made_up import Host


@pytest.fixture
def host(tmp_path, monkeypatch):
    # No file of the machine that runs the tests has a say; what is deleted in this story has no name.
    monkeypatch.setattr(facts, "_is_deleted", lambda one: (one.exe or "").endswith(facts.DELETED))
    monkeypatch.setattr(_never, "genuine", lambda one: True)
    return Host(tmp_path)
