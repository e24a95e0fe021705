# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's clock, and what keeps it right: without it no two hosts' evidence can be put in one order."""

from __future__ import annotations

import os
import time

from ._files import link, read_proc

_STA_UNSYNC = 0x40  # linux/timex.h
_TIME_ERROR = 5


def _adjtimex() -> dict[str, object]:
    """The kernel's own state of the clock, by adjtimex(2) with modes 0, which only reads."""
    import ctypes

    # struct timex of linux/timex.h: modes, offset, freq, maxerror, esterror, status, constant, ... 208 bytes on 64 bits
    size = ctypes.sizeof(ctypes.c_long)
    buffer = ctypes.create_string_buffer(512)
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return {}
    state = call(buffer)
    if state < 0:
        return {}

    def number(place: int) -> int:
        return ctypes.c_long.from_buffer(buffer, place * size).value

    status = ctypes.c_int.from_buffer(buffer, 5 * size).value
    return {
        "synchronised": state != _TIME_ERROR and not status & _STA_UNSYNC,
        "offset": number(1), "max_error_microseconds": number(3), "status": status,
    }


def read_clock(root: str = "/") -> dict[str, object]:
    """{"utc": seconds, "monotonic", "uptime", "zone", "zone_file", "kernel": adjtimex state, "services": [...]}."""
    proc = os.path.join(root, "proc")
    uptime = read_proc(os.path.join(proc, "uptime"), 128).split()
    marks = {
        "systemd-timesyncd": "run/systemd/timesync/synchronized", "chrony": "run/chrony", "ntpd": "run/ntpd.pid",
        "ntpsec": "run/ntpsec",
    }
    return {
        "utc": round(time.time(), 3),
        "monotonic": round(time.monotonic(), 3),
        "uptime": uptime[0].decode("ascii", "replace") if uptime else None,
        "zone": time.strftime("%z"),
        "zone_file": link(os.path.join(root, "etc/localtime")),
        "kernel": _adjtimex(),
        "services": sorted(name for name, mark in marks.items() if os.path.lexists(os.path.join(root, mark))),
    }
