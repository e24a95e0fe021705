# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One screen at the end of a run: every host's verdict first, then why, then what to do next."""

from __future__ import annotations

DOCUMENTATION = r"""
name: situation
short_description: One screen of result for a batch of hosts
version_added: 1.0.0
author: Firebreak contributors (@firebreak-response)
description:
  - Turns what Firebreak's modules returned for every host of a batch into lines for a person, worst verdict first.
  - Text that came from a host is escaped and cut.
options:
  _input:
    description: The C(hostvars) of the play.
    type: dict
    required: true
  hosts:
    description: Names of the hosts of the batch.
    type: list
    elements: str
    required: true
  results:
    description: Names of the variables that hold the modules' results.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Say how it stands
  ansible.builtin.debug:
    msg: "{{ hostvars | firebreak.response.situation(ansible_play_hosts_all, ['contain_result']) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The lines; the first counts the verdicts.
  type: list
  elements: str
"""

# The worst first: what a responder must look at stands at the top of the screen.
_ORDER = ("unknown", "failed", "partial")
_LINES = 60  # hosts shown in full; a screen is no report
_NEXT = {
    "unknown": "nothing is known of this host: reach it by its console, or run again",
    "failed": "the step did not succeed: read the reasons above, mend them and run again",
    "partial": "not everything succeeded: read the reasons above before you rely on it",
}


# What was done, by the key of its list in a result, in the order of the work; with the names of whom it was done to.
_DONE = {
    "flows_cut": "connections cut", "flows_observed": "connections that an isolation would cut",
    "frozen": "processes stopped, not ended", "terminated": "processes ended",
    "drift": "times that others changed the isolation",
    "disabled": "cron tables changed", "thawed": "processes that run again", "restored": "cron tables given back",
}
_NAMED = ("frozen", "terminated", "thawed", "drift")
_NAMES = 8
# What to do where all went as it was meant, by what was done.
_THEN = {
    "drift": "whoever does that has root there or manages its firewall: drift in the result has when, the host's journal around it may have who",
    "frozen": "they live on, stopped, until they are ended (run again with firebreak_autonomy: terminate) or released, which lets them go on",
    "thawed": "they have the network again: if they are an attacker's, contain again with firebreak_autonomy: terminate",
    "restored": "what their lines start comes back: clean them if they are an attacker's",
}


def _clean(value: object, limit: int = 600) -> str:
    """Text for a terminal: printable characters only, so that no host can paint over a verdict."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value)[:limit])
    return text + ("…" if len(str(value)) > limit else "")


def _word(result: object) -> str:
    """The verdict or outcome of one result; `unknown` for all that is none."""
    if not isinstance(result, dict):
        return "unknown"
    for key in ("verdict", "outcome"):
        if isinstance(result.get(key), str):
            return _clean(result[key], 40)
    return "unknown"


def _rank(word: str) -> int:
    bare = word.removeprefix("would_be ")
    return _ORDER.index(bare) if bare in _ORDER else len(_ORDER)


def _reasons(result: object) -> list[str]:
    if not isinstance(result, dict):
        return ["no result: the step was not reached"]
    reasons = result.get("reasons")
    said = [_clean(reason) for reason in reasons] if isinstance(reasons, list) else []
    if not said and result.get("msg"):
        said = [_clean(result["msg"])]
    return said


def _done(results: list) -> dict[str, list]:
    """Key of `_DONE` -> the entries of it in the results and their steps, those of the steps of a containment first."""
    done: dict[str, list] = {}
    for result in results:
        steps = result.get("steps") if isinstance(result, dict) else None
        for place in [*(steps.values() if isinstance(steps, dict) else ()), result]:
            for key in _DONE:
                if isinstance(place, dict) and isinstance(place.get(key), list) and place[key] and key not in done:
                    done[key] = place[key]
    return done


def _told(done: dict[str, list], would: bool) -> list[str]:
    lines = []
    for key in [key for key in _DONE if key in done]:
        word, most = ("what", 80) if key == "drift" else ("name", 40)
        found = [one for one in done[key] if isinstance(one, dict)] if key in _NAMED else []
        names = dict.fromkeys(_clean(one.get(word, "?"), most) for one in found)
        shown = ", ".join(list(names)[:_NAMES]) + (", …" if len(names) > _NAMES else "")
        lines.append(f"  {'would be: ' if would else ''}{_DONE[key]}: {len(done[key])}" + (f" ({shown})" if shown else ""))
    return lines


def situation(hostvars: dict, hosts: list, results: list) -> list[str]:
    """Lines for a person: `hostvars` maps a host to its variables, `results` names those that hold results."""
    rows = []
    for host in hosts:
        found = [hostvars[host][name] if name in hostvars[host] else None for name in results]
        # What was left out because of another step says nothing, unless all were.
        found = [one for one in found if not (isinstance(one, dict) and one.get("skipped"))] or [None]
        worst = min(found, key=lambda result: _rank(_word(result)))
        reasons = [reason for result in found if _rank(_word(result)) < len(_ORDER) for reason in _reasons(result)]
        evidence = next((r["evidence"]["path"] for r in found if isinstance(r, dict) and isinstance(r.get("evidence"), dict)
                         and r["evidence"].get("path")), "")
        rows.append((_rank(_word(worst)), _clean(host, 64), _word(worst), reasons, _clean(evidence), _done(found)))
    rows.sort(key=lambda row: row[:3])
    counts: dict[str, int] = {}
    for row in rows:
        counts[row[2]] = counts.get(row[2], 0) + 1
    lines = [", ".join(f"{count} {word}" for word, count in counts.items()) + f" of {len(rows)} hosts"]
    for rank, host, word, reasons, evidence, done in rows[:_LINES]:
        would = word.startswith("would_be")
        lines.append(f"{host}: {word}" + (f", evidence {evidence}" if evidence else ""))
        lines.extend(f"  because: {reason}" for reason in reasons[:8])
        lines.extend(_told(done, would))
        lines.extend(f"  next: {sentence}" for key, sentence in _THEN.items() if key in done and not would)
        if rank < len(_ORDER):
            lines.append(f"  next: {_NEXT[word.removeprefix('would_be ')]}")
    if len(rows) > _LINES:
        lines.append(f"and {len(rows) - _LINES} more hosts, none worse than the last one shown")
    return lines


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict:
        """Name to function."""
        return {"situation": situation}
