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

    def _keep(self, result, *_more, **_options) -> None:
        name = result.task.name or result.task.action
        kept = json.loads(json.dumps(result.result, default=str))
        kept.update(failed=result.is_failed(), unreachable=result.is_unreachable())
        self._results.setdefault(result.host.get_name(), {})[name] = kept

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = v2_runner_on_skipped = _keep

    def v2_playbook_on_stats(self, _stats) -> None:
        """The end of a playbook, and of an ad-hoc run."""
        self._display.display("RESULTS " + json.dumps(self._results))
