# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stdout callback of the lab's tests: every result of a run as one JSON document, {host: {task: result}}."""

from __future__ import annotations

import json

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: lab_json
type: stdout
short_description: Results as one JSON document
description: For tests.
"""


class CallbackModule(CallbackBase):
    """Gathers results and prints them at the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "lab_json"

    def __init__(self) -> None:
        super().__init__()
        self._results: dict[str, dict[str, object]] = {}

    def _keep(self, result, **how) -> None:
        kept = json.loads(json.dumps(result.result, default=str))
        kept.update({"failed": False, "unreachable": False, **how})
        self._results.setdefault(result.host.get_name(), {})[result.task.name or result.task.action] = kept

    def v2_runner_on_ok(self, result) -> None:
        """One task of one host, as it should be."""
        self._keep(result)

    v2_runner_on_skipped = v2_runner_on_ok

    def v2_runner_on_failed(self, result, ignore_errors=False) -> None:
        """A failed task."""
        self._keep(result, failed=True)

    def v2_runner_on_unreachable(self, result) -> None:
        """A host that was not reached."""
        self._keep(result, unreachable=True)

    def v2_playbook_on_stats(self, _stats) -> None:
        """The end of a playbook, and of an ad-hoc run."""
        self._display.display("RESULTS " + json.dumps(self._results))
