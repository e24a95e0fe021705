# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One verdict of two runs on the host, a confirmation and the evidence's arrival. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.firebreak.response.plugins.plugin_utils._answer import Result

# From best to worst; whatever is no known word is `unknown`. `reported`, which cut nothing, is a success and no containment.
SUCCESS = ("contained", "released", "complete", "reported", "frozen", "terminated", "locked", "unlocked")
_WORSE = ("reported", "partial", "unknown", "failed")
PREFIX = "would_be "


def word(value: object) -> str:
    """A verdict that the host gave, without the prefix of check mode; `unknown` for all that is none."""
    text = value.removeprefix(PREFIX) if isinstance(value, str) else ""
    return text if text in SUCCESS or text in _WORSE else "unknown"


def worst(*words: str) -> str:
    """The worst of several words; of several successes the first."""
    return max(words, key=lambda each: _WORSE.index(each) + 1 if each in _WORSE else 0)


def ok(verdict: str) -> bool:
    """Whether a task with this verdict has succeeded; in check mode, would succeed."""
    return verdict.removeprefix(PREFIX) in SUCCESS


def proof(result: Mapping[str, object]) -> Mapping[str, object]:
    """The isolation's proof in a result of `isolation` or `contain`; empty where there is none."""
    steps = result.get("steps")
    step = steps.get("isolation") if isinstance(steps, Mapping) else None
    for place in (result, step):
        found = place.get("proof") if isinstance(place, Mapping) else None
        if isinstance(found, Mapping):
            return found
    return {}


def drift(result: Mapping[str, object]) -> list[dict[str, str]]:
    """What others did to the isolation, in a result of `isolation` or `contain`: [{"at": UTC time or "", "what"}]."""
    steps = result.get("steps")
    step = steps.get("isolation") if isinstance(steps, Mapping) else None
    for place in (result, step):
        found = place.get("drift") if isinstance(place, Mapping) else None
        if isinstance(found, list):
            return [{key: str(one.get(key, "")) for key in ("at", "what")} for one in found if isinstance(one, Mapping)]
    return []


def rolled_back(result: Mapping[str, object]) -> bool:
    """Whether the host says that it has taken its isolation back."""
    found = proof(result)
    return any(bool(place.get(key)) for place in (result, found) for key in ("rolled_back", "rolled_back_at"))


def confirmed(result: Mapping[str, object]) -> bool:
    """Whether the host says that it has accepted the confirmation, or that it has no network peer to confirm to."""
    value = proof(result).get("confirmed", result.get("confirmed"))
    if isinstance(value, Mapping):
        value = value.get("confirmed", value.get("accepted"))
    return value is True or (isinstance(value, str) and value not in ("", "no", "false", "refused"))


# Lists of what was done, by either run, and of what is said about it.
_ADD_UP = ("reasons", "not_covered", "flows_cut", "flows_observed", "terminated", "frozen", "disabled", "drift")
# How reasons of a containment begin that concern what is open until the confirmation.
OPEN = "isolation: "
# What only the first run knows.
_FIRST = ("diff", "import_seconds", "session_seconds")


def words(result: Mapping[str, object], key: str) -> list[str]:
    """The word of a result under `key`, or the words of its steps, which know more: the worst of them is the whole's."""
    steps = result.get("steps")
    found = [word(step["verdict"]) for step in steps.values() if isinstance(step, Mapping) and "verdict" in step] \
        if isinstance(steps, Mapping) else []
    return found or ([word(result[key])] if key in result else [])


def merge(first: Mapping[str, object], second: Mapping[str, object]) -> Result:
    """The results of the two runs as one: the second knows better how it stands, and what was done adds up.

    Where the first run left its verdict open (`unknown`: not confirmed yet), that verdict and its reasons end with the second
    one's; of a containment only those of the isolation are open.
    """
    merged: Result = dict(first)
    if first.get("verdict") == "unknown" and "verdict" in second:
        said = first.get("reasons")
        several = isinstance(first.get("steps"), Mapping) and isinstance(said, list)
        merged["reasons"] = [reason for reason in said if not str(reason).startswith(OPEN)] if several and isinstance(said, list) else []
    for key, value in second.items():
        before = merged.get(key)
        if key == "changed":
            merged[key] = bool(before) or bool(value)
        elif key == "verdict" and word(before) != "unknown":
            merged[key] = worst(word(before), word(value))
        elif key == "timeline" and isinstance(before, list) and isinstance(value, list):
            merged[key] = before + [{**step, "run": 2} for step in value if isinstance(step, dict)]
        elif key in _ADD_UP and isinstance(before, list) and isinstance(value, list):
            merged[key] = before + [item for item in value if item not in before]
        elif isinstance(before, dict) and isinstance(value, dict) and key not in _FIRST:
            merged[key] = merge(before, value)
        elif value is not None and not (key in _FIRST and before):
            merged[key] = value
    return merged
