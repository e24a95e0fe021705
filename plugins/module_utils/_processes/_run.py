# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the module `suspicious_process`: options in, result out. `contain` uses the judgements."""

from __future__ import annotations

import os
import signal
import time

from .._errors import HostError, OptionError
from .._host._journal import tell
from .._host._processes import first_look, now, read_process
from .._host._sockets import read_sockets
from .._host._workdir import Workdir
from . import _decide as decide
from ._restart import disable, restarters, restore
from ._suspects import Suspects, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_COVERED = [
    "restart by systemd units, timers, at, rc.local, udev and supervisors: looked for again after the kill, not disabled",
    "memory of the processes; processes that hide from the listing",
    "a deadline for what is frozen",
    "site rules: the shipped ones alone are used",
]
_AUTONOMY = {"reported": decide.REPORT, "frozen": decide.FREEZE, "terminated": decide.TERMINATE}


def strings(value: object) -> list[str]:
    """A list option as texts."""
    return [str(entry) for entry in value] if isinstance(value, list) else []


def numbers(value: object) -> list[int]:
    """A list option as numbers."""
    return [int(entry) for entry in value] if isinstance(value, list) else []


def run(params: Mapping[str, object], check_mode: bool, diff: bool) -> dict[str, object]:
    """The module's documented result. Raises FirebreakError; nothing was changed then unless its message says so."""
    if os.geteuid() != 0:
        raise HostError("processes of others need root on the host; nothing was changed. Set become: true")
    work = Workdir(str(params["case"]), writable=not check_mode)
    if params["_checkpoint"] and not check_mode:
        tell(work.case, str(params["_checkpoint"]))
    if params["state"] == "released":
        return _release(work, check_mode)
    if params["_phase"] == "finish":
        return _finish(work, params, diff)
    suspects = Suspects(
        first_look(), read_sockets(), None, pids=numbers(params["pids"]), spare=strings(params["spare"]),
        critical=strings(params["critical_services"]))
    suspects.find()
    autonomy = _AUTONOMY[str(params["state"])]
    suspects.decide(autonomy)
    if params["state"] == "reported":
        return {**suspects.as_result(), "verdict": "reported", "reasons": [], "changed": False, "disabled": [],
                "not_covered": list(NOT_COVERED)}
    if check_mode:
        return predicted(suspects, autonomy, diff)
    evidence = act(suspects, work, params) if suspects.acting else None
    result = judged(suspects, autonomy, diff)
    if evidence is not None:
        result["evidence"] = evidence
    return result


def act(suspects: Suspects, work: Workdir, params: Mapping[str, object]) -> dict[str, object]:
    """Stop, capture, disable, end; the evidence of it."""
    from .._evidence import _run as evidence_run
    from .._evidence._bundle import Bundle
    from .._evidence._context import Context

    suspects.freeze(work)
    bundle = Bundle(work, "volatile", work.case)
    suspects.capture(bundle)
    bundle.sync()
    end(suspects, work)
    return evidence_run.describe(bundle, Context())


def end(suspects: Suspects, work: Workdir) -> None:
    """Disable what would start them again, then end them. Their capture must be safe by now."""
    suspects.disabled.extend(disable(work, {path for one in suspects.ending for path in one.paths}))
    suspects.kill()
    if suspects.ending:
        tell(work.case, "ended {0} processes: {1}".format(
            len(suspects.ending), " ".join(str(one.process.pid) for one in suspects.ending)))


def _difference(suspects: Suspects, after: bool) -> dict[str, str]:
    before = ["{0} {1}\n".format(one["pid"], one["exe"]) for one in (shown(each) for each in suspects.findings)]
    left = ["{0} {1} {2}\n".format(one.process.pid, shown(one)["exe"], _future(one, after)) for one in suspects.findings]
    return {"before_header": "suspects", "after_header": "suspects", "before": "".join(before),
            "after": "".join(line for line in left if not line.endswith("ended\n"))}


def _future(one: decide.Finding, after: bool) -> str:
    if after and one.action == decide.TERMINATE and one.outcome not in ("terminated", "gone"):
        return one.outcome or "alive"
    return {decide.TERMINATE: "ended", decide.FREEZE: "stopped", decide.REPORT: "untouched"}[one.action]


def predicted(suspects: Suspects, autonomy: str, diff: bool) -> dict[str, object]:
    """Check mode: who would be stopped and ended, and what would be disabled. Nothing is touched."""
    disabled = [{"kind": "cron", "path": table} for table, _before, _after
                in restarters({path for one in suspects.ending for path in one.paths})]
    result: dict[str, object] = {
        **suspects.as_result(), "terminated": [shown(one) for one in suspects.ending], "survivors": [],
        "frozen": [shown(one) for one in suspects.acting if one.action == decide.FREEZE],
        "disabled": disabled, "verdict": "would_be contained", "reasons": _left_alone(suspects, autonomy),
        "changed": bool(disabled) or any(_would_change(one) for one in suspects.acting), "not_covered": list(NOT_COVERED),
    }
    if diff:
        result["diff"] = _difference(suspects, False)
    return result


def _would_change(one: decide.Finding) -> bool:
    return one.action == decide.TERMINATE or now(one.process, one.process.root) not in ("T", "t")


def _left_alone(suspects: Suspects, autonomy: str) -> list[str]:
    left = [one for one in suspects.findings if one.spared is None and one.level != decide.REPORT and one.action == decide.REPORT]
    return ["{0} suspects still run: the autonomy is {1}".format(len(left), autonomy)] if left else []


def judged(suspects: Suspects, autonomy: str, diff: bool) -> dict[str, object]:
    """The result with its verdict: `contained` where every suspect is stopped or dead."""
    lists = suspects.as_result()
    reasons = _left_alone(suspects, autonomy)
    survivors = lists["survivors"]
    if isinstance(survivors, list) and survivors:
        reasons.append("{0} processes could not be ended; survivors names them and their state".format(len(survivors)))
    partial = sum(1 for one in suspects.acting if one.captured == "partial" and one.outcome != "gone")
    if partial:
        reasons.append("of {0} suspects not everything could be captured".format(partial))
    result: dict[str, object] = {
        **lists, "disabled": suspects.disabled, "verdict": "partial" if reasons else "contained", "reasons": reasons,
        "changed": bool(suspects.stopped or suspects.disabled or any(one.outcome == "terminated" for one in suspects.findings)),
        "not_covered": list(NOT_COVERED),
    }
    if diff:
        result["diff"] = _difference(suspects, True)
    return result


def second_look(params: Mapping[str, object], diff: bool) -> dict[str, object]:
    """Whether anything came back after `second_look` seconds: new suspects are named, not touched."""
    seconds = params["second_look"]
    if not isinstance(seconds, int) or not 0 <= seconds <= 300:
        raise OptionError("second_look", seconds, "must be from 0 to 300 seconds")
    time.sleep(seconds)
    suspects = Suspects(
        first_look(), read_sockets(), None, spare=strings(params["spare"]), critical=strings(params["critical_services"]))
    suspects.find()
    autonomy = str(params["autonomy"]) if "autonomy" in params else _AUTONOMY[str(params["state"])]
    suspects.decide(autonomy)
    running = [one for one in suspects.acting if now(one.process, one.process.root) not in ("T", "t", "Z", "X", "x", None)]
    waiting = [one for one in suspects.ending if one not in running and now(one.process, one.process.root) in ("T", "t")]
    reasons = _left_alone(suspects, autonomy)
    if running or waiting:
        reasons.append("{0} suspects run at the second look: something started them again; run again".format(
            len(running) + len(waiting)))
    return {
        "verdict": "partial" if reasons else "contained", "reasons": reasons, "changed": False,
        "survivors": [{**shown(one), "state": now(one.process, one.process.root) or ""} for one in [*running, *waiting]],
    }


def _finish(work: Workdir, params: Mapping[str, object], diff: bool) -> dict[str, object]:
    from .._evidence import _run as evidence_run

    result = second_look(params, diff)
    received = params["_received"]
    if isinstance(received, dict) and received:
        removed = evidence_run.fetch(work, {"bundle": received.get("name"), "discard": True, "sha256": received.get("sha256")})
        result["discarded"] = removed["discarded"]
    return result


def _release(work: Workdir, check_mode: bool) -> dict[str, object]:
    """Thaw those that we froze and that are still who they were; give back what was disabled."""
    state = work.read()
    frozen = state.get("frozen")
    thawed: list[dict[str, object]] = []
    for record in frozen if isinstance(frozen, list) else []:
        process = read_process(int(record["pid"]))
        if process is None or process.start != record["start"] or process.state not in "Tt":
            continue
        thawed.append({"pid": process.pid, "exe": record["exe"]})
        if not check_mode:
            os.kill(process.pid, signal.SIGCONT)
    disabled = state.get("disabled")
    given: list[dict[str, object]] = []
    reasons: list[str] = []
    if check_mode:
        given = [{"kind": "cron"} for _record in (disabled if isinstance(disabled, list) else [])]
    elif disabled or frozen:
        given, reasons = restore(work)
        work.update(frozen=None)
        tell(work.case, "released: {0} processes thawed, {1} entries given back".format(len(thawed), len(given)))
    verdict = "would_be released" if check_mode else "partial" if reasons else "released"
    return {"verdict": verdict, "reasons": reasons, "changed": bool(thawed or given), "thawed": thawed, "restored": given,
            "not_covered": list(NOT_COVERED)}
