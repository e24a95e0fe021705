# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does a forbidden destination fail at once, from here? No packet for it may leave."""

from __future__ import annotations

import errno
import select
import socket as _socket
import time

# Documentation addresses, RFC 5737 and RFC 3849: nobody answers there, so that a quick failure is the rules' doing.
FORBIDDEN = ((_socket.AF_INET, "192.0.2.1"), (_socket.AF_INET6, "2001:db8::1"))
_PORT = 443
_SECONDS = 1.0
_UNREACHABLE = (errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def attempt(family: int, address: str) -> dict[str, object]:
    """One connection attempt: {address, outcome, seconds}. outcome: "refused" (the rules), "no route" (nothing to
    refuse), "silent" (no answer within a second), "connected"."""
    began = time.monotonic()
    try:
        with _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK) as probe:
            code = probe.connect_ex((address, _PORT))
            if code == errno.EINPROGRESS:
                _read, writable, _bad = select.select([], [probe], [], _SECONDS)
                code = probe.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR) if writable else errno.ETIMEDOUT
    except OSError as error:
        code = error.errno or errno.EIO
    outcome = "refused"
    if code == 0:
        outcome = "connected"
    elif code == errno.ETIMEDOUT:
        outcome = "silent"
    elif code in _UNREACHABLE:
        outcome = "no route"
    return {"address": address, "outcome": outcome, "seconds": round(time.monotonic() - began, 4)}


def probe() -> dict[str, object]:
    """Both families: {"holds": both failed at once, "attempts": [...]}."""
    attempts = [attempt(family, address) for family, address in FORBIDDEN]
    return {"holds": all(one["outcome"] in ("refused", "no route") for one in attempts), "attempts": attempts}
