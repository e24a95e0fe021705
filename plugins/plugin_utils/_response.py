# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of every module that acts on a suspect host.

Brakes, case, ledger; one run on the host up to the cut; evidence in; a fresh connection; a second run that confirms, looks
again and lets the host drop what has safely arrived; ledger again. Every way out of it ends in a verdict and a record.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase
from ansible_collections.firebreak.response.plugins.module_utils import _arguments as arguments
from ansible_collections.firebreak.response.plugins.plugin_utils import _policy as policy_of
from ansible_collections.firebreak.response.plugins.plugin_utils import _request as request_of
from ansible_collections.firebreak.response.plugins.plugin_utils import _verdict as verdict_of
from ansible_collections.firebreak.response.plugins.plugin_utils._actor import actor, awx
from ansible_collections.firebreak.response.plugins.plugin_utils._case import _folder as folder_of
from ansible_collections.firebreak.response.plugins.plugin_utils._case import _records as records
from ansible_collections.firebreak.response.plugins.plugin_utils._case._ledger import Ledger
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import (
    BrakeError,
    CaseError,
    FirebreakError,
    PolicyError,
)
from ansible_collections.firebreak.response.plugins.plugin_utils._evidence import Evidence
from ansible_collections.firebreak.response.plugins.plugin_utils._link import Link, longest
from ansible_collections.firebreak.response.plugins.plugin_utils._request import Request
from ansible_collections.firebreak.response.plugins.plugin_utils._round import Plan, Round, predict
from ansible_collections.firebreak.response.plugins.plugin_utils._text import printable

Result = dict[str, Any]
# How much of what others did to an isolation a record of the ledger holds: the last entries, and characters of each text.
_DRIFT = 20
_TEXT = 300
# What a module takes that has no such option.
_MAX_BYTES = int(str(arguments.EVIDENCE["max_bytes"]["default"]))


class ResponseAction(ActionBase):
    """A module's controller half; subclasses say which module, which options, and what the options mean."""

    MODULE: ClassVar[str]
    OPTIONS: ClassVar[request_of.Spec]
    # The key of the result that says how it went.
    WORD: ClassVar[str] = "verdict"

    def isolates(self, options: Mapping[str, object]) -> bool:
        """Whether these options may cut the host off."""
        return False

    def second(self, options: Mapping[str, object]) -> bool:
        """Whether a second run is wanted whatever the first one says."""
        return False

    def changes(self, options: Mapping[str, object]) -> bool:
        """Whether these options change the host: firebreak_max_hosts holds for them."""
        return True

    def harms(self, options: Mapping[str, object]) -> bool:
        """Whether these options can take something away from the host: firebreak_protected_hosts holds for them."""
        return self.changes(options)

    def unread(self, given: Mapping[str, object]) -> tuple[str, ...]:
        """Options without a meaning for such a task: what the policy says of them must not stop it."""
        return ()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Result:
        """The task's result. Whatever is refused is refused before the first connection."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        try:
            return self._respond(task_vars)
        except FirebreakError as error:
            return self._refused(str(error))

    # -- before the first connection ----------------------------------------------------------------------------------

    def _refused(self, message: str) -> Result:
        return {
            "changed": False,
            "failed": True,
            "refused": True,
            "msg": message,
            self.WORD: "failed",
            "reasons": [message],
        }

    def _request(self, task_vars: dict[str, Any]) -> Request:
        if self._task.delegate_to:
            raise PolicyError(
                "delegate_to",
                str(self._task.delegate_to),
                "name the suspect host in the play itself, so that brakes and ledger see it",
            )
        for name, meant in policy_of.misspelt(list(task_vars)).items():
            self._display.warning(
                f"nobody reads the variable {name}" + (f"; {meant} is what it may mean" if meant else "")
            )
        host = str(task_vars.get("inventory_hostname", "localhost"))
        unread = self.unread(self._task.args)
        return request_of.make(host, self._task.args, self.OPTIONS, task_vars, self._templar.template, unread)

    def _check_brakes(self, request: Request, task_vars: dict[str, Any]) -> None:
        policy_of.check_brakes(
            request.policy,
            request.host,
            [str(name) for name in task_vars.get("group_names") or []],
            [str(name) for name in task_vars.get("ansible_play_hosts_all") or []],
            protect=self.harms(request.full),
            count=self.changes(request.full),
        )

    # -- the task -----------------------------------------------------------------------------------------------------

    def _respond(self, task_vars: dict[str, Any]) -> Result:
        request = self._request(task_vars)
        chosen = request.policy.get("firebreak_cases_dir")
        cases = folder_of.place(str(chosen) if chosen is not None else None, os.environ, bool(awx(task_vars)))
        if self._task.check_mode:
            self._check_brakes(request, task_vars)
            return self._predict(request, task_vars)
        folder = folder_of.CaseFolder(cases, request.case)
        case = _Case(folder, self._common(request, task_vars))
        try:
            self._check_brakes(request, task_vars)
        except BrakeError as error:
            case.add(
                "refused", outcome={"verdict": "failed", "reasons": [str(error)]}, arguments=self._arguments(request)
            )
            raise
        case.add("started", arguments=self._arguments(request))
        recorded = False
        start = time.monotonic()
        try:
            result = self._act(request, task_vars, folder, case)
            result.setdefault("seconds", {})["total"] = round(time.monotonic() - start, 3)
            recorded = True
            return self._finished(request, result, case)
        finally:
            if not recorded:  # a time limit, an interruption, a mistake of ours: the ledger must not end in "started"
                case.add("interrupted", outcome={"verdict": "unknown", "reasons": ["the controller was interrupted"]})

    def _common(self, request: Request, task_vars: dict[str, Any]) -> records.Record:
        return {
            "host": request.host,
            "actor": actor(task_vars),
            "action": self.MODULE,
            "run": uuid.uuid4().hex,
        }

    def _arguments(self, request: Request) -> object:
        return records.arguments(request.sent, bool(self._task.no_log))

    def _plan(self, request: Request) -> Plan:
        within = request.full.get("confirm_within")
        return Plan(
            self.WORD,
            self.isolates(request.full),
            self.second(request.full),
            float(within) if isinstance(within, int) else 60.0,
        )

    def _say(self, request: Request, text: str) -> None:
        # On stderr, where it does not spoil a callback that writes JSON to stdout.
        self._display.display(f"{printable(request.host)}: {text}", stderr=True)

    def _predict(self, request: Request, task_vars: dict[str, Any]) -> Result:
        link = Link(self, self.MODULE, request.sent, task_vars, longest(request.full))
        result: Result = predict(link, self.WORD)
        return self._closed(request, result, link)

    def _act(self, request: Request, task_vars: dict[str, Any], folder: folder_of.CaseFolder, case: _Case) -> Result:
        link = Link(self, self.MODULE, request.sent, task_vars, longest(request.full))
        max_bytes = request.full.get("max_bytes")
        evidence = Evidence(
            folder,
            request.host,
            str(request.full.get("tier", "evidence")),
            max_bytes if isinstance(max_bytes, int) else _MAX_BYTES,
        )

        def received(event: str, produced: list[dict[str, object]]) -> str:
            return case.add(event, produced=produced)

        turn = Round(link, self._plan(request), evidence, lambda text: self._say(request, text), received, case.text())
        result: Result = turn.go()
        if evidence.result:
            result["evidence"] = evidence.result
            for key in ("bundle", "manifest"):
                if key in result:
                    result[key] = evidence.result["path" if key == "bundle" else key]
        return self._closed(request, result, link)

    def _closed(self, request: Request, result: Result, link: Link) -> Result:
        """What every result has: a message without a word of the host, the case, the seconds, and whether it failed."""
        word = str(result[self.WORD])
        result["case"] = request.case
        result["seconds"] = dict(link.seconds)
        result["msg"] = f"{request.host}: {word}" + ("" if verdict_of.ok(word) else ", see reasons")
        if not result.get("unreachable"):
            result["failed"] = not verdict_of.ok(word)
        return result

    def _finished(self, request: Request, result: Result, case: _Case) -> Result:
        outcome: records.Record = {
            "verdict": result[self.WORD],
            "changed": result["changed"],
            "reasons": result["reasons"],
            "unreachable": bool(result.get("unreachable")),
            "rolled_back": bool(result.get("rolled_back")),
        }
        drift = verdict_of.drift(result)
        if drift:  # the host forgets it at its release; the case does not
            outcome["drift"] = {"count": len(drift), "last": [{key: text[:_TEXT] for key, text in one.items()} for one in drift[-_DRIFT:]]}
        timeline = result.get("timeline")
        try:
            case.add(
                "finished",
                True,
                outcome=outcome,
                seconds=result["seconds"],
                timeline=timeline if isinstance(timeline, list) else [],
            )
        except CaseError as error:
            # The host has been dealt with: its result counts, and so does it that the record of it is missing.
            result["reasons"].append(str(error))
            if verdict_of.ok(str(result[self.WORD])):
                result[self.WORD] = "partial"
                result["failed"] = True
                result["msg"] = f"{request.host}: partial, see reasons"
        result["ledger"] = {"path": case.ledger.path, "count": case.at.count, "head": case.at.head}
        return result


class _Case:
    """The ledger of the case, for one task: what all its records have in common, and how far it went."""

    def __init__(self, folder: folder_of.CaseFolder, common: records.Record) -> None:
        self.ledger = Ledger(folder.ledger, folder.case)
        self.common = common
        self.at = records.Checkpoint(0, records.START)

    def add(self, event: str, checkpoint: bool = False, **values: object) -> str:
        """Append a record; the checkpoint after it as a text. Raises CaseError."""
        self.at = self.ledger.append([{**self.common, "event": event, **values}], checkpoint)
        return self.text()

    def text(self) -> str:
        """The checkpoint as it goes into the host's journal."""
        return f"ledger count={self.at.count} head={self.at.head}"
