# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What we do, told to the host's own log under the tag `incident_response`."""

from __future__ import annotations

import os
import socket
import time

from .._text import printable

TAG = "incident_response"
_NOTICE = 4 << 3 | 5  # facility auth, RFC 5424
_DEVICE = "/dev/log"


def tell(case: str, message: str, device: str = _DEVICE) -> None:
    """One line in the host's log (journald or syslogd). `message` may hold text of the host: it is escaped here.

    Not by syslog(3), which waits for ever where nobody reads the socket: a log that hangs must not hold up a containment.
    """
    line = "<{0}>{1} {2}[{3}]: {4}".format(
        _NOTICE, time.strftime("%b %e %H:%M:%S"), TAG, os.getpid(), printable("case={0} {1}".format(case, message)))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as log:
            log.connect(device)
            log.send(line.encode("utf-8", "replace"))
    except OSError:
        return  # no log, or one that is full: the controller's ledger has it
