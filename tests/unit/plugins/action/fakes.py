# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host that is a function, a connection that only remembers, and time that passes when it is told to."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from types import SimpleNamespace

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.firebreak.response.plugins.plugin_utils import _confirm as confirm
from ansible_collections.firebreak.response.plugins.plugin_utils import _round as turn
from ansible_collections.firebreak.response.plugins.plugin_utils._case._verify import verify

BUNDLE = b"bundle"
MANIFEST = b"{}"


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds


class Connection:
    def __init__(self, transport="ssh"):
        self.transport = transport
        self.resets = 0
        self.options = {
            "ssh_args": "-o ControlMaster=auto -o ControlPath=/tmp/site",
            "control_path_dir": "/nowhere",
            "reconnection_retries": 2,
        }
        self.history = []
        self._shell = SimpleNamespace(tmpdir=None)

    def reset(self):
        self.resets += 1

    def get_option(self, name):
        return self.options[name]

    def set_option(self, name, value):
        if name == "ssh_args":
            self.history.append(value)
        self.options[name] = value


def evidence(inline=True, **change):
    return {
        "name": "20261124T042751.123Z-volatile.tar.gz",
        "sha256": hashlib.sha256(BUNDLE).hexdigest(),
        "size": len(BUNDLE),
        "inline": base64.b64encode(BUNDLE).decode() if inline else None,
        "manifest": "20261124T042751.123Z-volatile.manifest.json",
        "manifest_sha256": hashlib.sha256(MANIFEST).hexdigest(),
        "manifest_size": len(MANIFEST),
        "manifest_inline": base64.b64encode(MANIFEST).decode() if inline else None,
        **change,
    }


def contained(**more):
    return {
        "changed": True,
        "verdict": "contained",
        "reasons": [],
        "timeline": [{"step": "ruleset in force", "at": 0.1}],
        "steps": {"isolation": {"changed": True, "proof": {"rollback": "systemd timer", "confirmed": None}}},
        **more,
    }


def accepted(value=True, **more):
    return {
        "changed": False,
        "verdict": "contained",
        "discarded": True,
        "steps": {"isolation": {"proof": {"confirmed": value}}},
        **more,
    }


class Host:
    """Answers each phase from a list; an exception in it is raised."""

    def __init__(self, apply, finish=(), fetch=()):
        self.answers = {"apply": list(apply), "finish": list(finish), "fetch": list(fetch)}
        self.calls = []

    def __call__(self, module_name, module_args, task_vars):
        self.calls.append((module_name.rsplit(".", 1)[-1], module_args))
        answers = self.answers[module_args["_phase"]]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(module_args)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def phases(self):
        return [arguments["_phase"] for _name, arguments in self.calls]


class Fixture:
    def __init__(self, path, monkeypatch):
        self.cases = str(path / "cases")
        self.connection = Connection()
        self.connection.options["control_path_dir"] = str(path / "ansible/cp")
        self.pipelining = True
        self.shown = []
        self.clock = Clock()
        monkeypatch.setattr(turn.time, "sleep", self.clock.sleep)
        insist = confirm.insist
        monkeypatch.setattr(turn, "insist", lambda *a: insist(*a, clock=lambda: self.clock.now, sleep=self.clock.sleep))

    def run(self, plugin, host, arguments=None, check=False, **variables):
        task = SimpleNamespace(
            args={"case": "INC-1"} if arguments is None else arguments,
            check_mode=check,
            async_val=0,
            no_log=False,
            delegate_to=None,
            action="firebreak.response.test",
        )
        templar = SimpleNamespace(template=lambda value: value)
        action = plugin.ActionModule(task, self.connection, None, None, templar, None)
        action._execute_module = host
        action._early_needs_tmp_path = lambda: False
        action._is_pipelining_enabled = lambda style: self.pipelining
        action._display = SimpleNamespace(
            display=lambda text, stderr: self.shown.append(text), warning=self.shown.append
        )
        variables = {
            "inventory_hostname": "web07",
            "group_names": ["web"],
            "ansible_play_hosts_all": ["web07"],
            "firebreak_cases_dir": self.cases,
            **variables,
        }
        return action.run(task_vars=variables)

    def ledger(self):
        with open(os.path.join(self.cases, "INC-1", "ledger.jsonl"), encoding="ascii") as stream:
            return [json.loads(line) for line in stream]

    def events(self):
        return [record["event"] for record in self.ledger()]

    def files(self):
        return sorted(
            name for _place, _folders, names in os.walk(os.path.join(self.cases, "INC-1", "evidence")) for name in names
        )

    def verified(self):
        return verify(os.path.join(self.cases, "INC-1")).problems == []


UNREACHED = AnsibleConnectionFailure(
    "Failed to connect to the host via ssh: ssh: connect to host 10.0.0.7 port 22: Connection timed out"
)
BROKEN = AnsibleConnectionFailure("Failed to connect to the host via ssh: Shared connection to 10.0.0.7 closed.")
