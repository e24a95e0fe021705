# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of `firebreak.response.snapshot`."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.plugin_utils._response import ResponseAction


class ActionModule(ResponseAction):
    """A reading: no brake holds for it, and the second run only removes the host's copy of what has arrived."""

    MODULE = "firebreak.response.snapshot"
    OPTIONS = arguments.merge(arguments.CASE, arguments.EVIDENCE)
    WORD = "outcome"

    def changes(self, options: Mapping[str, object]) -> bool:
        """A snapshot changes nothing on the host."""
        return False
