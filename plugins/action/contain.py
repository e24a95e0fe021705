# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of `firebreak.response.contain`."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.plugin_utils._response import ResponseAction


class ActionModule(ResponseAction):
    """Evidence, isolation and termination: always with a second look."""

    MODULE = "firebreak.response.contain"
    OPTIONS = arguments.merge(
        arguments.CASE, arguments.STEPS, arguments.NETWORK, arguments.PROCESSES, arguments.EVIDENCE, arguments.AUTONOMY
    )

    def isolates(self, options: Mapping[str, object]) -> bool:
        """Whether the step is among those asked for."""
        steps = options.get("steps")
        return isinstance(steps, list) and "isolation" in steps

    def second(self, options: Mapping[str, object]) -> bool:
        """Whether there is something to look at again."""
        steps = options.get("steps")
        return isinstance(steps, list) and steps != ["snapshot"]

    def changes(self, options: Mapping[str, object]) -> bool:
        """Taking evidence alone changes nothing."""
        return self.second(options)
