# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The suspects of one run: find, decide, freeze, capture, kill, look again. Each step's work is in a file of its own."""

from __future__ import annotations

import os

from .._host._journal import tell
from .._host._processes import ancestors, read_process
from .._host._sockets import read_packet_sockets
from . import _freeze as freezing
from ._again import survivors
from ._decide import FREEZE, REPORT, TERMINATE, Finding, bounded, has_sign, spread
from ._facts import CHEAP, World, facts_of
from ._match import RuleSet
from ._never import Never
from ._report import result
from ._rules import RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._evidence._bundle import Bundle
    from .._host._processes import Process
    from .._host._sockets import Socket
    from .._host._workdir import Workdir
    from .._isolation._policy import Plan
    from ._restart import Entry


class Suspects:
    """What is suspected in one process table, and what is done about it.

    processes, sockets: of one look, not read again (processes that come later join the table); plan: of the isolation, what
    it allows is no outside peer; pids: named by the operator; spare: paths of programs; critical: names of systemd units;
    deep: ask the dear rules of every process (10 ms more on 300), not only of those that another rule hit.
    """

    def __init__(
        self, processes: dict[int, Process], sockets: Iterable[Socket], plan: Plan | None = None, *, pids: Iterable[int] = (),
        spare: Iterable[str] = (), critical: Iterable[str] = (), root: str = "/proc", own_pid: int | None = None, deep: bool = False,
        rules: list[dict[str, object]] | None = None, files: str = "/",
    ) -> None:
        self.processes = processes
        self.root = root
        self.files = files
        self.deep = deep
        self.pids = frozenset(pids)
        self.rules = RuleSet(RULES if rules is None else rules, CHEAP)
        self.world = World(processes, sockets, plan, root)
        self.never = Never(processes, os.getpid() if own_pid is None else own_pid, spare, critical)
        self.autonomy = REPORT
        self.findings: list[Finding] = []
        self.work: Workdir | None = None
        self.stable = True
        self.without_pidfd = False
        self.disabled: list[dict[str, object]] = []
        self.not_disabled: list[dict[str, object]] = []
        self._deferred: list[tuple[Finding, int]] = []
        self.stopped = 0
        # Numbers that the operator named and that no process has.
        self.unknown = sorted(pid for pid in self.pids if pid not in processes)

    @property
    def targets(self) -> list[Finding]:
        """The findings that something is done about."""
        return [one for one in self.findings if one.action != REPORT]

    def examine(self, process: Process) -> Finding | None:
        """What there is to say about one process; None where that is nothing, or weak signs alone."""
        named = process.pid in self.pids
        facts = facts_of(process, self.world)
        hits = self.rules.hits(facts)
        if hits or named or self.deep:
            hits = sorted({*hits, *self.rules.hits(facts, True)})
        rules = [self.rules.rules[number] for number in hits]
        if not named and not has_sign(rules):
            return None
        finding = Finding(process, facts, rules, named)
        finding.spared = self.never.reason(process, named)
        return finding

    def find(self) -> list[Finding]:
        """Look at every process; what is suspicious, worst first. Nothing is decided or done yet."""
        self.world.packet_inodes |= {socket.inode for socket in read_packet_sockets(self.root)}
        self.findings = []
        for process in self.processes.values():
            if process.alive and (not process.kernel_thread or process.pid in self.pids):
                finding = self.examine(process)
                if finding is not None:
                    self.findings.append(finding)
        self._spread()
        return self.findings

    def _spread(self) -> None:
        spread(self.findings)
        self._children()
        self.decide(self.autonomy)

    def _children(self) -> None:
        """Name what a process that is to end has started and that no rule knows: it is reported, so that somebody looks."""
        ending = {one.process.pid for one in self.findings if one.level == TERMINATE and one.spared is None}
        known = {one.process.pid for one in self.findings}
        for pid, process in list(self.processes.items()) if ending else []:
            if pid in known or not process.alive or process.kernel_thread:
                continue
            source = next((each for each in ancestors(self.processes, pid)[1:] if each in ending), None)
            if source is not None:
                finding = Finding(process, facts_of(process, self.world), [])
                finding.kin_of, finding.kinship = source, "started by it"
                self.findings.append(finding)

    def decide(self, autonomy: str) -> None:
        """Bound what the signs allow by the autonomy; who is spared, and what nobody may touch, is reported."""
        self.autonomy = autonomy
        order = (TERMINATE, FREEZE, REPORT)
        for one in self.findings:
            one.action = REPORT if one.spared is not None else bounded(one.level, autonomy)
        self.findings.sort(key=lambda one: (order.index(one.level), one.process.start, one.process.pid))

    @property
    def peers(self) -> list[str]:
        """Addresses elsewhere with which suspects have connections and nobody else, those of suspects too that the autonomy leaves alone.

        Else a suspect could have the host hang on a server that its own programs need, by calling there too.
        """
        found = [socket for one in self.findings if one.level != REPORT and one.spared is None for socket in self.world.peers(one.process)]
        theirs = {socket.inode for socket in found}
        others = {socket.remote_address for inode, socket in self.world.sockets.items() if inode not in theirs} if found else set()
        return sorted({socket.remote_address for socket in found} - others)

    def newcomers(self) -> bool:
        """Take in what has started since the last look; whether a target is among it."""
        count = len(self.targets)
        fresh = False
        for name in os.listdir(self.root):
            if not (name.isdigit() and name.isascii()) or int(name) in self.processes:
                continue
            process = read_process(int(name), self.root)
            if process is None:
                continue
            self.processes[process.pid] = process
            fresh = True
            finding = self.examine(process) if process.alive and not process.kernel_thread else None
            if finding is not None:
                self.findings.append(finding)
        if fresh:
            self._spread()
        return len(self.targets) > count

    def replaced(self, finding: Finding) -> bool:
        """Look afresh at a process whose image has changed under its number; whether it is still a target."""
        self.findings.remove(finding)
        process = read_process(finding.process.pid, self.root)
        if process is None or process.start != finding.process.start or not process.alive:
            return False
        self.processes[process.pid] = process
        self.world.forget(process.pid)
        fresh = self.examine(process)
        if fresh is None:
            return False
        fresh.frozen, fresh.was_stopped = finding.frozen, finding.was_stopped
        self.findings.append(fresh)
        self._spread()
        return fresh.action != REPORT

    def freeze(self, work: Workdir) -> int:
        """Stop every target, and what of their kind starts meanwhile, until nothing new comes; how many were stopped.

        `state.json` names them under "frozen" before the signal goes out. Raises HostError where it cannot be written.
        """
        self.work = work
        self.stopped += freezing.freeze(self, work)
        return self.stopped

    def capture(self, bundle: Bundle, deferred: bool = False) -> None:
        """Take what dies with the targets into the bundle and make it safe; a target of which this fails is not killed.

        `deferred`: files that a kill does not destroy are only opened now; `capture_rest` takes them after the kill.
        """
        if self.targets:  # most hosts of a fleet have none: there this and what follows is not even imported
            from ._capture import capture

            self._deferred = capture(self.targets, bundle, deferred)

    def capture_rest(self, bundle: Bundle) -> None:
        """Take the files that `capture` has put off."""
        if self._deferred:
            from ._capture import take_files

            take_files(self._deferred, bundle)
            self._deferred = []

    def restarts(self) -> list[Entry]:
        """Cron entries that would start again what is to end."""
        paths = {path for one in self.findings if one.action == TERMINATE for path in one.cron_paths}
        if not paths:
            return []
        from ._restart import find_entries

        return find_entries(paths, self.files)

    def kill(self) -> None:
        """Disable what would restart them, end the targets and wait for their death. Needs `freeze` and `capture` before."""
        if self.work is None:
            raise RuntimeError("freeze comes before kill")
        ending = [one for one in self.findings if one.action == TERMINATE]
        if not ending:
            return
        from . import _kill as killing
        from ._restart import disable

        tell(self.work.case, "ending {0} processes: {1}".format(len(ending), " ".join(str(one.process.pid) for one in ending)))
        killing.remember(self.work, ending)
        self.disabled, self.not_disabled = disable(self.work, self.restarts())
        self.without_pidfd = killing.kill(self, ending)
        killing.forget_dead(self.work, self.findings)

    def still_so(self, finding: Finding) -> bool:
        """Whether the rule that condemned a process still does, asked anew of the live process."""
        if finding.named:
            return True
        process = read_process(finding.process.pid, self.root)
        if process is None:
            return False
        self.world.forget(process.pid)
        facts = facts_of(process, self.world)
        before = {rule["id"] for rule in finding.rules}
        now = [*self.rules.hits(facts), *self.rules.hits(facts, True)]
        rules = [self.rules.rules[number] for number in now if self.rules.rules[number]["id"] in before]
        fresh = Finding(process, facts, rules)
        return fresh.level == TERMINATE or (finding.kin_of is not None and has_sign(rules))

    def look_again(self) -> list[dict[str, object]]:
        """Targets that live on, and what came back. Nothing is done about them."""
        return survivors(self.work.read() if self.work is not None else {}, self.root)

    def as_result(self) -> dict[str, object]:
        """The findings and what became of them, escaped and bounded; see `_report.result`."""
        return result(self)
