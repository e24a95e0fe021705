# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules and roles do what their documentation says; each rule is shown a module or role that does not."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml
from ansible_collections.firebreak.response.plugins.plugin_utils._policy import VARIABLES
from ansible_collections.firebreak.response.tests.contract import doc_rules

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in ROOT.glob("plugins/modules/*.py") if path.stem != "__init__")
ROLES = sorted(path.name for path in ROOT.glob("roles/*") if path.is_dir())
GIVEN = {variable.name: variable.option for variable in VARIABLES}


class Declared(Exception):
    """What a module declares to Ansible, carried out of its main()."""


def declared(name: str) -> dict:
    """The arguments with which a module makes its AnsibleModule."""
    module = importlib.import_module(f"ansible_collections.firebreak.response.plugins.modules.{name}")

    def stop(**arguments):
        raise Declared(arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AnsibleModule", stop)
        with pytest.raises(Declared) as caught:
            module.main()
    return caught.value.args[0]


def source(name: str) -> str:
    return (ROOT / f"plugins/modules/{name}.py").read_text(encoding="utf-8")


def spec(name: str) -> dict:
    return declared(name)["argument_spec"]


def test_the_modules_and_roles_are_there():
    assert MODULES == ["contain", "isolation", "snapshot", "suspicious_process"]
    assert ROLES == ["contain", "isolate", "release", "snapshot", "terminate"]


def test_the_action_group_names_every_module():
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    assert sorted(runtime["action_groups"]["response"]) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_options_equal_their_documentation(name):
    parts = doc_rules.fragments((ROOT / "plugins/doc_fragments/options.py").read_text(encoding="utf-8"))
    options = doc_rules.documented_options(doc_rules.constant(source(name), "DOCUMENTATION"), parts)
    assert doc_rules.option_problems(options, spec(name)) == []


@pytest.mark.parametrize("name", MODULES)
def test_check_mode_is_declared_and_read(name):
    documentation = doc_rules.constant(source(name), "DOCUMENTATION")
    assert doc_rules.check_mode_problems(documentation, declared(name).get("supports_check_mode", False), source(name)) == []


@pytest.mark.parametrize("name", MODULES)
def test_returned_keys_are_documented(name):
    assert doc_rules.returned_problems(source(name), doc_rules.constant(source(name), "RETURN")) == []


@pytest.mark.parametrize("name", MODULES)
def test_keys_that_the_controller_adds_are_documented(name):
    keys = doc_rules.given_keys((ROOT / "plugins/plugin_utils/_response.py").read_text(encoding="utf-8"))
    assert {"case", "seconds", "refused", "msg", "ledger", "reasons"} <= keys
    keys -= {"evidence"} if name == "isolation" else set()  # an isolation takes none
    assert doc_rules.given_problems(keys, doc_rules.constant(source(name), "RETURN")) == []


@pytest.mark.parametrize("name", ["contain", "isolation"])
def test_what_only_an_isolation_can_say_is_documented(name):
    assert "rolled_back" in doc_rules.constant(source(name), "RETURN")


@pytest.mark.parametrize("name", MODULES)
def test_examples_use_full_names_and_fit_the_spec(name):
    specs = {other: spec(other) for other in MODULES}
    assert doc_rules.example_problems(doc_rules.constant(source(name), "EXAMPLES"), name, specs) == []


@pytest.mark.parametrize("role", ROLES)
def test_role_options_equal_those_of_the_modules_they_call(role):
    options = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    tasks = yaml.safe_load((ROOT / f"roles/{role}/tasks/main.yml").read_text(encoding="utf-8"))
    called = {name: spec(name) for name in MODULES if any(doc_rules.PREFIX + name in task for task in tasks)}
    assert called
    # release calls with a state that needs no more than the case
    variables = {name: option for name, option in GIVEN.items() if role != "release" or option in (None, "case")}
    assert doc_rules.role_problems(options, variables, called) == []


@pytest.mark.parametrize("role", ROLES)
def test_the_table_of_a_role_is_its_spec(role):
    options = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    assert doc_rules.table((ROOT / f"roles/{role}/README.md").read_text(encoding="utf-8")) == doc_rules.described(options)


def test_the_example_inventory_explains_every_variable():
    assert doc_rules.unexplained((ROOT / "inventory/group_vars/all.yml").read_text(encoding="utf-8"), GIVEN) == []


def test_a_role_whose_table_differs_and_a_variable_that_nobody_explains_are_found():
    assert doc_rules.table("| variable | what it is |\n|---|---|\n| `firebreak_x` | Does `y`. |\n") == {"firebreak_x": "Does `y`."}
    assert doc_rules.described({"firebreak_x": {"description": "Does C(y)."}}) == {"firebreak_x": "Does `y`."}
    bare, named = "# Why.\n# firebreak_x: 1\n\nfirebreak_y: 2\n", {"firebreak_x": None, "firebreak_y": None, "firebreak_z": None}
    assert doc_rules.unexplained(bare, named) == ["firebreak_y", "firebreak_z"]


def test_an_option_that_differs_from_its_documentation_is_found():
    real = {"case": {"type": "str", "required": True}}
    assert doc_rules.option_problems({"case": {"type": "str", "required": True}}, real) == []
    assert doc_rules.option_problems({"case": {"type": "int", "required": True}}, real)
    assert doc_rules.option_problems({"case": {"type": "str"}}, real)
    assert doc_rules.option_problems({}, real)
    assert doc_rules.option_problems({"case": {"type": "str", "required": True}, "tier": {}}, real)


def test_check_mode_that_is_only_claimed_is_found():
    full = {"attributes": {"check_mode": {"support": "full"}}}
    assert doc_rules.check_mode_problems(full, True, "run(module.check_mode)") == []
    assert doc_rules.check_mode_problems(full, True, "run()")
    assert doc_rules.check_mode_problems(full, False, "run(module.check_mode)")
    assert doc_rules.check_mode_problems({}, True, "run(module.check_mode)")


def test_a_returned_key_without_documentation_is_found():
    assert doc_rules.returned_problems("module.fail_json(msg='x', why='y')", {"verdict": {}}) == ["why is returned and not documented"]


def test_a_key_that_the_controller_adds_without_documentation_is_found():
    keys = doc_rules.given_keys("def _refused(self):\n    return {'refused': True, 'failed': True}\nresult['case'] = 1\nother['x'] = 1")
    assert keys == {"refused", "failed", "case"}
    assert doc_rules.given_problems(keys, {"case": {}}) == ["refused is given and not documented"]


@pytest.mark.parametrize("task", [
    {"snapshot": {"case": "A"}}, {"firebreak.response.snapshot": {"case": "A", "depth": 1}}, {"firebreak.response.snapshot": {}},
    {"firebreak.response.nothing": {}}, {"ansible.builtin.debug": {}},
])
def test_an_example_that_would_not_run_is_found(task):
    specs = {"snapshot": {"case": {"type": "str", "required": True}}}
    assert doc_rules.example_problems([{"name": "x", "firebreak.response.snapshot": {"case": "A"}}], "snapshot", specs) == []
    assert doc_rules.example_problems([task], "snapshot", specs)


@pytest.mark.parametrize("options", [
    {"firebreak_case": {"type": "int"}}, {"firebreak_case": {"type": "str", "default": "A"}}, {"firebreak_case": {"type": "str"}, "firebreak_x": {}},
    {"firebreak_case": {"type": "str", "choices": ["A"]}}, {},
])
def test_a_role_option_that_differs_from_its_module_is_found(options):
    variables = {"firebreak_case": "case"}
    modules = {"snapshot": {"case": {"type": "str", "required": True}}}
    assert doc_rules.role_problems({"firebreak_case": {"type": "str"}}, variables, modules) == []
    assert doc_rules.role_problems(options, variables, modules)
