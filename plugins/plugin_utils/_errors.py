# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator must know, raised on the controller and turned into a task result at the edge."""

from __future__ import annotations


class FirebreakError(Exception):
    """A sentence for an operator. It holds no text of a host."""


class PolicyError(FirebreakError):
    """An option or variable whose value cannot be used; names it, the value and what would be right."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(
            f"{name} is missing: {expected}" if value is None else f"{name}: {_short(value)} cannot be used: {expected}"
        )
        self.name = name


class BrakeError(FirebreakError):
    """A brake held: nothing was done. The message names the override."""


class CaseError(FirebreakError):
    """The case folder cannot be used: nothing may happen that cannot be recorded."""


class AnswerError(FirebreakError):
    """The host's answer does not have the form that our module gives it."""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"
