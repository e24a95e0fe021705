# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to the host: module runs over Ansible's connection, and a connection that is surely a new one."""

from __future__ import annotations

import math
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.firebreak.response.plugins.plugin_utils._deadline import Late, within

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
    "connection closed by",  # in the middle of a session it is "connection to ... closed by"
    "stdio forwarding failed",  # by a jump host
    "failed to create temporary directory",
)

# Seconds that a run may take besides what its options ask for, and those that a piece of evidence may take.
_BESIDES = 60.0
_FETCH = 120.0
# Options that make a run longer, and what they are where a module has no such option.
_LASTING = {"confirm_within": 60.0, "second_look": 3.0, "max_seconds": 30.0}
# Seconds between two signs of life that ssh asks for, and seconds that a connection of our own outlives its last command.
_ALIVE = 5
_PERSIST = 20


def never_started(error: AnsibleConnectionFailure) -> bool:
    """Whether a failed connection tells that nothing ran on the host."""
    text = str(error).lower()
    return any(sign in text for sign in _NEVER_STARTED)


def longest(options: Mapping[str, object]) -> float:
    """Seconds after which a run with these options, defaults included, is taken for lost."""
    total = _BESIDES
    for name, seconds in _LASTING.items():
        value = options.get(name)
        total += value if isinstance(value, (int, float)) else seconds
    return total


class Link:
    """Runs modules for one task; counts seconds by step. `action` is the action plugin.

    `limit`: seconds after which a run is taken for lost, whatever the connection says.
    `retries`: how often the site wants a connection to be tried again that never began, once `renew` was called.
    """

    def __init__(
        self, action: Any, module: str, options: Mapping[str, object], task_vars: dict[str, Any], limit: float
    ) -> None:
        self._action = action
        self._module = module
        self._options = options
        self._vars = task_vars
        self._ssh_args: str | None = None
        self._limit = limit
        self.retries = 0
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
            result = self._bounded(module or self._module, arguments, self._limit if module is None else _FETCH)
        except AnsibleConnectionFailure:
            # Its temporary folder is out of reach: cleaning up must not turn our result into another failure.
            self._action._connection._shell.tmpdir = None
            raise
        finally:
            self.seconds[step] = round(self.seconds.get(step, 0.0) + time.monotonic() - start, 3)
        if isinstance(result, Mapping) and result.get("unreachable") is True:
            raise AnsibleConnectionFailure("the host is not reached")
        return result

    def _bounded(self, module: str, arguments: dict[str, object], limit: float) -> object:
        """One module run, that counts as a broken connection where it takes longer than `limit` seconds."""
        try:
            return within(
                limit,
                lambda: self._action._execute_module(module_name=module, module_args=arguments, task_vars=self._vars),
            )
        except Late:
            raise AnsibleConnectionFailure(f"the host has given no answer for {limit:g} seconds") from None

    def renew(self, silence: float) -> None:
        """Let the next runs go over a connection that nobody has used before; `silence`: seconds without a sign of life
        after which it counts as broken.

        For ssh it is one of our own: resetting the shared one leaves it in use where the site's settings name another
        path, and an older one would wait for ever once the host's side of it is gone. OpenSSH takes the first value of an
        option that it meets, and `ssh_args` come first: what is appended later loses. Whether the connection is fresh
        is for the host to say all the same: it compares ports.
        """
        if self.local:
            return
        connection = self._action._connection
        if self.transport != "ssh":
            connection.reset()
            return
        if self._ssh_args is None:
            self._ssh_args = connection.get_option("ssh_args") or ""
            self.retries = int(connection.get_option("reconnection_retries") or 0)
            # The plugin would send the whole module again after a connection that broke: a second cut that nobody asked for.
            connection.set_option("reconnection_retries", 0)
        own = "-o ControlPath=none -o ControlMaster=no"
        if not self._action._is_pipelining_enabled("new"):
            # Without pipelining a run is half a dozen commands: they share a connection, which ends soon after them.
            folder = os.path.expanduser(connection.get_option("control_path_dir"))
            os.makedirs(folder, 0o700, exist_ok=True)  # the plugin makes it only where it chooses the path itself
            path = os.path.join(folder, "fb-" + uuid.uuid4().hex[:12])
            own = f'-o ControlPath="{path}" -o ControlMaster=auto -o ControlPersist={_PERSIST}'
        alive = f"-o ServerAliveInterval={_ALIVE} -o ServerAliveCountMax={math.ceil(silence / _ALIVE)}"
        connection.set_option("ssh_args", f"{own} {alive} {self._ssh_args}")

    def restore(self, broken: bool) -> None:
        """Give the connection its own settings back; `broken`: end the shared one, which may be dead without knowing it."""
        connection = self._action._connection
        if self._ssh_args is not None:
            connection.set_option("ssh_args", self._ssh_args)
            connection.set_option("reconnection_retries", self.retries)
            self._ssh_args = None
            if broken:
                connection.reset()
