# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Suspects as a result: escaped, bounded, each with one sentence that a tired person understands."""

from __future__ import annotations

import os
import time

from .._text import printable
from ._decide import FREEZE, REPORT, TERMINATE, Finding
from ._facts import image_of
from ._freeze import state_of
from ._never import units_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._suspects import Suspects

_SHOWN = 200
_PEERS = 20


def since(ticks: int) -> str:
    """The moment (by the host's clock) at which a process was started, from ticks since boot."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(boot + ticks / os.sysconf("SC_CLK_TCK")))


def _peers(one: Finding, suspects: Suspects) -> list[str]:
    found = []
    for socket in suspects.world.peers(one.process)[:_PEERS]:
        address = "[{0}]".format(socket.remote_address) if ":" in socket.remote_address else socket.remote_address
        found.append("{0} {1}:{2}".format(socket.protocol, address, socket.remote_port))
    return found


def brief(one: Finding) -> dict[str, object]:
    """Who it is, for the short lists."""
    process = one.process
    return {
        "pid": process.pid, "start": process.start, "name": printable(process.name, 64), "exe": printable(process.exe or ""),
        "command_line": printable(" ".join(process.argv)),
    }


def sentence(one: Finding, parent: str, peers: list[str]) -> str:
    """What, why, since when, started by whom, talking to whom. Escaped."""
    process = one.process
    signs = [str(rule["title"]) for rule in sorted(one.rules, key=lambda rule: ("strong", "medium", "weak").index(str(rule["grade"])))]
    if one.named:
        signs.insert(0, "was named by the operator")
    if one.kin_of is not None:
        signs.append("{0} ({1})".format(
            {"its child": "is a child", "its parent": "is the parent"}.get(one.kinship, one.kinship) + " of a process that is to end", one.kin_of))
    text = "{0} ({1}) {2}; since {3}, started by {4}".format(
        printable(process.name, 64), process.pid, "; ".join(signs), since(process.start), parent)
    return text + ("; talks to " + ", ".join(peers) if peers else "")


def entry(one: Finding, suspects: Suspects) -> dict[str, object]:
    """A finding in full."""
    process = one.process
    parent = suspects.processes.get(process.ppid)
    who = "{0} ({1})".format(printable(parent.name, 64), parent.pid) if parent is not None else "a process that is gone"
    peers = _peers(one, suspects)
    units = units_of(process)
    return dict(
        brief(one), user=process.uid, state=process.state, since=since(process.start),
        parent={"pid": process.ppid, "name": printable(parent.name, 64) if parent is not None else "",
                "exe": printable(image_of(parent)) if parent is not None else ""},
        unit=printable(units[-1], 128) if units else "", peers=peers,
        rules=[{key: rule[key] for key in ("id", "title", "grade", "family", "attack", "falsepositives")} for rule in one.rules],
        level=one.level, action=one.action, named=one.named, kin_of=one.kin_of, kinship=one.kinship, spared=one.spared,
        captured=one.captured, outcome=one.outcome, why=sentence(one, who, peers),
    )


def result(suspects: Suspects, would: bool = False) -> dict[str, object]:
    """{"findings", "terminated", "frozen", "survivors", "spared", "disabled", "omitted"}.

    `would`: in check mode, "terminated" and "frozen" are those that would be.
    """
    findings = suspects.findings
    if would:
        ended = [one for one in findings if one.action == TERMINATE]
        stopped = [one for one in findings if one.action == FREEZE]
    else:
        ended = [one for one in findings if one.outcome == "terminated"]
        stopped = [one for one in findings if one.frozen and one.outcome in ("", "kept", "pending") and one.action != REPORT]
    disabled = suspects.disabled
    if would:
        from ._restart import shown

        disabled = [shown(found) for found in suspects.restarts() if not found.refused]
    return {
        "findings": [entry(one, suspects) for one in findings[:_SHOWN]],
        "terminated": [brief(one) for one in ended[:_SHOWN]],
        "frozen": [brief(one) for one in stopped[:_SHOWN]],
        "spared": [dict(brief(one), why=one.spared) for one in findings if one.spared is not None][:_SHOWN],
        "survivors": [],
        "disabled": disabled,
        "omitted": max(0, len(findings) - _SHOWN),
    }


def difference(suspects: Suspects, would: bool) -> dict[str, str]:
    """The targets before and after, a line each, for diff mode."""
    before = []
    after = []
    for one in suspects.findings:
        if one.action == REPORT:
            continue
        line = "{0} {1} {2}".format(one.process.pid, "stopped" if state_of(one.process) == "T" else "running",
                                    printable(" ".join(one.process.argv) or one.process.name, 160))
        before.append(line)
        dead = one.action == TERMINATE if would else one.outcome in ("terminated", "gone")
        if not dead:
            stopped = would or one.frozen
            after.append(line.replace(" running ", " stopped ", 1) if stopped else line)
    header = "suspicious processes"
    return {"before": "".join(line + "\n" for line in before), "after": "".join(line + "\n" for line in after),
            "before_header": header, "after_header": header}
