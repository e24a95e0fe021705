# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who acts: the controller's user, and the AWX job and user where there is one."""

from __future__ import annotations

import os
import platform
import pwd
from collections.abc import Mapping

_AWX = {"job": "job_id", "user": "user_name", "template": "job_template_name", "launched_by": "job_launch_type"}


def awx(task_vars: Mapping[str, object]) -> dict[str, str]:
    """What AWX says of its job in the play's variables (awx_* or, in older versions, tower_*); empty elsewhere."""
    found = {}
    for key, name in _AWX.items():
        value = task_vars.get("awx_" + name, task_vars.get("tower_" + name))
        if isinstance(value, (str, int)) and value != "":
            found[key] = str(value)[:256]
    return found


def actor(task_vars: Mapping[str, object], environ: Mapping[str, str] | None = None) -> dict[str, object]:
    """{"user", "controller", "sudo_user"?, "awx"?: {...}}; the user is the kernel's, not the environment's."""
    environ = os.environ if environ is None else environ
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    found: dict[str, object] = {"user": user, "controller": platform.node()}
    if environ.get("SUDO_USER"):
        found["sudo_user"] = environ["SUDO_USER"][:256]
    job = awx(task_vars)
    if job:
        found["awx"] = job
    return found
