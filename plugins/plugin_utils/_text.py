# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text of a host on its way to a person, a log or the ledger: nothing in it may steer what shows it."""

from __future__ import annotations

import re

# C0 and C1 controls, DEL, line and paragraph separators, bidirectional and invisible format characters (Unicode TR36,
# "Unicode Security Considerations"), lone surrogates, interlinear annotation and the tag characters of plane 14.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_DEPTH = 16
_ITEMS = 20000  # values in one answer: a thousand suspects with twenty fields each
_KEY = 128


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(value: str, limit: int = 2048) -> str:
    """The text with everything that could steer a terminal or a reader's eye escaped; cut text ends in an ellipsis."""
    text = _UNSAFE.sub(_escape, value[:limit])
    return text + "…" if len(value) > limit else text


def lines(value: str, limit: int = 262144) -> str:
    """As `printable`, but line by line: for text that is shown as a diff."""
    return "\n".join(printable(line, limit) for line in value[:limit].split("\n"))


class Cleaner:
    """Makes plain, bounded, escaped data of whatever a host answered. `cut` tells whether something was left out."""

    def __init__(self, items: int = _ITEMS) -> None:
        self._left = items
        self.cut = False

    def clean(self, value: object, depth: int = 0, multiline: bool = False) -> object:
        """dict, list, str, int, float, bool and None stay what they are; everything else becomes text."""
        self._left -= 1
        if self._left < 0 or depth > _DEPTH:
            self.cut = True
            return None
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**64 else printable(str(value)[:64])
        if isinstance(value, float):
            return float(value) if value - value == 0 else None  # JSON knows neither NaN nor infinity
        if isinstance(value, str):
            return lines(value) if multiline else printable(value)
        if isinstance(value, dict):
            found: dict[str, object] = {}
            for key, item in value.items():
                if self._left <= 0:
                    self.cut = True
                    break
                found[printable(str(key), _KEY)] = self.clean(item, depth + 1, multiline or key in ("before", "after"))
            return found
        if isinstance(value, (list, tuple)):
            items = []
            for item in value:
                if self._left <= 0:
                    self.cut = True
                    break
                items.append(self.clean(item, depth + 1, multiline))
            return items
        return printable(str(value))
