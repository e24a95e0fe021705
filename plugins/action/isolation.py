# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of `firebreak.response.isolation`."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.plugin_utils._response import ResponseAction

NETWORK_OPTIONS = tuple(arguments.NETWORK)


class ActionModule(ResponseAction):
    """A second run where the host waits for a confirmation."""

    MODULE = "firebreak.response.isolation"
    OPTIONS = arguments.merge(arguments.CASE, arguments.ISOLATION_STATE, arguments.NETWORK)

    def isolates(self, options: Mapping[str, object]) -> bool:
        """Whether the host is to be cut off."""
        return options.get("state") == "isolated"

    def unread(self, given: Mapping[str, object]) -> tuple[str, ...]:
        """A host is given back whatever has become of the names of the monitoring systems."""
        return tuple(NETWORK_OPTIONS) if given.get("state") == "released" else ()

    def harms(self, options: Mapping[str, object]) -> bool:
        """A protected host may be given back."""
        return self.isolates(options)
