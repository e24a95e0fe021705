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

# Every field that `_facts` fills, and what it holds. Those with a capital letter are Sigma's.
FIELDS = {
    "Image": "path of the executable, without the kernel's ' (deleted)'",
    "Basename": "last component of Image, without a version at its end (python3.11 is python)",
    "CommandLine": "the arguments, joined by single spaces",
    "CurrentDirectory": "working directory",
    "Argv0": "the first argument",
    "Name": "comm, at most 15 bytes",
    "ParentImage": "Image of the parent",
    "ParentBasename": "Basename of the parent",
    "ParentCommandLine": "CommandLine of the parent",
    "uid": "effective user, a number",
    "deleted": "the running file has no name any more (st_nlink is 0)",
    "memfd": "runs from memory (memfd_create)",
    "writable_path": "Image lies, or lay, below a folder that anyone may write",
    "system_path": "Image lies, or lay, where packages put their programs",
    "interpreter": "a shell or an interpreter, by Basename",
    "renamed": "Name is not the beginning of the last component of Image",
    "script_writable": "an interpreter whose script lies below a folder that anyone may write",
    "bracketed": "the first argument or the name looks like a kernel thread's, and this is none",
    "stdio_socket": "descriptors 0 to 2 are one and the same connected inet socket",
    "stdin_socket": "descriptors 0 and 1 are one and the same connected inet socket",
    "shell_without_tty": "a shell that takes commands from a person (-i, or a socket as standard input) without a terminal",
    "outside_peer": "holds a connection to an address that is neither private, nor ours, nor allowed by the plan",
    "network_socket": "holds such a connection, or a UDP or raw socket that is not bound to loopback",
    "preload": "LD_PRELOAD or LD_AUDIT in the environment",
    "leader_exited": "its first thread has ended and others run on",
    "packet_socket": "holds a packet or raw socket",
    "tracer": "Basename of the tracer, its whole path where that lies elsewhere than packages put programs, empty where there is none",
}
GRADES = ("strong", "medium", "weak")
FAMILIES = ("origin", "identity", "network", "behaviour", "hiding")


class RuleError(FirebreakError):
    """A rule that cannot be used; the message names it."""


# Before a field's name: its text in small letters, worked out once a process.
LOWER = "lower "


def _values(rule: str, key: str, value: object) -> list[object]:
    values: list[object] = list(value) if isinstance(value, list) else [value]
    if not values:
        raise RuleError("rule {0}: {1!r} has no value".format(rule, key))
    return values


def _find(field: str, texts: list[str], every: bool) -> Test:
    lower = LOWER + field

    def test(facts: Mapping[str, object]) -> bool:
        text = facts[lower]
        if not isinstance(text, str):
            return False
        for one in texts:  # plain loops: this is asked of all processes before the cut
            if one in text:
                if not every:
                    return True
            elif every:
                return False
        return every

    return test


def _compare(field: str, how: str, texts: list[str], every: bool) -> Test:
    lower = LOWER + field
    if not every:
        several = tuple(texts)
        if how == "startswith":
            return lambda facts: str(facts[lower]).startswith(several)
        return lambda facts: str(facts[lower]).endswith(several)
    if how == "startswith":
        return lambda facts: all(str(facts[lower]).startswith(text) for text in texts)
    return lambda facts: all(str(facts[lower]).endswith(text) for text in texts)


def _search(rule: str, field: str, texts: list[str], every: bool) -> Test:
    try:
        searches = [re.compile(text).search for text in texts]
    except re.error as error:
        raise RuleError("rule {0}: {1!r} is no regular expression: {2}".format(rule, texts, error)) from error
    if every:
        return lambda facts: all(search(str(facts[field])) for search in searches)
    return lambda facts: any(search(str(facts[field])) for search in searches)


def _key(rule: str, key: str, value: object) -> Test:
    """One line of a selection as a test. Raises RuleError: a misspelt key must not become a silent miss."""
    field, *modifiers = key.split("|")
    if field not in FIELDS:
        raise RuleError("rule {0}: field {1!r} is not one of {2}".format(rule, field, ", ".join(sorted(FIELDS))))
    every = "all" in modifiers
    modifiers = [name for name in modifiers if name != "all"]
    if len(modifiers) > 1:
        raise RuleError("rule {0}: {1!r} has more than one modifier besides all".format(rule, key))
    values = _values(rule, key, value)
    if any(isinstance(item, (bool, int)) for item in values):
        if modifiers or every:
            raise RuleError("rule {0}: {1!r} compares numbers, which takes no modifier".format(rule, key))
        return lambda facts: facts[field] in values
    texts = [str(item).lower() for item in values]
    how = modifiers[0] if modifiers else ""
    if how == "":
        exact = frozenset(texts)
        if every and len(exact) > 1:
            raise RuleError("rule {0}: {1!r} can not be several texts at once".format(rule, key))
        lower = LOWER + field
        return lambda facts: facts[lower] in exact
    if how == "contains":
        return _find(field, texts, every)
    if how in ("startswith", "endswith"):
        return _compare(field, how, texts, every)
    if how == "re":
        return _search(rule, field, [str(item) for item in values], every)
    raise RuleError("rule {0}: modifier {1!r} is not one of contains, startswith, endswith, re, all".format(rule, how))


class Selection:
    """A compiled selection: its tests, and the fields that it wants to be true, by which most processes are passed over."""

    __slots__ = ("needs", "tests")

    def __init__(self, rule: str, selection: object) -> None:
        if not isinstance(selection, dict) or not selection:
            raise RuleError("rule {0}: a selection is a dict of at least one field".format(rule))
        self.needs = [str(key) for key, value in selection.items() if value is True]
        self.tests = [_key(rule, str(key), value) for key, value in selection.items()]

    def holds(self, facts: Mapping[str, object]) -> bool:
        """Whether every line of it does."""
        for test in self.tests:
            if not test(facts):
                return False
        return True


class Group:
    """Selections that must hold together, some of them negated. `names`: of the selections."""

    __slots__ = ("_negated", "_tests", "first", "names", "needs")

    def __init__(self, rule: str, text: str, selections: Mapping[str, Selection]) -> None:
        self.names: set[str] = set()
        self.needs: list[str] = []
        # One flat list: the first test fails for nearly every process, and this is asked of all before the cut.
        self._tests: list[Test] = []
        self._negated: list[Selection] = []
        for term in text.split(" and "):
            name = term.strip()
            wanted = True
            while name.startswith("not "):
                name = name[4:].strip()
                wanted = not wanted
            if name not in selections:
                raise RuleError("rule {0}: the condition names {1!r}, which is no selection".format(rule, name))
            self.names.add(name)
            if wanted:
                self._tests.extend(selections[name].tests)
                self.needs.extend(selections[name].needs)
            else:
                self._negated.append(selections[name])
        self.first: Test = self._tests[0] if self._tests else lambda facts: True

    def holds(self, facts: Mapping[str, object]) -> bool:
        """Whether all of them do."""
        for test in self._tests:
            if not test(facts):
                return False
        return not any(selection.holds(facts) for selection in self._negated)


def compile_rule(rule: Mapping[str, object]) -> list[Group]:
    """A rule's detection as groups, of which one must hold. Raises RuleError that names the rule."""
    name = str(rule.get("id", "?"))
    detection = rule.get("detection")
    if rule.get("grade") not in GRADES or rule.get("family") not in FAMILIES:
        raise RuleError("rule {0}: grade or family is none that is known".format(name))
    if not isinstance(detection, dict) or not isinstance(detection.get("condition"), str):
        raise RuleError("rule {0}: detection needs selections and a condition".format(name))
    selections = {key: Selection(name, value) for key, value in detection.items() if key != "condition"}
    groups = [Group(name, part, selections) for part in detection["condition"].split(" or ")]
    unused = set(selections).difference(*(group.names for group in groups))
    if unused:
        raise RuleError("rule {0}: selection {1!r} is not used by the condition".format(name, sorted(unused)[0]))
    return groups


class RuleSet:
    """Rules compiled for many processes: a group that wants a field to be true is tried where it is, and nowhere else."""

    def __init__(self, rules: list[dict[str, object]], cheap: frozenset[str]) -> None:
        self._always: dict[bool, list[tuple[int, Test, Group]]] = {False: [], True: []}
        self._by_field: dict[bool, dict[str, list[tuple[int, Group]]]] = {False: {}, True: {}}
        self._cheap: list[str] = []
        self.rules = rules
        for number, rule in enumerate(rules):
            deep = bool(rule.get("deep"))
            for group in compile_rule(rule):
                gate = next((field for field in group.needs if field in cheap), None)
                if gate is None:
                    self._always[deep].append((number, group.first, group))
                else:
                    self._by_field[deep].setdefault(gate, []).append((number, group))
                    if gate not in self._cheap:
                        self._cheap.append(gate)

    def hits(self, facts: Mapping[str, object], deep: bool = False) -> list[int]:
        """Numbers of the rules that match; `deep`: those that are marked so, instead of the others."""
        found = {number for number, first, group in self._always[deep] if first(facts) and group.holds(facts)}
        by_field = self._by_field[deep]
        for field in self._cheap:
            if facts[field] is True:
                for number, group in by_field.get(field, ()):
                    if number not in found and group.holds(facts):
                        found.add(number)
        return sorted(found)
