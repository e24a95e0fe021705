# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to the host: module runs over Ansible's connection, and a connection that is surely a new one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure

# What OpenSSH and paramiko say before a session exists: then no module can have begun.
_NEVER_STARTED = (
    "connect to host",
    "could not resolve hostname",
    "permission denied",
    "host key verification failed",
    "host identification has changed",
    "too many authentication failures",
    "failed to authenticate",
    "kex_exchange_identification",
    "banner exchange",
    "no route to host",
    "unable to connect to port",
)


def never_started(error: AnsibleConnectionFailure) -> bool:
    """Whether a failed connection tells that nothing ran on the host."""
    text = str(error).lower()
    return any(sign in text for sign in _NEVER_STARTED)


class Link:
    """Runs modules for one task; counts seconds by step. `action` is the action plugin."""

    def __init__(self, action: Any, module: str, options: Mapping[str, object], task_vars: dict[str, Any]) -> None:
        self._action = action
        self._module = module
        self._options = options
        self._vars = task_vars
        self._detached = False
        self.seconds: dict[str, float] = {}

    @property
    def transport(self) -> str:
        """Name of the connection plugin, without its collection."""
        return str(getattr(self._action._connection, "transport", "") or "ssh").rsplit(".", 1)[-1]

    @property
    def local(self) -> bool:
        """Whether there is no connection that could be made anew."""
        return self.transport == "local"

    def run(self, step: str, phase: str, module: str | None = None, **private: object) -> object:
        """One module run; its time is added to `step`. Raises AnsibleConnectionFailure where the host is not reached."""
        arguments: dict[str, object] = dict(self._options) if module is None else {"case": self._options["case"]}
        arguments.update({"_phase": phase, "_transport": self.transport})
        arguments.update({f"_{name}": value for name, value in private.items() if value})
        start = time.monotonic()
        try:
            result = self._action._execute_module(
                module_name=module or self._module, module_args=arguments, task_vars=self._vars
            )
        except AnsibleConnectionFailure:
            # Its temporary folder is out of reach: cleaning up must not turn our result into another failure.
            self._action._connection._shell.tmpdir = None
            raise
        finally:
            self.seconds[step] = round(self.seconds.get(step, 0.0) + time.monotonic() - start, 3)
        if isinstance(result, Mapping) and result.get("unreachable") is True:
            raise AnsibleConnectionFailure("the host is not reached")
        return result

    def renew(self) -> None:
        """Leave the connection, so that the next run makes a new one. Whether it did, the host says: it compares ports."""
        if not self.local:
            self._action._connection.reset()

    def detach(self) -> bool:
        """For ssh: share no connection from now on, whatever the site's settings say; False where that was done or cannot be.

        OpenSSH takes the first value of an option it meets, and `ssh_args` come first: what is appended later loses.
        """
        if self._detached or self.transport != "ssh":
            return False
        connection = self._action._connection
        connection.set_option(
            "ssh_args", "-o ControlPath=none -o ControlMaster=no " + (connection.get_option("ssh_args") or "")
        )
        self._detached = True
        return True
