# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the module `suspicious_process`: options in, result out. `contain` uses `judged`, `predicted`, `second_look`."""

from __future__ import annotations

import os
import time

from .._arguments import strings
from .._errors import HostError, OptionError
from .._host._journal import tell
from .._host._processes import first_look
from .._host._sockets import read_sockets
from .._host._workdir import Workdir, elsewhere, told_damage, unknown_here
from ._again import describe, survivors
from ._decide import FREEZE, REPORT, TERMINATE
from ._freeze import STOPPED, entries_of, state_of, thaw
from ._report import difference, result
from ._suspects import Suspects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._host._processes import Process
    from .._host._sockets import Socket
    from .._timeline import Timeline

NOT_COVERED = [
    "processes that hide from /proc, mounts over /proc entries, and threads",
    "sockets of other network namespaces: peers of processes in containers are not seen",
    "restart by systemd units and timers, at, rc scripts, udev and supervisors: named where something came back, not disabled",
    "cron scripts in /etc/cron.hourly and its like, and entries that reach a program by another name than its path",
    "cgroup freezer and cgroup.kill",
    "memory of processes",
    "a deadline for frozen processes: they stay stopped until they are released, or until another process of the same user, or root, lets"
    " them go on (kill -CONT); the second look says which run again",
]
NO_SECOND_LOOK = "second look: none was wanted (second_look: 0), so what comes back after the kill is not seen"
_AUTONOMY = {"reported": REPORT, "frozen": FREEZE, "terminated": TERMINATE}
# The longest wait for the second look, in seconds; the controller says the same before it connects. Cron needs more than 60.
_LONGEST = 600


def run(params: Mapping[str, object], check_mode: bool, diff: bool, timeline: Timeline) -> dict[str, object]:
    """The module's documented result. Raises FirebreakError; nothing was changed then unless its message says so."""
    if os.geteuid() != 0:
        raise HostError("suspicious processes need root on the host; nothing was changed. Set become: true")
    seconds = params["second_look"]
    if not isinstance(seconds, int) or not 0 <= seconds <= _LONGEST:
        raise OptionError("second_look", seconds, "must be from 0 to {0} seconds".format(_LONGEST))
    work = Workdir(str(params["case"]), writable=not check_mode)
    if params["_checkpoint"] and not check_mode:
        tell(work.case, str(params["_checkpoint"]))
    found: dict[str, object]
    if params["_phase"] == "finish":
        found = {"changed": False}
        if seconds:
            found = second_look(work, params, first_look(), read_sockets())
        received = params["_received"]
        if isinstance(received, dict) and received and not check_mode:
            from .._evidence._fetch import discard

            found["discarded"] = discard(work, received.get("name"), received.get("sha256"))
    elif params["state"] == "released":
        found = release(work, diff)
    else:
        found = _act(work, params, check_mode, diff, timeline)
        if not seconds:
            found["not_covered"] = [*strings(found["not_covered"]), NO_SECOND_LOOK]
    found["timeline"] = timeline.steps
    return told_damage(work, found, params["state"] == "released" and not work.read().get("isolation"))


def suspects_of(
    params: Mapping[str, object], processes: dict[int, Process], sockets: list[Socket], named: bool = True,
) -> Suspects:
    """The suspects of a reading, as the module's options ask for them."""
    pids = params["pids"]
    return Suspects(
        processes, sockets, pids=[int(pid) for pid in pids] if named and isinstance(pids, list) else [],
        spare=strings(params["spare"]), critical=strings(params["critical_services"]), deep=True)


def _act(work: Workdir, params: Mapping[str, object], check_mode: bool, diff: bool, timeline: Timeline) -> dict[str, object]:
    autonomy = _AUTONOMY[str(params["state"])]
    from .._evidence._context import Context

    context = Context()
    suspects = suspects_of(params, context.processes, context.sockets)
    suspects.work = work
    suspects.find()
    suspects.decide(autonomy)
    timeline.mark("suspects found")
    if autonomy == REPORT:
        return dict(judged(suspects, autonomy, diff), verdict="reported", reasons=[])
    if check_mode:
        return predicted(suspects, autonomy, diff)
    if not any(state_of(one.process) != "T" or one.action == TERMINATE for one in suspects.targets):
        suspects.freeze(work)  # all of them stand still: nothing is sent, nothing would be destroyed
        return judged(suspects, autonomy, diff)
    from .._evidence import _collectors, _run as evidence_run
    from .._evidence._bundle import Bundle

    bundle = Bundle(work, "volatile", work.case)
    _collectors.run(bundle, context, ["sockets", "first_look", "namespace_sockets"])
    bundle.sync()
    suspects.freeze(work)
    timeline.mark("suspects stopped")
    suspects.capture(bundle, deferred=True)
    timeline.mark("suspects captured")
    suspects.kill()
    timeline.mark("last suspect dead")
    suspects.capture_rest(bundle)
    found = judged(suspects, autonomy, diff)
    found["evidence"] = evidence_run.describe(bundle, context)
    if bundle.outcome != "complete":
        found["missing"] = bundle.missing
    return found


def predicted(suspects: Suspects, autonomy: str, diff: bool = False) -> dict[str, object]:
    """Check mode: who would be stopped and ended, and what would be disabled. After `find` and `decide`; writes nothing."""
    found = result(suspects, would=True)
    reasons = left_alone(suspects)
    found.update(
        changed=any(one.action == TERMINATE or state_of(one.process) not in STOPPED for one in suspects.targets),
        verdict="would_be " + ("partial" if reasons else "contained"), reasons=reasons, not_covered=list(NOT_COVERED))
    if diff:
        found["diff"] = difference(suspects, True)
    return found


def judged(suspects: Suspects, autonomy: str, diff: bool = False) -> dict[str, object]:
    """The result after the kill, with a look at once; `contained` if everything that should stand still or be dead is."""
    found = result(suspects)
    reasons = left_alone(suspects)
    count = {word: sum(1 for one in suspects.targets if one.outcome == word) for word in ("kept", "pending", "changed")}
    if count["kept"]:
        reasons.append("{0} processes were not ended, for their evidence could not be taken; they stay stopped".format(count["kept"]))
    if count["pending"]:
        reasons.append("{0} processes have not died yet".format(count["pending"]))
    if count["changed"]:
        reasons.append("{0} processes became another program in the meantime and were left alone".format(count["changed"]))
    if not suspects.stable:
        reasons.append("new suspects were started faster than they could be stopped")
    if suspects.not_disabled:
        reasons.append("{0} cron tables that would start them again could not be changed".format(len(suspects.not_disabled)))
        found["not_disabled"] = suspects.not_disabled
    failed = [one for one in suspects.targets if autonomy != REPORT and not one.frozen and one.outcome == ""]
    if failed:
        reasons.append("{0} processes could not be stopped".format(len(failed)))
    found["survivors"] = alive = suspects.look_again() if found["terminated"] or count["pending"] else []
    if len(alive) > count["pending"]:
        reasons.append("{0} processes came back at once".format(len(alive) - count["pending"]))
    found.update(
        changed=bool(found["terminated"] or suspects.disabled or suspects.stopped),
        verdict=_verdict(reasons, autonomy == REPORT or bool(found["terminated"] or found["frozen"])), reasons=reasons, not_covered=list(NOT_COVERED))
    if suspects.without_pidfd:
        found["not_covered"] = [*NOT_COVERED, "this kernel has no pidfd: processes were stopped, compared and killed by number"]
    if diff:
        found["diff"] = difference(suspects, False)
    return found


def left_alone(suspects: Suspects) -> list[str]:
    """What nothing was or will be done about though it looks bad, or was asked for.

    Programs that the site spares and our own session are not among it: that they are left alone is what was meant.
    """
    reasons = []
    running = [one for one in suspects.findings if one.spared is None and one.level != REPORT and one.action == REPORT]
    if running:
        reasons.append("{0} processes with strong signs were left alone, as the autonomy is {1}".format(len(running), suspects.autonomy))
    spared = [one for one in suspects.findings if one.spared is not None and (one.level != REPORT or one.named)]
    told = [one for one in spared if one.named or one.spared in ("critical service", "part of the system", "the SSH server", "process 1")]
    if told:
        reasons.append("{0} processes with strong signs or named were spared; spared says why".format(len(told)))
    ended = {entry["pid"] for entry in entries_of(suspects.work.read(), "terminated")} if suspects.work is not None else set()
    unknown = [str(pid) for pid in suspects.unknown if pid not in ended]
    if unknown:
        reasons.append("pids: there is no process {0}".format(", ".join(unknown)))
    return reasons


def _verdict(reasons: list[str], as_meant: bool) -> str:
    """`as_meant`: something was done, or nothing was to be done."""
    if not reasons:
        return "contained"
    return "partial" if as_meant else "failed"


def second_look(
    work: Workdir, params: Mapping[str, object], processes: dict[int, Process], sockets: list[Socket],
) -> dict[str, object]:
    """The second run, some seconds after the kill: what lives on, what came back, what is new. Nothing is done about it.

    `processes`, `sockets`: of a reading of just now, made anew where there was still time to wait.
    """
    state = work.read()
    autonomy = str(params["autonomy"]) if "autonomy" in params else _AUTONOMY.get(str(params.get("state")), REPORT)
    ended_at = state.get("ended_at")
    if isinstance(ended_at, (int, float)):
        left = float(str(params["second_look"])) - (time.clock_gettime(time.CLOCK_BOOTTIME) - ended_at)
        if left > 0:
            time.sleep(min(left, _LONGEST))
            processes, sockets = first_look(), read_sockets()
    # A number that the operator named may have been given to somebody else since; who was ended is known by start time too.
    suspects = suspects_of(params, processes, sockets, named=False)
    suspects.find()
    suspects.decide(autonomy)
    alive = survivors(state, processes=processes)
    known = {entry["pid"] for entry in alive}
    for one in suspects.targets:
        if one.process.pid in known or (one.action == FREEZE and state_of(one.process) in STOPPED):
            continue
        alive.append(describe(one.process, "should have been {0}".format("stopped" if one.action == FREEZE else "ended")))
    running = 0
    for entry in entries_of(state, "frozen"):
        process = processes.get(int(str(entry["pid"])))
        if process is not None and process.start == entry.get("start") and process.alive and state_of(process) not in STOPPED + "D":
            running += process.pid not in {one["pid"] for one in alive}
    reasons = left_alone(suspects)
    if alive:
        reasons.append("second look: {0} processes live that should not; survivors names them".format(len(alive)))
    if running:
        reasons.append("second look: {0} processes that were stopped run again".format(running))
    return {
        "changed": False, "verdict": "partial" if reasons else ("contained"),
        "reasons": reasons, "survivors": alive[:200], "not_covered": list(NOT_COVERED),
    }


def release(work: Workdir, diff: bool = False) -> dict[str, object]:
    """Thaw what we have stopped and give back what we have disabled. In check mode: what would be."""
    from . import _restart as restarting

    thawed, failed = thaw(work)
    restored, not_restored = restarting.restore(work)
    reasons = []
    if failed:
        reasons.append("{0} processes could not be thawed".format(len(failed)))
    if not_restored:
        reasons.append("{0} cron tables were not given back; not_restored says why".format(len(not_restored)))
    changed = bool(thawed or restored)
    reasons += elsewhere(work)
    beside = [] if reasons or changed else unknown_here(work)
    if work.writable and work.read():
        work.update(frozen=failed or None, terminated=None, ended_at=None)
        if restored:
            restarting.forget(work, not_restored)
        if changed:
            tell(work.case, "released: {0} processes thawed, {1} cron tables given back".format(len(thawed), len(restored)))
    found: dict[str, object] = {
        "changed": changed, "verdict": ("" if work.writable else "would_be ") + ("partial" if reasons else "released"),
        "reasons": reasons + beside,
        "findings": [], "terminated": [], "frozen": [], "survivors": [], "spared": [], "thawed": thawed, "restored": restored,
        "not_restored": not_restored, "not_covered": list(NOT_COVERED),
    }
    if diff:
        header = "processes and cron tables of this case"
        before = ["{0} stopped {1}".format(one["pid"], one.get("name", "")) for one in thawed]
        before += ["{0} disabled".format(one["file"]) for one in restored]
        found["diff"] = {
            "before": "".join(line + "\n" for line in before), "before_header": header, "after_header": header,
            "after": "".join(line.replace(" stopped ", " running ", 1).replace(" disabled", " given back") + "\n" for line in before)}
    return found
