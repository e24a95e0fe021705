# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module `contain`: which of its two runs this is, and the steps' results as one."""

from __future__ import annotations

import os

from ._arguments import strings
from ._errors import HostError
from ._host._journal import tell
from ._host._workdir import Workdir, told_damage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._timeline import Timeline

ORDER = ("snapshot", "isolation", "termination")
# Worst first: the verdict of a containment is the worst of its steps.
_WORST = ("failed", "unknown", "partial", "reported", "contained")
WOULD_BE = "would_be "  # before a verdict of check mode


def run(params: Mapping[str, object], check_mode: bool, diff: bool, timeline: Timeline) -> dict[str, object]:
    """The module's documented result. Raises FirebreakError; nothing was changed then unless its message says so."""
    if os.geteuid() != 0:
        raise HostError("containment needs root on the host; nothing was changed. Set become: true")
    work = Workdir(str(params["case"]), writable=not check_mode)
    if params["_checkpoint"] and not check_mode:
        tell(work.case, str(params["_checkpoint"]))
    if params["_phase"] == "finish":
        return told_damage(work, _finish(work, params, diff))
    with timeline.importing():  # not in the second run, which needs a third of it: in a fleet, imports are what takes time
        from ._containment import Containment

    return told_damage(work, Containment(work, params, check_mode, diff, timeline).run())


def worst(verdicts: list[str]) -> str:
    """The verdict of the whole, without the word of check mode: the worst of its parts; `unknown` where there is none."""
    words = [verdict.replace(WOULD_BE, "") for verdict in verdicts]
    return min(words, key=lambda word: _WORST.index(word) if word in _WORST else 0) if words else "unknown"


def merged(results: Mapping[str, dict[str, object]]) -> dict[str, object]:
    """The steps' results as one: worst verdict, every reason with its step, changed if one of them changed."""
    reasons: list[str] = []
    not_covered: list[str] = []
    diffs: list[object] = []
    for step in ORDER:
        part = results.get(step, {})
        reasons.extend("{0}: {1}".format(step, reason) for reason in strings(part.pop("reasons", [])))
        not_covered.extend(line for line in strings(part.pop("not_covered", [])) if line not in not_covered)
        difference = part.pop("diff", None)
        if difference:
            diffs.extend(difference if isinstance(difference, list) else [difference])
    result: dict[str, object] = {
        "changed": any(part.get("changed") for part in results.values()),
        "verdict": worst([str(part["verdict"]) for part in results.values() if "verdict" in part]),
        "reasons": reasons,
        "steps": dict(results),
        "not_covered": not_covered,
    }
    if diffs:
        result["diff"] = diffs
    return result


def _finish(work: Workdir, params: Mapping[str, object], diff: bool) -> dict[str, object]:
    """The second run, over a fresh connection: confirm first, then the second look, then what the controller has."""
    from ._host._processes import first_look
    from ._host._session import management_session
    from ._host._sockets import read_sockets

    processes, sockets = first_look(), read_sockets()
    session = management_session(processes, sockets)
    asked = params["steps"]
    steps = asked if isinstance(asked, list) else []
    results: dict[str, dict[str, object]] = {}
    if "isolation" in steps:
        from ._isolation._run import finish

        results["isolation"] = finish(work, params, session, sockets, diff)
    if "termination" in steps and params["second_look"]:
        from ._processes._run import second_look

        results["termination"] = second_look(work, params, processes, sockets)
    result = merged(results)
    if not results:
        del result["verdict"]  # there was nothing to look at again: the first run's stands
    if results.get("isolation", {}).get("rolled_back"):
        result["rolled_back"] = True
    received = params["_received"]
    if isinstance(received, dict) and received:
        from ._evidence._fetch import discard

        result["discarded"] = discard(work, received.get("name"), received.get("sha256"))
    if result.get("rolled_back"):
        from ._remains import told

        told(work, result, bool(received))
    return result
