# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of Sigma's detection language that the rules use: selections over fields, and a condition over selections.

A selection is a dict of `field|modifier` -> value or list of values: all keys must hold, of a list one value (with
modifier `all` every value). Texts compare without regard to case, except `re`. Booleans and numbers compare as they are.
A condition knows `and`, `or`, `not`, in this order of binding from loose to tight: or, and, not; no brackets.
"""

from __future__ import annotations

import re

from .._errors import FirebreakError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Test = Callable[[Mapping[str, object]], bool]

# Every field that `_facts` fills, and what it holds.
FIELDS = {
    "Image": "path of the executable, without the kernel's ' (deleted)'",
    "Basename": "last component of Image, without a version at its end (python3.11 is python)",
    "CommandLine": "the arguments, joined by single spaces",
    "Argv0": "the first argument",
    "Name": "comm, at most 15 bytes",
    "ParentImage": "Image of the parent",
    "ParentBasename": "Basename of the parent",
    "uid": "effective user, a number",
    "deleted": "the running file has no name any more (st_nlink is 0)",
    "memfd": "runs from memory (memfd_create)",
    "writable_path": "Image lies, or lay, below a folder that anyone may write",
    "system_path": "Image lies, or lay, where packages put their programs",
    "script_writable": "an interpreter whose script lies below a folder that anyone may write",
    "bracketed": "the first argument or the name looks like a kernel thread's, and this is none",
    "stdio_socket": "descriptors 0 to 2 are one and the same connected inet socket",
    "accepted": "that socket was accepted on a port that the host listens on",
    "interactive_without_tty": "a shell with -i and no terminal",
    "outside_peer": "holds a connection to an address that is neither ours nor allowed",
    "network_socket": "holds such a connection, or a UDP, raw or listening socket that is not loopback's",
    "preload": "LD_PRELOAD or LD_AUDIT in the environment",
    "packet_socket": "holds a packet or raw socket",
    "traced_by": "Basename of the tracer, empty where there is none",
}
GRADES = ("strong", "medium", "weak")
FAMILIES = ("origin", "identity", "network", "behaviour", "hiding")


class RuleError(FirebreakError):
    """A rule that cannot be used; the message names it."""


def _words(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


def _operator(rule: str, modifiers: list[str], value: object) -> Callable[[str], bool]:
    """One value as a test of a text."""
    text = str(value)
    name = modifiers[0] if modifiers else ""
    if name == "re":
        try:
            search = re.compile(text).search
        except re.error as error:
            raise RuleError("rule {0}: {1!r} is no regular expression: {2}".format(rule, text, error)) from error
        return lambda field: search(field) is not None
    text = text.lower()
    if name == "contains":
        return lambda field: text in field.lower()
    if name == "startswith":
        return lambda field: field.lower().startswith(text)
    if name == "endswith":
        return lambda field: field.lower().endswith(text)
    if name == "":
        return lambda field: field.lower() == text
    raise RuleError("rule {0}: modifier {1!r} is not one of contains, startswith, endswith, re, all".format(rule, name))


def _key(rule: str, key: str, value: object) -> Test:
    field, *modifiers = key.split("|")
    if field not in FIELDS:
        raise RuleError("rule {0}: field {1!r} is not one of {2}".format(rule, field, ", ".join(sorted(FIELDS))))
    every = "all" in modifiers
    modifiers = [name for name in modifiers if name != "all"]
    if len(modifiers) > 1:
        raise RuleError("rule {0}: {1!r} has more than one modifier besides all".format(rule, key))
    values = _words(value)
    if all(isinstance(item, (bool, int)) for item in values):
        if modifiers:
            raise RuleError("rule {0}: {1!r} compares numbers, which takes no modifier".format(rule, key))
        return lambda facts: facts.get(field) in values
    tests = [_operator(rule, modifiers, item) for item in values]
    if every:
        return lambda facts: all([test(str(facts.get(field, ""))) for test in tests])
    return lambda facts: any(test(str(facts.get(field, ""))) for test in tests)


def _selection(rule: str, selection: object) -> Test:
    if not isinstance(selection, dict) or not selection:
        raise RuleError("rule {0}: a selection is a dict of at least one field".format(rule))
    tests = [_key(rule, str(key), value) for key, value in selection.items()]
    return lambda facts: all(test(facts) for test in tests)


def _term(rule: str, text: str, tests: Mapping[str, Test]) -> Test:
    if text.startswith("not "):
        inner = _term(rule, text[4:].strip(), tests)
        return lambda facts: not inner(facts)
    if text not in tests:
        raise RuleError("rule {0}: the condition names {1!r}, which is no selection".format(rule, text))
    return tests[text]


def compile_rule(rule: Mapping[str, object]) -> Test:
    """A rule's detection as a function of facts. Raises RuleError that names the rule."""
    name = str(rule.get("id", "?"))
    detection = rule.get("detection")
    if rule.get("grade") not in GRADES or rule.get("family") not in FAMILIES:
        raise RuleError("rule {0}: grade or family is none that is known".format(name))
    if not isinstance(detection, dict) or not isinstance(detection.get("condition"), str):
        raise RuleError("rule {0}: detection needs selections and a condition".format(name))
    tests = {key: _selection(name, value) for key, value in detection.items() if key != "condition"}
    either: list[list[Test]] = []
    for part in detection["condition"].split(" or "):
        either.append([_term(name, term.strip(), tests) for term in part.split(" and ")])
    return lambda facts: any(all(test(facts) for test in group) for group in either)
