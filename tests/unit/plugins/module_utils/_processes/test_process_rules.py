# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The matcher and the rules: every sample, every mistake in a rule, and an independent reading of the same rules."""

from __future__ import annotations

import copy
import random
import re

import pytest
from ansible_collections.firebreak.response.plugins.module_utils._host._processes import Process
from ansible_collections.firebreak.response.plugins.module_utils._processes import _facts
from ansible_collections.firebreak.response.plugins.module_utils._processes import _match as match
from ansible_collections.firebreak.response.plugins.module_utils._processes._facts import CHEAP, Facts
from ansible_collections.firebreak.response.plugins.module_utils._processes._rules import RULES

NUMBERS = range(len(RULES))


@pytest.mark.parametrize("number", NUMBERS, ids=[str(rule["id"]) for rule in RULES])
def test_each_rule_matches_its_sample_and_not_the_other(number):
    rules = match.RuleSet(RULES, CHEAP)
    rule = RULES[number]
    assert number in rules.hits(Facts(rule["match"]), bool(rule["deep"]))
    assert number not in rules.hits(Facts(rule["nomatch"]), bool(rule["deep"]))


@pytest.mark.parametrize("rule", RULES, ids=[str(rule["id"]) for rule in RULES])
def test_each_rule_says_what_it_is_and_when_it_is_wrong(rule):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule["id"]) and re.fullmatch(r"T\d{4}(\.\d{3})?", rule["attack"])
    assert rule["title"] and rule["falsepositives"] and rule["falsepositives"][0]
    for sample in (rule["match"], rule["nomatch"]):
        assert set(sample) <= set(match.FIELDS)


def test_ids_are_unique():
    assert len({rule["id"] for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("detection", "said"),
    [
        ({"a": {"Imagee": "x"}, "condition": "a"}, "'Imagee' is not one of"),
        ({"a": {"Image|base64": "x"}, "condition": "a"}, "'base64' is not one of"),
        ({"a": {"Image|contains|startswith": "x"}, "condition": "a"}, "more than one modifier"),
        ({"a": {"Image|re": "("}, "condition": "a"}, "no regular expression"),
        ({"a": {"deleted|contains": True}, "condition": "a"}, "takes no modifier"),
        ({"a": {"Image": []}, "condition": "a"}, "has no value"),
        ({"a": {"Image": "x"}, "condition": "b"}, "which is no selection"),
        ({"a": {"Image": "x"}, "b": {"Name": "y"}, "condition": "a"}, "'b' is not used"),
        ({"a": {}, "condition": "a"}, "at least one field"),
        ({"a": {"Image": "x"}}, "needs selections and a condition"),
    ],
)
def test_a_mistake_in_a_rule_is_an_error_that_names_it(detection, said):
    rule = dict(RULES[0], id="my-rule", detection=detection)
    with pytest.raises(match.RuleError) as caught:
        match.RuleSet([rule], CHEAP)
    assert "my-rule" in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize("key", ["grade", "family"])
def test_an_unknown_grade_or_family_is_an_error(key):
    rule = copy.deepcopy(RULES[0])
    rule[key] = "other"
    with pytest.raises(match.RuleError):
        match.compile_rule(rule)


@pytest.mark.parametrize(
    ("sample", "hit"),
    [
        ({"Image": "/memfd:runc_cloned:/proc/self/exe", "ParentBasename": "podman", "ParentImage": "/tmp/podman"}, True),
        ({"Image": "/memfd:runc_cloned:/proc/self/exe", "ParentBasename": "podman", "ParentImage": "/usr/bin/podman"}, False),
        ({"Image": "/memfd:runc_cloned:/proc/self/exe", "ParentBasename": "bash", "ParentImage": "/usr/bin/bash"}, True),
        ({"Image": "/memfd:runc_cloned:/proc/self/exe", "ParentBasename": "containerd-shim-runc-v",
          "ParentImage": "/var/lib/rancher/k3s/data/1/bin/containerd-shim-runc-v2"}, False),
        ({"Image": "/memfd:systemd-executor", "ParentBasename": "systemd", "ParentImage": "/tmp/systemd/systemd"}, True),
        ({"Image": "/memfd:systemd-executor", "ParentBasename": "systemd", "ParentImage": "/usr/lib/systemd/systemd"}, False),
    ],
)
def test_a_program_in_memory_is_excused_by_where_its_parent_lies_not_by_its_name(sample, hit):
    names = [RULES[number]["id"] for number in match.RuleSet(RULES, CHEAP).hits(Facts(dict(sample, memfd=True)))]
    assert ("memory-program" in names) is hit


def test_a_debugger_that_lies_elsewhere_is_none(monkeypatch):
    monkeypatch.setattr(_facts, "read_proc", lambda path, limit: b"Name:\tx\nTracerPid:\t7\n")
    for exe, told in (("/usr/bin/gdb", "gdb"), ("/tmp/gdb", "/tmp/gdb")):
        tracer = Process()
        tracer.exe = exe
        victim = Process()
        victim.exe = None
        victim.pid, victim.root = 8, "/proc"
        assert _facts._tracer(victim, _facts.World({7: tracer})) == told


def reference(detection, facts):
    """The same language, read as plainly as can be."""

    def key(name, value):
        field, *modifiers = name.split("|")
        values = value if isinstance(value, list) else [value]
        text = facts[field]
        how = [one for one in modifiers if one != "all"]
        if isinstance(values[0], bool):
            return text in values
        operators = {
            "contains": lambda one: one.lower() in str(text).lower(), "startswith": lambda one: str(text).lower().startswith(one.lower()),
            "endswith": lambda one: str(text).lower().endswith(one.lower()), "re": lambda one: bool(re.search(one, str(text))),
        }
        test = operators[how[0]] if how else lambda one: str(text).lower() == one.lower()
        return (all if "all" in modifiers else any)(test(one) for one in values)

    words = {name: all(key(*pair) for pair in body.items()) for name, body in detection.items() if name != "condition"}
    return bool(eval(detection["condition"], {"__builtins__": {}}, words))


def test_the_matcher_agrees_with_a_plain_reading_on_random_facts():
    rules = match.RuleSet(RULES, CHEAP)
    dice = random.Random(1)
    texts = {field: [""] for field in match.FIELDS}
    for rule in RULES:
        for sample in (rule["match"], rule["nomatch"]):
            for field, value in sample.items():
                texts[field].append(value)
    seen = set()
    for _round in range(3000):
        base = dice.choice(RULES)[dice.choice(["match", "nomatch"])]
        facts = Facts({**{field: dice.choice(values) for field, values in texts.items() if dice.random() < 0.3}, **base})
        facts = Facts({field: (facts[field] or False) if isinstance(Facts({})[field], bool) else facts[field] for field in match.FIELDS})
        found = {*rules.hits(facts), *rules.hits(facts, True)}
        assert found == {number for number, rule in enumerate(RULES) if reference(rule["detection"], facts)}
        seen |= found
    assert seen == set(NUMBERS)
