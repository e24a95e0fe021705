# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of `firebreak.response.suspicious_process`."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.plugin_utils._response import ResponseAction


class ActionModule(ResponseAction):
    """A second look where something was stopped or ended."""

    MODULE = "firebreak.response.suspicious_process"
    OPTIONS = arguments.merge(arguments.CASE, arguments.PROCESS_STATE, arguments.PROCESSES)

    def second(self, options: Mapping[str, object]) -> bool:
        """Whether what was ended may come back, and somebody wants to know."""
        return self.harms(options) and options.get("second_look") != 0

    def changes(self, options: Mapping[str, object]) -> bool:
        """A report changes nothing."""
        return options.get("state") != "reported"

    def harms(self, options: Mapping[str, object]) -> bool:
        """A protected host may be given back, and looked at."""
        return options.get("state") in ("frozen", "terminated")
