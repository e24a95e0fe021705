# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text of the host on its way out: nothing in it may steer a terminal, a log or a reader's eye."""

from __future__ import annotations

import re

# C0 and C1 controls, DEL, surrogates (bytes that are no UTF-8), line and paragraph separators, and the
# bidirectional and invisible format characters of Unicode TR36, "Unicode Security Considerations".
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the byte itself
        return "\\x{0:02x}".format(code - 0xDC00)
    return "\\x{0:02x}".format(code) if code < 0x100 else "\\u{0:04x}".format(code)


def printable(value: str | bytes, limit: int = 512) -> str:
    """The text with control, bidirectional and undecodable characters escaped, at most `limit` characters of it.

    A cut text ends in an ellipsis, so that what is shown is never mistaken for the whole.
    """
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    cut = len(text) > limit
    text = _UNSAFE.sub(_escape, text[:limit])
    return text + "\u2026" if cut else text
