# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The suspects of one run: found, judged, stopped until nothing moves, captured, ended, and looked for again."""

from __future__ import annotations

import os
import signal

from .._errors import OptionError
from .._host._processes import first_look, now, read_process
from .._host._sockets import own_addresses, owners, read_packet_sockets
from .._text import printable
from . import _decide as decide
from ._capture import capture
from ._decide import Finding
from ._facts import CHEAP, World, facts_of
from ._kill import kill
from ._match import RuleSet
from ._never import Never
from ._rules import RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._evidence._bundle import Bundle
    from .._host._processes import Process
    from .._host._sockets import Socket
    from .._host._workdir import Workdir
    from .._isolation._policy import Plan

# Rounds of stopping: a pair that starts each other anew is still after two, a fork bomb is not meant to be won here.
_ROUNDS = 10
_SHOWN = 200


class Suspects:
    """What the rules and the operator say about one table of processes.

    `plan`: flows that it allows are no outside peers; `pids`: named by the operator; `spare`: paths of programs;
    `critical`: names of units. Raises OptionError for a pid that does not run.
    """

    def __init__(
        self, processes: dict[int, Process], sockets: Iterable[Socket], plan: Plan | None = None, *, pids: Iterable[int] = (),
        spare: Iterable[str] = (), critical: Iterable[str] = (), root: str = "/proc",
    ) -> None:
        self.processes = processes
        self.plan = plan
        self.root = root
        self.named = frozenset(pids)
        self.spare = list(spare)
        self.critical = list(critical)
        for pid in self.named:
            if pid not in processes:
                raise OptionError("pids", pid, "the number of a process that runs")
        self.rules = RuleSet(RULES, CHEAP)
        self.findings: list[Finding] = []
        self.stopped = 0  # how many this run has stopped
        self.disabled: list[dict[str, object]] = []  # what this run has disabled
        self._sockets = list(sockets)
        self._world(processes, self._sockets)

    def _world(self, processes: dict[int, Process], sockets: list[Socket]) -> None:
        self.world = World(
            processes, sockets, self.plan, own_addresses(), [one.inode for one in read_packet_sockets()], self.root)
        self.never = Never(processes, os.getpid(), self.spare, self.critical)

    def _look(self, processes: Iterable[Process]) -> list[Finding]:
        found = []
        for process in processes:
            named = process.pid in self.named
            if not process.alive or (process.kernel_thread and not named):
                continue
            facts = facts_of(process, self.world)
            hits = self.rules.hits(facts)
            if hits or named:
                hits = sorted({*hits, *self.rules.hits(facts, deep=True)})
                finding = Finding(process, facts, [RULES[number] for number in hits], named)
                finding.spared = self.never.reason(process, named)
                found.append(finding)
        return found

    def find(self) -> list[Finding]:
        """Everything that a rule or the operator names; nothing is touched."""
        self.findings = self._look(self.processes.values())
        return self.findings

    def decide(self, autonomy: str) -> None:
        """What is done with each finding: its level, spread to its kin, bounded by the autonomy."""
        decide.spread(self.findings)
        for one in self.findings:
            one.action = decide.REPORT if one.spared else one.level if one.named else decide.bounded(one.level, autonomy)
        self._autonomy = autonomy

    @property
    def acting(self) -> list[Finding]:
        """Findings that are stopped or ended."""
        return [one for one in self.findings if one.action != decide.REPORT]

    @property
    def ending(self) -> list[Finding]:
        """Findings that are ended."""
        return [one for one in self.findings if one.action == decide.TERMINATE]

    def freeze(self, work: Workdir) -> int:
        """Stop them, in rounds until no new one appears; how many were stopped. What we stop is written down before."""
        for _round in range(_ROUNDS):
            fresh = [one for one in self.acting if not one.frozen]
            if not fresh:
                break
            written = work.read().get("frozen")
            records = list(written) if isinstance(written, list) else []
            for one in fresh:
                one.was_stopped = now(one.process, self.root) in ("T", "t")
                if not one.was_stopped:
                    records.append({"pid": one.process.pid, "start": one.process.start, "exe": printable(one.process.exe or "")})
            work.update(frozen=records)
            for one in fresh:
                one.frozen = True
                if now(one.process, self.root) is None:
                    one.outcome = "gone"
                elif not one.was_stopped:
                    os.kill(one.process.pid, signal.SIGSTOP)
                    self.stopped += 1
            self._join()
        return self.stopped

    def _join(self) -> None:
        """Take in what appeared since: children and kin of those that are being stopped."""
        table = first_look(self.root)
        new = {pid: process for pid, process in table.items()
               if pid not in self.processes or self.processes[pid].start != process.start}
        if not new:
            return
        self.processes.update(new)
        self._world(self.processes, self._sockets)
        self.findings.extend(self._look(new.values()))
        self.decide(self._autonomy)

    def capture(self, bundle: Bundle) -> None:
        """What the suspects hold goes into the bundle; it is safe once the caller has synced the bundle."""
        seen: set[tuple[int, int]] = set()
        for one in self.acting:
            capture(one, bundle, self.root, seen)

    def kill(self, seconds: float = 2.0) -> None:
        """End those that are to be ended and were captured; wait for their death."""
        kill([one for one in self.ending if one.captured and not one.outcome], self.root, seconds)

    def survivors(self) -> list[Finding]:
        """Those that should be dead and are not."""
        return [one for one in self.ending if now(one.process, self.root) not in (None, "Z", "X", "x")]

    def as_result(self) -> dict[str, object]:
        """The lists of the module's result, escaped and bounded."""
        alive = {id(one) for one in self.survivors()}
        dead = [one for one in self.ending if id(one) not in alive and one.outcome]
        stopped = [one for one in self.acting if one.action == decide.FREEZE and now(one.process, self.root) in ("T", "t")]
        return {
            "findings": [shown(one) for one in self.findings[:_SHOWN]],
            "terminated": [shown(one) for one in dead[:_SHOWN]],
            "frozen": [shown(one) for one in stopped[:_SHOWN]],
            "survivors": [{**shown(one), "state": now(one.process, self.root) or ""} for one in self.survivors()[:_SHOWN]],
            "spared": [{**shown(one), "why": one.spared} for one in self.findings[:_SHOWN] if one.spared],
        }

    def hold_sockets(self) -> None:
        """Scan every descriptor once, where the owners of all sockets are wanted anyway."""
        self.world.known(owners([one.inode for one in self._sockets], self.root))


def shown(one: Finding) -> dict[str, object]:
    """One finding for the result: identity, rules, what was done."""
    process = one.process
    fresh = read_process(process.ppid, process.root) if process.ppid else None
    return {
        "pid": process.pid, "ppid": process.ppid, "parent": printable(fresh.name, 64) if fresh is not None else "",
        "name": printable(process.name, 64), "exe": printable(process.exe or ""), "cmdline": printable(" ".join(process.argv)),
        "uid": process.uid, "rules": [str(rule["id"]) for rule in one.rules], "action": one.action,
        "kin_of": one.kin_of, "kinship": one.kinship, "captured": one.captured,
    }
