# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about modules and roles: documentation and specs in, complaints out."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

PREFIX = "firebreak.response."
TASK_WORDS = {
    "name", "become", "check_mode", "diff", "register", "when", "vars", "loop", "tags", "notify", "failed_when", "changed_when",
    "ignore_errors", "ignore_unreachable", "delegate_to", "run_once", "loop_control", "environment", "no_log",
}
COMPARED = ("type", "elements", "choices", "required", "default")


def constant(source: str, name: str) -> Any:
    """A YAML text that a file assigns to `name` at its top."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
            return yaml.safe_load(ast.literal_eval(node.value))
    raise LookupError(name)


def fragments(source: str) -> dict[str, dict[str, Any]]:
    """Options of each part of a doc fragment file, by the part's name in lower case."""
    parts: dict[str, dict[str, Any]] = {}
    for top in ast.parse(source).body:
        for node in top.body if isinstance(top, ast.ClassDef) else ():
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                parts[node.targets[0].id.lower()] = yaml.safe_load(ast.literal_eval(node.value)).get("options", {})
    return parts


def documented_options(documentation: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The options of a module with those of the fragments that it extends. LookupError: a part that is not there."""
    options: dict[str, Any] = {}
    for name in documentation.get("extends_documentation_fragment", []):
        words = name.split(".")
        options.update(parts[words[3] if len(words) > 3 else "documentation"])
    return {**options, **documentation.get("options", {})}


def option_problems(documented: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    """Where a module's spec and its documentation differ."""
    problems = [f"{name} is documented, the spec has no such option" for name in sorted(set(documented) - set(spec))]
    problems += [f"{name} is not documented" for name in sorted(set(spec) - set(documented))]
    for name in sorted(set(spec) & set(documented)):
        for word in COMPARED:
            said, real = documented[name].get(word), spec[name].get(word)
            if (said or None) != (real or None) and not (said == real):
                problems.append(f"{name}: {word} is {real!r}, documented {said!r}")
    return problems


def check_mode_problems(documentation: Mapping[str, Any], supported: bool, source: str) -> list[str]:
    """A module that says it supports check mode, and neither declares it to Ansible nor reads it."""
    support = documentation.get("attributes", {}).get("check_mode", {}).get("support")
    if support is None:
        return ["check mode is not declared"]
    problems = []
    if supported != (support == "full"):
        problems.append(f"supports_check_mode={supported}, documented {support}")
    reads = any(isinstance(node, ast.Attribute) and node.attr == "check_mode" for node in ast.walk(ast.parse(source)))
    if support == "full" and not reads:
        problems.append("check mode is never read")
    return problems


def returned_problems(source: str, documented: Mapping[str, Any]) -> list[str]:
    """Keys that a module names when it ends and that RETURN does not have (Ansible itself documents the rest)."""
    known = {*documented, "msg", "changed", "failed", "diff", "skipped"}
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("exit_json", "fail_json"):
            found |= {word.arg for word in node.keywords if word.arg is not None}
    return [f"{key} is returned and not documented" for key in sorted(found - known)]


def given_keys(source: str) -> set[str]:
    """Keys that an action plugin's source puts into a result: those of what it refuses with, and `result[KEY] = ...`."""
    keys = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == "_refused":
            keys |= {key.value for part in ast.walk(node) if isinstance(part, ast.Dict) for key in part.keys if isinstance(key, ast.Constant)}
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id == "result":
                    keys |= {target.slice.value} if isinstance(target.slice, ast.Constant) else set()
    return keys


def given_problems(keys: set[str], documented: Mapping[str, Any]) -> list[str]:
    """Keys that every action plugin gives and that RETURN does not have (Ansible itself documents changed and failed)."""
    return [f"{key} is given and not documented" for key in sorted(keys - {"changed", "failed"} - set(documented))]


def example_problems(examples: list[Mapping[str, Any]], own: str, specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Examples with short names, with options that the spec refuses, or without the module itself."""
    problems = []
    seen = set()
    for task in examples:
        for name in set(task) - TASK_WORDS:
            seen.add(name)
            if name.count(".") < 2:
                problems.append(f"{name} is no full name")
            elif name.startswith(PREFIX):
                spec = specs.get(name[len(PREFIX):])
                if spec is None:
                    problems.append(f"{name}: no such module")
                else:
                    result = ArgumentSpecValidator(dict(spec)).validate(dict(task[name] or {}))
                    problems += [f"{name}: {message}" for message in result.error_messages]
    if PREFIX + own not in seen:
        problems.append(f"no example of {own}")
    return problems


def table(readme: str) -> dict[str, str]:
    """Variable -> what a role's README says of it in its table."""
    return dict(re.findall(r"^\| `(firebreak_\w+)` \| (.*) \|$", readme, re.MULTILINE))


def described(options: Mapping[str, Any]) -> dict[str, str]:
    """Variable -> its description in a role's spec, as Markdown."""
    return {name: re.sub(r"C\(([^)]*)\)", r"`\1`", option["description"]) for name, option in options.items()}


def unexplained(inventory: str, variables: Collection[str]) -> list[str]:
    """Variables that the example inventory does not set, in a comment or not, below a comment that says why."""
    return sorted(name for name in variables if not re.search(rf"^# .*\n(# )?{name}:", inventory, re.MULTILINE))


def role_problems(options: Mapping[str, Any], variables: Mapping[str, str | None], modules: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where a role's spec differs from the options of the modules it calls (`modules`: name -> spec).

    `variables`: each firebreak_* variable -> the module option it gives, or None where the action plugin itself reads it.
    Defaults stand in the module's documentation only; what the module requires the role leaves to the module's message.
    """
    problems = []
    for name, option in sorted(options.items()):
        if "default" in option:
            problems.append(f"{name} has a default")
        if name not in variables:
            problems.append(f"{name} is not read by any action plugin")
            continue
        target = variables[name]
        if target is None:
            continue
        holders = [spec[target] for spec in modules.values() if target in spec]
        if not holders:
            problems.append(f"{name}: no module that the role calls has {target}")
        for holder in holders:
            for word in ("type", "elements", "choices"):
                if option.get(word, "str" if word == "type" else None) != holder.get(word):
                    problems.append(f"{name}: {word} is {option.get(word)!r}, the module has {holder.get(word)!r}")
    given = {variables.get(name) for name in options}
    wanted = {target for target in variables.values() if target and any(target in spec for spec in modules.values())}
    return problems + [f"nothing gives the module option {target}" for target in sorted(wanted - given)]
