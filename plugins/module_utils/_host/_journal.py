# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What we do, told to the host's own log under the tag `incident_response`."""

from __future__ import annotations

import syslog

from .._text import printable

TAG = "incident_response"


def tell(case: str, message: str) -> None:
    """One line in the host's log (journald or syslogd). `message` may hold text of the host: it is escaped here."""
    syslog.openlog(TAG, syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_NOTICE, printable("case={0} {1}".format(case, message)))
    syslog.closelog()
