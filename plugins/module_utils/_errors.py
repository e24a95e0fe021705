# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one exception family: raised anywhere on the host, turned into `fail_json` at the edge."""

from __future__ import annotations


class FirebreakError(Exception):
    """Something an operator must know, in a sentence that holds no text of the host."""

    facts: dict[str, object] = {}  # keys of the result that say the same to a program

    @property
    def reasons(self) -> list[str]:
        """The same for the result's `reasons`, of which the controller shows 600 characters each."""
        return [str(self)]


class OptionError(FirebreakError):
    """An option whose value cannot be used.

    The message names the option, the value and what would be right, so that it can be mended at 2 AM.
    """

    def __init__(self, option: str, value: object, expected: str) -> None:
        super().__init__("{0}: {1!r} cannot be used: {2}".format(option, value, expected))
        self.option = option


class HostError(FirebreakError):
    """The host lacks what the step needs, or refused it; nothing was changed by the step that raises it."""
