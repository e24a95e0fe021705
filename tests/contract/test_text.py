# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The project's files keep the rules about text and imports; each rule is shown a file that breaks it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.firebreak.response.tests.contract import text_rules

ROOT = Path(__file__).parents[2]
UNSIGNED = {"LICENSES/GPL-3.0-or-later.txt", ".gitignore"}
GENERATED = ("changelogs/changelog.yaml", "CHANGELOG", "benchmarks/results.json")


def tracked() -> list[str]:
    """Paths of the project's files."""
    out = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60).stdout.decode()
    return [name for name in out.split("\0") if name and (ROOT / name).is_file() and not name.startswith(GENERATED)]


def complaints(names: list[str], rule) -> list[str]:
    """Every complaint of a rule over files; no file at all is one too."""
    found = [f"{name}: {problem}" for name in names for problem in rule((ROOT / name).read_text(encoding="utf-8"))]
    return found if names else ["no file to look at"]


def test_files_are_licensed_short_and_name_no_machine():
    assert complaints([name for name in tracked() if name not in UNSIGNED and not name.endswith((".md", ".json", "/aliases"))], text_rules.text_problems) == []


def test_documents_name_no_machine():
    assert complaints([name for name in tracked() if name.endswith((".md", ".json", ".gitignore"))], text_rules.place_problems) == []


def test_host_code_imports_the_standard_library_only():
    names = [name for name in tracked() if name.startswith("plugins/module_utils/") and name.endswith(".py")]
    assert complaints(names, text_rules.host_import_problems) == []


def test_controller_code_takes_plain_data_from_hosts_only():
    names = [name for name in tracked() if name.startswith(("plugins/plugin_utils/", "plugins/action/", "plugins/filter/")) and name.endswith(".py")]
    assert complaints(names, text_rules.controller_import_problems) == []


def test_commands_of_the_documents_exist():
    verbs = text_rules.dev_verbs((ROOT / "dev").read_text(encoding="utf-8"))
    assert verbs == {"demo", "test", "bench", "matrix", "lab"}
    names = [name for name in tracked() if name.endswith(".md")]
    assert complaints(names, lambda text: text_rules.command_problems(text, verbs)) == []


@pytest.mark.parametrize("source", [
    "import requests", "from yaml import safe_load", "import ansible", "from ...plugin_utils import _policy", "from ... import plugin_utils",
    "from ansible_collections.firebreak.response.plugins.plugin_utils import _policy", "def late():\n    import jinja2",
])
def test_an_import_that_a_host_need_not_have_is_found(source):
    assert text_rules.host_import_problems(source)


def test_imports_of_the_own_package_and_of_the_standard_library_pass():
    assert text_rules.host_import_problems("import os\nfrom . import _text\nfrom .._errors import FirebreakError") == []


def test_controller_code_that_takes_host_code_is_found():
    assert text_rules.controller_import_problems("from ansible_collections.firebreak.response.plugins.module_utils import _text")


@pytest.mark.parametrize("text", ["x\n" * 500, "/" + "work/main", "pypi." + "org"])
def test_a_file_that_breaks_a_rule_about_text_is_found(text):
    assert len(text_rules.text_problems(f"# {text_rules.SPDX}\n{text}")) == 1


def test_a_file_without_licence_is_found():
    assert text_rules.text_problems("x = 1\n") == ["no SPDX header in the first lines"]


def test_a_command_that_does_not_exist_is_found():
    assert text_rules.command_problems("run `./dev tset`", {"test"}) == ["./dev tset"]
    assert text_rules.dev_verbs("nothing") == set()


def test_a_list_that_is_empty_is_found():
    assert complaints([], text_rules.text_problems)
