# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One task on one host: run, take the evidence in, get back in over a fresh connection, run again, judge.

Knows neither Ansible's task nor the ledger's form: it gets a link to the host, a place for evidence, and two functions to
say and to record something.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.firebreak.response.plugins.plugin_utils import _answer as answer
from ansible_collections.firebreak.response.plugins.plugin_utils import _verdict as verdict_of
from ansible_collections.firebreak.response.plugins.plugin_utils._answer import Result
from ansible_collections.firebreak.response.plugins.plugin_utils._confirm import GRACE, insist
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import AnswerError
from ansible_collections.firebreak.response.plugins.plugin_utils._evidence import Evidence
from ansible_collections.firebreak.response.plugins.plugin_utils._link import Link, never_started
from ansible_collections.firebreak.response.plugins.plugin_utils._text import printable

SNAPSHOT = "firebreak.response.snapshot"
# How long a second run that confirms nothing is tried for.
_PATIENCE = 15.0


class Plan(NamedTuple):
    """What the options mean: `isolates`: a cut may be made; `second`: a second run is wanted whatever the first one says."""

    word: str
    isolates: bool
    second: bool
    confirm_within: float


def words_of(failed: object) -> list[str]:
    """Why a module failed, in its own words, escaped."""
    said = answer.strings(failed.get("reasons")) if isinstance(failed, Mapping) else []
    return said or [f"the host says: {answer.host_message(failed)}"]


def judge(word: str, result: Result, verdict: str, reasons: list[str]) -> Result:
    """The result with its verdict under the key `word`, with reasons for all that is no success, and with `changed`."""
    said = answer.strings(result.get("reasons"))
    missing = result.get("missing")
    if verdict not in verdict_of.SUCCESS and not said and isinstance(missing, list):
        said = [f"{item.get('collector')}: {item.get('why')}" for item in missing[:20] if isinstance(item, dict)]
    every = list(dict.fromkeys([*reasons, *said]))
    if verdict not in verdict_of.SUCCESS and not every:
        every = ["the host gave no reason"]
    result["reasons"] = every
    result[word] = verdict
    result["changed"] = bool(result.get("changed"))
    return result


def predict(link: Link, word: str) -> Result:
    """What the host says that would be, in check mode: one run, and nothing is written anywhere."""
    try:
        first = link.run("first_run", "apply")
        result, dummy = answer.plain(first)
    except AnsibleConnectionFailure as error:
        return judge(word, {"unreachable": True}, "unknown", [f"the host is not reached: {printable(str(error), 600)}"])
    except AnsibleError as error:
        return judge(word, {}, "failed", [f"the module could not be run: {printable(str(error), 600)}"])
    except AnswerError as error:
        return judge(word, {}, "failed", [str(error)])
    result.update(answer.interpreter(first))
    if answer.failed(first):
        return judge(word, result, "failed", words_of(first))
    result.update(answer.announced(first))
    result = judge(word, result, verdict_of.word(result.get(word)), [])
    result[word] = verdict_of.PREFIX + str(result[word])
    return result


class Round:
    """`say(text)` shows progress; `record(event, produced)` writes the ledger and gives the checkpoint's text."""

    def __init__(
        self,
        link: Link,
        plan: Plan,
        evidence: Evidence,
        say: Callable[[str], None],
        record: Callable[[str, list[dict[str, object]]], str],
        checkpoint: str,
    ) -> None:
        self.link = link
        self.plan = plan
        self.evidence = evidence
        self.reasons: list[str] = []
        self._say = say
        self._record = record
        self._checkpoint = checkpoint

    def go(self) -> Result:
        """The result without msg, failed and ledger. Raises CaseError where the controller cannot write the case."""
        result: Result = {"unreachable": True}
        try:
            result = self._go()
            return result
        finally:
            self.link.restore(bool(result.get("unreachable") or result.get("rolled_back")))

    def _go(self) -> Result:
        start = time.monotonic()
        try:
            if self.plan.isolates:
                # A cut that is wrong leaves the first run's connection without an answer: it must not wait for ever.
                self.link.renew(self.plan.confirm_within + GRACE)
            # Where no second run will tell it to the host's journal, the first one does.
            only = not (self.plan.isolates or self.plan.second)
            first = self._first(self._checkpoint if only else "")
        except AnsibleConnectionFailure as error:
            return self._lost(error, time.monotonic() - start)
        except AnsibleError as error:
            return self._judged({}, "failed", f"the module could not be run: {printable(str(error), 600)}")
        try:
            result, cut = answer.plain(first)
        except AnswerError as error:
            return self._judged({}, "failed", str(error))
        result.update(answer.interpreter(first))
        offer = self._offer(first)
        if offer is not None and offer.bundle.inline is not None and offer.manifest.inline is not None:
            self._take(offer, None)
            offer = None
        if answer.failed(first):
            if self.plan.isolates and not self.link.local and answer.broke_off(first):
                return self._recover("the run on the host broke off: " + "; ".join(words_of(first)), time.monotonic() - start, ended=True)
            return self._failed_first(result, first)
        if cut:
            self.reasons.append("the host's answer was larger than is believed; what is shown of it is not all")
        words = [verdict_of.word(result.get(self.plan.word))]
        armed = self._armed(result)
        if armed or self.plan.second or self.evidence.received:
            words, result = self._second(words, result, armed)
        if offer is not None and not result.get("unreachable"):
            self._fetch(offer)
        if self.evidence.reasons or cut:
            words.append("partial")
        return self._judged(result, verdict_of.worst(*words))

    def _first(self, checkpoint: str) -> object:
        """The first run: sent once; tried again, as often as the site says, only where it surely did not begin."""
        for left in range(self.link.retries, 0, -1):
            try:
                return self.link.run("first_run", "apply", checkpoint=checkpoint)
            except AnsibleConnectionFailure as error:
                if not never_started(error):
                    raise
                self._say(f"not reached; {left} more attempts")
        return self.link.run("first_run", "apply", checkpoint=checkpoint)

    # -- the parts of it ---------------------------------------------------------------------------------------------

    def _judged(self, result: Result, verdict: str, *reasons: str) -> Result:
        return judge(self.plan.word, result, verdict, [*reasons, *self.reasons, *self.evidence.reasons])

    def _failed_first(self, result: Result, first: object) -> Result:
        if self.plan.isolates:
            self.reasons.append(
                f"should a cut have begun all the same, the host takes it back by itself within {self.plan.confirm_within:g} seconds"
            )
        return self._judged(result, "failed", *words_of(first))

    def _offer(self, result: object) -> answer.Offer | None:
        try:
            return answer.offer(result, self.evidence.most)
        except AnswerError as error:
            self.evidence.reasons.append(str(error))
            return None

    def _take(self, offer: answer.Offer, fetch: Callable[[str, int, int], object] | None) -> bool:
        try:
            whole = self.evidence.take(offer, fetch)
        except AnswerError as error:
            self.evidence.reasons.append(str(error))
            return False
        self._checkpoint = self._record("received", self.evidence.produced)
        return whole

    def _armed(self, result: Result) -> bool:
        """Whether the host waits for a confirmation. Believed rather too often: an unneeded confirmation costs nothing."""
        if not self.plan.isolates:
            return False
        steps = result.get("steps")
        step = steps.get("isolation") if isinstance(steps, dict) else result
        changed = bool(step.get("changed")) if isinstance(step, dict) else True
        proof = verdict_of.proof(result)
        return changed or (bool(proof.get("rollback")) and proof.get("confirmed") is not True)

    def _attempt(self, renew: bool) -> object:
        if renew:
            self.link.renew(self.plan.confirm_within + GRACE)
        return self.link.run("second_run", "finish", received=self.evidence.received, checkpoint=self._checkpoint)

    def _second(self, words: list[str], result: Result, armed: bool) -> tuple[list[str], Result]:
        within = self.plan.confirm_within if armed else _PATIENCE
        self._say("cut made, confirming over a fresh connection" if armed else "second run on the host")

        def waiting() -> None:
            self._say(
                f"not reached; waiting until the host takes its isolation back ({GRACE:g} seconds more)"
                if armed
                else "not reached; one last try"
            )

        try:
            outcome = insist(lambda: self._attempt(armed), within, waiting)
        except AnsibleError as error:
            self.reasons.append(f"the second run could not be made: {printable(str(error), 600)}")
            return [*words, "failed" if armed else "partial"], result
        if outcome.answer is None:
            return self._unreached(words, result, armed, outcome.attempts)
        try:
            second, dummy = answer.plain(outcome.answer)
        except AnswerError as error:
            self.reasons.append(str(error))
            return [*words, "failed" if armed else "partial"], result
        if answer.failed(outcome.answer):
            self.reasons.extend(words_of(outcome.answer))
            return [*words, "failed" if armed else "partial"], result
        self.evidence.discarded(second)
        merged = verdict_of.merge(result, second)
        if self.plan.word in second:
            words = verdict_of.words(merged, self.plan.word)
        if armed:
            words.extend(self._confirmation(second, merged))
        return words, merged

    def _confirmation(self, second: Result, merged: Result) -> list[str]:
        if verdict_of.rolled_back(second):
            merged["rolled_back"] = True
            self.reasons.insert(0, self._advice("the host took its isolation back, because nobody had confirmed it"))
            return ["failed"]
        if not verdict_of.confirmed(second):
            self.reasons.insert(
                0, self._advice("the host did not accept the confirmation, and takes its isolation back")
            )
            return ["failed"]
        return []

    def _advice(self, what: str) -> str:
        return (
            f"{what} within {self.plan.confirm_within:g} seconds: see that management or management_networks hold the address by which "
            "the controller reaches the host, or leave management empty, and run again"
        )

    def _unreached(self, words: list[str], result: Result, armed: bool, attempts: int) -> tuple[list[str], Result]:
        result["unreachable"] = True
        if armed:
            self.reasons.append(
                f"the host is not reached over a fresh connection after {attempts} attempts, though it should have taken its isolation "
                "back by now: use its console"
            )
            return ["unknown"], result
        self.reasons.append("the host was lost before the second run")
        return [*words, "partial"], result

    def _lost(self, error: AnsibleConnectionFailure, elapsed: float) -> Result:
        """The first run never came back: either the host was never reached, or it was lost on the way."""
        why = f"the host is not reached: {printable(str(error), 600)}"
        if not self.plan.isolates or never_started(error) or self.link.local:
            return self._judged({"unreachable": True}, "unknown", why)
        return self._recover(f"the connection was lost during the run: {printable(str(error), 600)}", elapsed)

    def _recover(self, why: str, elapsed: float, ended: bool = False) -> Result:
        """The first run gave no word of its own. What it has cut is confirmed over a fresh connection, if it can be.

        `ended`: it is dead for sure, so that what the host says at first is what it will say.
        """
        self._say("the run on the host broke off; getting back in over a fresh connection")
        failed: list[object] = []

        def again() -> object:
            found = self._attempt(True)
            if answer.failed(found):
                failed[:] = [found]
                if ended:
                    return None
                # The first run may be at work still, without anybody to tell.
                raise AnsibleConnectionFailure("the host is not ready")
            return found

        # Whoever breaks the connection must not get the network back by it: what was cut is confirmed, if it can be.
        left = max(self.plan.confirm_within - elapsed, 0.0)
        try:
            outcome = insist(again, left, lambda: self._say("not confirmed; waiting until the host must have decided"))
            if outcome.answer is None:
                if failed:
                    return self._judged({}, "failed", why, "the host is reached again: run again", *words_of(failed[0]))
                return self._judged({"unreachable": True}, "unknown", why, "it may have been cut off: use its console")
            result, dummy = answer.plain(outcome.answer)
        except (AnsibleError, AnswerError) as broken:
            return self._judged({}, "unknown", why, printable(str(broken), 600))
        if verdict_of.rolled_back(result):
            result["rolled_back"] = True
            return self._judged(
                result, "failed", why, self._advice("the host took its isolation back, because nobody had confirmed it")
            )
        if verdict_of.confirmed(result):
            result["changed"] = True
            kept = "its isolation is confirmed, but nothing else is known of the first run, and its evidence stays on the host: run again"
            return self._judged(result, "partial", why, kept)
        return self._judged(result, "failed", why, "the first run was cut short; the host is reached again: run again")

    def _fetch(self, offer: answer.Offer) -> None:
        refused = self.evidence.no_room(offer)
        if refused:
            self.evidence.reasons.append(refused)
            return
        self._say(f"fetching {offer.bundle.size} bytes of evidence")

        def fetch(name: str, offset: int, length: int) -> object:
            return self.link.run(
                "evidence", "fetch", SNAPSHOT, piece={"bundle": name, "offset": offset, "length": length}
            )

        try:
            if self._take(offer, fetch):
                said = self.link.run(
                    "evidence", "finish", SNAPSHOT, received=self.evidence.received, checkpoint=self._checkpoint
                )
                self.evidence.discarded(answer.plain(said)[0])
        except (AnsibleError, AnswerError) as error:
            self.evidence.reasons.append(
                f"the evidence could not be fetched whole and stays on the host: {printable(str(error), 600)}"
            )
