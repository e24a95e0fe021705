# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is logged in: utmp records and systemd-logind's session files."""

from __future__ import annotations

import os
import socket
import struct

from ._files import read_regular

# struct utmp of bits/types/struct_utmp.h, the same 384 bytes on every Linux architecture with 64-bit glibc.
_UTMP = struct.Struct("=hxxi32s4s32s256shhiii16s20x")
TYPES = ("empty", "run-level", "boot", "new-time", "old-time", "init", "login", "user", "dead", "accounting")
_SESSIONS = 1000
_SESSION_BYTES = 16384


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def parse_utmp(data: bytes) -> list[dict[str, object]]:
    """Records of utmp, wtmp or btmp, empty ones left out; a rest that is no whole record is left out too.

    {"type", "pid", "line", "user", "host", "session", "time" (seconds since 1970), "address"}.
    """
    records: list[dict[str, object]] = []
    for at in range(0, len(data) - _UTMP.size + 1, _UTMP.size):
        kind, pid, line, _id, user, host, _term, _exit, session, seconds, _micros, address = _UTMP.unpack_from(data, at)
        if kind == 0:
            continue
        peer = ""
        if address.strip(b"\0"):
            short = not address[4:].strip(b"\0")
            peer = socket.inet_ntop(socket.AF_INET if short else socket.AF_INET6, address[:4] if short else address)
        records.append(
            {
                "type": TYPES[kind] if 0 <= kind < len(TYPES) else str(kind),
                "pid": pid, "line": _text(line), "user": _text(user), "host": _text(host), "session": session,
                "time": seconds, "address": peer,
            }
        )
    return records


def read_sessions(folder: str) -> list[dict[str, object]]:
    """What systemd-logind says of its sessions: the NAME=value pairs of each file, with `file`; at most 1,000."""
    found: list[dict[str, object]] = []
    try:
        names = sorted(os.listdir(folder))[:_SESSIONS]
    except OSError:
        return found
    for name in names:
        if name.endswith(".ref"):  # a FIFO by which logind sees a session end
            continue
        try:
            text = read_regular(os.path.join(folder, name), _SESSION_BYTES).decode("utf-8", "surrogateescape")
        except OSError:
            continue
        record: dict[str, object] = {"file": name}
        for line in text.split("\n"):
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                record[key] = value
        found.append(record)
    return found
