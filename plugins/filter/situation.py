# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One screen at the end of a run: every host's verdict first, then why, then what to do next."""

from __future__ import annotations

import re

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

from ansible_collections.firebreak.response.plugins.plugin_utils import _verdict as verdict_of

# The worst first: what a responder must look at stands at the top of the screen.
_ORDER = ("unknown", "failed", "partial")
_LINES = 60  # hosts shown in full; a screen is no report
# Where nothing more is known than the verdict.
_NEXT = {
    "unknown": "nothing is known of this host: see that it is up, or reach it by its console, and run again",
    "failed": "the step did not succeed: read the reasons above, mend them and run again",
    "partial": "not everything succeeded: read the reasons above before you rely on it",
}
# What was done, by the key of its list in a result, in the order of the work; with the names of whom it was done to.
_DONE = {
    "flows_cut": "connections cut", "flows_observed": "connections that an isolation would cut",
    "frozen": "processes stopped, not ended", "terminated": "processes ended",
    "disabled": "cron tables changed", "thawed": "processes that run again", "restored": "cron tables given back",
}
_NAMED = ("frozen", "terminated", "thawed")
_NAMES = 8
# What to do where all went as it was meant, by what was done.
_THEN = {
    "frozen": "they live on, stopped, until they are ended (run again with firebreak_autonomy: terminate) or released, which lets them go on",
    "thawed": "they have the network again: if they are an attacker's, contain again with firebreak_autonomy: terminate",
    "restored": "what their lines start comes back: clean them if they are an attacker's",
}
# What a drift says where somebody did it, and no interface came or went; and how much of it a host tells at most.
_BY_SOMEBODY = "changed or removed"
_NOBODY = "the isolation before this one"  # what became of it without anybody's doing is no disturbance
_DRIFT_MOST = 100
_RISK = re.compile(r"[a-z][a-z-]{1,39}", re.ASCII)
# How far frames are held back, where it is not the whole way.
_COVER = {
    "tc": "frames of packet sockets that go past the queue (QDISC_BYPASS) are not held back: tc does not see them",
    "none": "frames that never meet the IP layer, such as those of packet sockets, are not held back",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


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
    """Why it is no success, a line each; what is said beside a success is no reason for it, but worth a line."""
    if not isinstance(result, dict):
        return ["because: no result: the step was not reached"]
    reasons = result.get("reasons")
    said = [_clean(reason) for reason in reasons] if isinstance(reasons, list) else []
    if _rank(_word(result)) == len(_ORDER):
        return [f"note: {reason}" for reason in said]
    if not said and result.get("msg"):
        said = [_clean(result["msg"])]
    return [f"because: {reason}" for reason in said]


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
        found = [one for one in done[key] if isinstance(one, dict)] if key in _NAMED else []
        shown = _some([one.get("name", "?") for one in found])
        lines.append(f"  {'would be: ' if would else ''}{_DONE[key]}: {len(done[key])}{shown}")
    return lines


def _some(names: list) -> str:
    """The first of some names, each once, in brackets; nothing where there is none."""
    shown = list(dict.fromkeys(_clean(name, 40) for name in names))
    return f" ({', '.join(shown[:_NAMES])}{', …' if len(shown) > _NAMES else ''})" if shown else ""


def _stands(results: list, would: bool) -> list[str]:
    """What of an isolation somebody who looks at the host must know: which frames get out, which interfaces are down, and when it ends."""
    proof = next((proof for proof in map(verdict_of.proof, results) if proof), {})
    if any(map(verdict_of.rolled_back, results)):  # the host has taken them up again, and there is nothing to end
        return []
    frames, interfaces = proof.get("layer2"), proof.get("interfaces")
    cover = frames.get("cover") if isinstance(frames, dict) and proof.get("mode") != "observe" else None
    lines = [f"  note: {said}" for key, said in _COVER.items() if cover == key]
    down = interfaces.get("down") if isinstance(interfaces, dict) else None
    if isinstance(down, list):
        kept = interfaces.get("kept")
        kept = [one.get("device", "?") for one in kept if isinstance(one, dict)] if isinstance(kept, list) else []
        stay = f"; left up{_some(kept)}" if kept else ""
        lines.append(f"  {'would be: ' if would else ''}interfaces down: {len(down)}{_some(down)}{stay}")
    ends_at = proof.get("ends_at")
    if isinstance(ends_at, str) and _TIME.fullmatch(ends_at):
        lines.append(f"  ends by itself at {ends_at}: a run with firebreak_ttl=0 lets it last until it is released")
    return lines


def _drifted(results: list, word: str) -> list[str]:
    """What others did to the isolation meanwhile, and what follows from it."""
    told = next((found for found in map(verdict_of.drift, results) if found), [])
    drift = [one for one in told if not one["what"].startswith(_NOBODY)]
    lines = [f"  note: {_clean(one['what'], 200)} ({_clean(one['at'], 40)})" for one in told if one not in drift]
    if not drift:
        return lines
    times = "once" if len(drift) == 1 else f"{len(drift)} times" + (" or more" if len(drift) >= _DRIFT_MOST else "")
    at = f" at {_clean(drift[-1]['at'], 40)}" if drift[-1]["at"] else ""
    lines += [f"  the isolation was disturbed {times}, last{at}: {_clean(drift[-1]['what'], 200)}"]
    if any(_BY_SOMEBODY in one["what"] for one in drift):
        lines.append("  next: whoever changed the rules has root on the host or manages its firewall: if that was neither you nor your tools, "
                     + ("contain it again, and rebuild it" if word == "released" else "root is the attacker's: rebuild it, do not clean it"))
    return lines


def _refusing(results: list) -> list[str]:
    """The risks for which the preflight refused the host, by their names; a host that was not refused has a proof beside them, if an empty one."""
    return sorted({risk["risk"] for result in results if isinstance(result.get("preflight"), list) and "proof" not in result
                   for risk in result["preflight"] if isinstance(risk, dict) and risk.get("refuses") is True
                   and isinstance(risk.get("risk"), str) and _RISK.fullmatch(risk["risk"])})


def _next(word: str, results: list) -> str:
    """What to do about a verdict that is no success: by what the results say besides it, from the surest on."""
    proof = next((proof for proof in map(verdict_of.proof, results) if proof), {})
    if any(result.get("refused") for result in results):
        return "nothing was done, and no connection made: mend what is named above and run again"
    risks = _refusing(results)
    if risks:
        return f"nothing was changed: see to it, or take the risk, add {', '.join(risks)} to firebreak_accept_risks, and run again"
    if any(map(verdict_of.rolled_back, results)):
        return "what was cut now is not any more: mend what kept the controller out, and contain it again"
    if any(result.get("unreachable") for result in results) and proof:
        return "it was cut off and nobody gets in: at its console, journalctl -t incident_response says what it has done since"
    if proof and proof.get("confirmed") is not True and word == "failed":
        return "nobody has confirmed the isolation, so the host decides by itself, as on_management_lost says: run again once it has"
    return _NEXT[word]


def situation(hostvars: dict, hosts: list, results: list) -> list[str]:
    """Lines for a person: `hostvars` maps a host to its variables, `results` names those that hold results."""
    rows = []
    for host in hosts:
        found = [hostvars[host][name] if name in hostvars[host] else None for name in results]
        # What was left out because of another step says nothing, unless all were.
        found = [one for one in found if not (isinstance(one, dict) and one.get("skipped"))] or [None]
        worst = min(found, key=lambda result: _rank(_word(result)))
        reasons = sorted(dict.fromkeys(reason for result in found for reason in _reasons(result)), key=lambda line: line.startswith("note"))
        evidence = next((r["evidence"]["path"] for r in found if isinstance(r, dict) and isinstance(r.get("evidence"), dict)
                         and r["evidence"].get("path")), "")
        rows.append((_rank(_word(worst)), _clean(host, 64), _word(worst), reasons, _clean(evidence), found))
    rows.sort(key=lambda row: row[:3])
    counts: dict[str, int] = {}
    for row in rows:
        counts[row[2]] = counts.get(row[2], 0) + 1
    lines = [", ".join(f"{count} {word}" for word, count in counts.items()) + f" of {len(rows)} hosts"]
    for rank, host, word, reasons, evidence, found in rows[:_LINES]:
        would, done = word.startswith("would_be"), _done(found)
        known = [result for result in found if isinstance(result, dict)]
        lines.append(f"{host}: {word}" + (f", evidence {evidence}" if evidence else ""))
        lines.extend(f"  {reason}" for reason in reasons[:8])
        lines.extend(_told(done, would))
        lines.extend(_stands(known, would))
        lines.extend(f"  next: {sentence}" for key, sentence in _THEN.items() if key in done and not would)
        lines.extend(_drifted(known, word))
        if rank < len(_ORDER):
            lines.append(f"  next: {_next(word.removeprefix('would_be '), known)}")
    if len(rows) > _LINES:
        lines.append(f"and {len(rows) - _LINES} more hosts, none worse than the last one shown")
    return lines


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict:
        """Name to function."""
        return {"situation": situation}
