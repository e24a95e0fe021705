# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first run of a containment: evidence, isolation and termination interleaved, so that each step waits only for the
evidence that it would destroy."""

from __future__ import annotations

import os
import time

from ._arguments import strings
from ._contain import ORDER, WOULD_BE, merged
from ._errors import FirebreakError
from ._evidence import _collectors, _run as evidence_run
from ._evidence._bundle import Bundle
from ._evidence._context import Context
from ._evidence._take_network import start_firewall
from ._host._journal import tell
from ._host._patience import beside
from ._host._session import Session, management_session
from ._host._sockets import read_sockets
from ._isolation import _run as isolation_run
from ._isolation._control import Isolation
from ._isolation._preflight import Risk
from ._processes import _run as processes_run
from ._processes._suspects import Suspects
from ._text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._host._sockets import Socket
    from ._host._workdir import Workdir
    from ._timeline import Timeline

# What hostile input and a host without room can bring code to.
_FAILURES = (FirebreakError, OSError, MemoryError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
# What the cut and the kills would destroy; the firewall's rules must be read before ours are among them.
_BEFORE = ("sockets", "first_look", "firewall")
_BEFORE_THE_KILL = ("namespace_sockets",)


def session_seconds(session: Session, root: str = "/proc") -> float | None:
    """Seconds since the SSH session's process was started, or None where there is no session."""
    if session.source == "none" or not session.pids:
        return None
    for pid in reversed(session.pids):
        try:
            with open("{0}/{1}/stat".format(root, pid), "rb") as stat:
                fields = stat.read(4096)
        except OSError:
            continue
        if not fields[fields.find(b"(") + 1:].startswith(b"sshd"):
            continue
        if b"sshd" not in fields or int(fields[fields.rfind(b")") + 2:].split()[1]) == 1:
            continue  # the listener is older than the session
        began = int(fields[fields.rfind(b")") + 2:].split()[19]) / os.sysconf("SC_CLK_TCK")
        return round(time.clock_gettime(time.CLOCK_BOOTTIME) - began, 3)
    return None


class Containment:
    """The first run. The order of the calls in `run` is the order of principle: evidence, stop, cut, capture, kill."""

    def __init__(self, work: Workdir, params: Mapping[str, object], check_mode: bool, diff: bool,
                 timeline: Timeline) -> None:
        self.work = work
        self.params = params
        self.check_mode = check_mode
        self.diff = diff
        self.timeline = timeline
        asked = params["steps"]
        self.steps = [step for step in ORDER if isinstance(asked, list) and step in asked]
        self.results: dict[str, dict[str, object]] = {}
        self.context = Context(max_seconds=float(str(params["max_seconds"])))
        self.context.start()
        processes = self.context.processes  # first, for the sockets are read meanwhile
        start_firewall(self.context)
        self.session = management_session(processes, self.context.sockets)
        self.since = session_seconds(self.session)
        # Without a cut nobody can be locked out: then a session that cannot be told is no reason to refuse.
        transport = str(params["_transport"]) if "isolation" in self.steps else "local"
        self.plan = isolation_run.plan_of(params, self.session, transport)
        self.isolation = Isolation(work, self.plan, str(params["backend"]), layer2=str(params["layer2"])) if "isolation" in self.steps else None
        # Before anything is written: the bundle is a file.
        self.risks: list[Risk] = []
        if self.isolation is not None:
            self.isolation.inspect()
            self.risks = isolation_run.preflight(self.isolation, params, self.session, processes)
        self.suspects = Suspects(
            self.context.processes, self.context.sockets, self.plan, pids=_numbers(params["pids"]),
            spare=strings(params["spare"]), critical=strings(params["critical_services"]))
        self.bundle = Bundle(work, str(params["tier"]), work.case, int(str(params["max_bytes"])))
        self.coverage: dict[str, object] = {}
        self._sockets_after: Callable[[], list[Socket]] | None = None
        self._at_the_end: list[Socket] | None = None
        self.cut: list[dict[str, object]] = []
        self.evidence: dict[str, object] = {}
        # (step, what went wrong) after the cut
        self.trouble: list[tuple[str, str]] = []

    def run(self) -> dict[str, object]:
        """All steps that were asked for; the result."""
        if self.check_mode:
            return self._predict()
        run = {"pid": os.getpid(), "done": False}
        if self.isolation is not None and self.isolation.changed:
            isolation_run.arm(self.isolation, self.params, run=run)
        else:
            self.work.update(run=run)
        self.coverage.update(_collectors.run(self.bundle, self.context, _BEFORE))
        safe = beside(self.bundle.sync)
        if self.isolation is not None and self.isolation.changed:
            self.isolation.prepare()
        if "termination" in self.steps:
            self.suspects.find()  # while the disk is at work; nothing is done to anybody before the evidence is safe
        safe()
        self.timeline.mark("first look safe")
        if "termination" in self.steps:
            self.suspects.decide(str(self.params["autonomy"]))
            self.suspects.freeze(self.work)
            self.timeline.mark("suspects stopped")
        if self.isolation is not None and self.isolation.changed:
            self.isolation.silence(self.suspects.peers)
            self._cut(self.isolation)
        self._end()
        self._safely("snapshot", self._rest)
        if self.isolation is not None:
            self._safely("isolation", self.isolation.lower)  # not before what the kernel forgets with it is safe
        self._safely("snapshot", self._close)
        self._safely("isolation", lambda: self.work.update(run=None))
        return self._result()

    def _safely(self, step: str, work: Callable[[], None]) -> None:
        """Do what comes after the cut. What fails there is said and stops nothing: a run without a result would be taken for a
        lost one, and the host would take its isolation back, which is what whoever made it fail has wanted."""
        try:
            work()
        except _FAILURES as error:
            self.trouble.append((step, "{0}: {1}".format(type(error).__name__, printable(str(error), 300))))

    def _collect(self, names: tuple[str, ...]) -> None:
        self.coverage.update(_collectors.run(self.bundle, self.context, names))
        self.bundle.sync()

    def _cut(self, isolation: Isolation) -> None:
        isolation.cut()
        self.timeline.mark("ruleset in force")
        self._sockets_after = beside(read_sockets)
        self._safely("isolation", isolation.settle)

    def _end(self) -> None:
        """Capture, then destroy what was cut, then kill: in this order a program learns nothing before it is captured."""
        ending = "termination" in self.steps
        if ending:
            self._safely("snapshot", lambda: self._collect(_BEFORE_THE_KILL))
            # Files that a kill does not destroy are only held open now, and copied when the suspects are dead.
            self._safely("termination", lambda: self.suspects.capture(self.bundle, deferred=True))
            self.timeline.mark("suspects captured")
        if self.isolation is not None:
            isolation = self.isolation
            self._safely("isolation", lambda: self._destroy(isolation))
            self.timeline.mark("connections destroyed")
        if ending:
            self._safely("termination", self.suspects.kill)
            self.timeline.mark("last suspect dead")
        if self.isolation is not None:
            self._safely("isolation", self.isolation.frames)

    def _destroy(self, isolation: Isolation) -> None:
        """End what the cut has cut; on a host that was isolated before, what is left."""
        if self._sockets_after is not None:
            after = self._sockets_after()
            flows = sorted({*isolation.flows(self.context.sockets), *isolation.flows(after)})
            # Where there is nothing to end, the tables are not walked once more to see that it has ended.
            self._at_the_end = None if flows else after
        else:
            isolation_run.hold(isolation, self.params)
            flows = isolation.remaining()
        self.cut = isolation_run.describe(flows, self.context.processes, self.context.owners)
        isolation.destroy(flows)

    def _rest(self) -> None:
        if "snapshot" in self.steps:
            self._collect(tuple(name for name in _collectors.names() if name not in self.coverage))
            self.timeline.mark("volatile tier safe")
        if "termination" in self.steps:
            self.suspects.capture_rest(self.bundle)

    def _close(self) -> None:
        self.evidence = evidence_run.describe(self.bundle, self.context)
        self.timeline.mark("evidence closed")

    def _result(self) -> dict[str, object]:
        if self.isolation is not None:
            judged = isolation_run.judged(self.isolation, self.cut, self.diff, sockets=self._at_the_end)
            self.results["isolation"] = {**judged, **isolation_run.told(self.risks)}
        if "termination" in self.steps:
            self.results["termination"] = found = processes_run.judged(self.suspects, str(self.params["autonomy"]), self.diff)
            if not self.params["second_look"]:
                found["not_covered"] = [*strings(found["not_covered"]), processes_run.NO_SECOND_LOOK]
        complete = self.bundle.outcome == "complete"
        self.results["snapshot"] = {
            "outcome": self.bundle.outcome, "verdict": "contained" if complete else "partial", "changed": False,
            "coverage": self.coverage, "missing": self.bundle.missing, "summary": evidence_run.summary(self.context),
            "reasons": [] if complete else ["the evidence is not complete; steps.snapshot.missing lists what is missing"],
            "not_covered": list(evidence_run.NOT_COVERED),
        }
        if self.trouble:
            self.results["snapshot"].update(verdict="partial", reasons=[
                *strings(self.results["snapshot"]["reasons"]), *("{0}, after the cut: {1}".format(*one) for one in self.trouble)])
        tell(self.work.case, "contain: " + ", ".join(self.steps))
        return self._merged({"evidence": self.evidence} if self.evidence else {})

    def _predict(self) -> dict[str, object]:
        """Check mode: what would be cut, killed and taken. Nothing is written."""
        if "termination" in self.steps:
            self.suspects.find()
            self.suspects.decide(str(self.params["autonomy"]))
        if self.isolation is not None:
            if self.isolation.changed:
                self.isolation.silence(self.suspects.peers)
            self.results["isolation"] = isolation_run.predicted(
                self.isolation, self.params, self.context.sockets, self.context.processes, self.diff, self.risks)
        if "termination" in self.steps:
            self.results["termination"] = processes_run.predicted(self.suspects, str(self.params["autonomy"]), self.diff)
        return self._merged({})

    def _merged(self, more: dict[str, object]) -> dict[str, object]:
        result = merged(self.results)
        if self.check_mode:
            result["verdict"] = WOULD_BE + (str(result["verdict"]) if self.results else "contained")
        result.update(more)
        result["timeline"] = self.timeline.steps
        result["import_seconds"] = self.timeline.import_seconds
        result["session_seconds"] = self.since
        return result


def _numbers(value: object) -> list[int]:
    return [int(entry) for entry in value] if isinstance(value, list) else []
