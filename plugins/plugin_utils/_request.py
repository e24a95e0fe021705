# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one task asks for: options checked, policy merged, brakes tried. All of it before the first connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.firebreak.response.plugins.plugin_utils import _policy as policy_of
from ansible_collections.firebreak.response.plugins.plugin_utils import _resolve as resolve
from ansible_collections.firebreak.response.plugins.plugin_utils._case import _folder as folder
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import PolicyError

Spec = dict[str, dict[str, object]]
_VALIDATOR: Any = ArgumentSpecValidator  # it has no annotations


class Request(NamedTuple):
    """`sent`: the options as the module gets them, names resolved; `full`: with the module's defaults; `policy`: as read."""

    host: str
    case: str
    sent: dict[str, object]
    full: dict[str, object]
    policy: dict[str, object]


def native(value: object) -> object:
    """Plain data of templated data: Ansible's lazy and tagged containers and strings are not for JSON of our own."""
    if isinstance(value, Mapping):
        return {str(key): native(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [native(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)


def _checked(arguments: dict[str, object], spec: Spec) -> dict[str, object]:
    private = sorted(name for name in arguments if name.startswith("_"))
    unknown = private + sorted(set(arguments) - set(spec) - set(private))
    if unknown:
        raise PolicyError(
            unknown[0], arguments[unknown[0]], "there is no such option; there are " + ", ".join(sorted(spec))
        )
    result = _VALIDATOR(spec).validate(arguments)
    if result.error_messages:
        said = "; ".join(result.error_messages)
        name = next((name for name in arguments if name in said.replace("'", " ").split()), "options")
        raise PolicyError(name, arguments.get(name, list(arguments)), policy_of.right(name) or said)
    checked = native(result.validated_parameters)
    return checked if isinstance(checked, dict) else {}


def case_of(arguments: Mapping[str, object], policy: Mapping[str, object]) -> str:
    """The case of the task or of the policy. Raises PolicyError where there is none, or where its name is none."""
    case = arguments.get("case")
    if case is not None:  # a number is a name too, as native templating makes it of one
        return folder.check_case("case", str(case) if isinstance(case, int) and not isinstance(case, bool) else case)
    if policy.get("firebreak_case") is not None:
        return folder.check_case("firebreak_case", policy["firebreak_case"])
    raise PolicyError("case", None, "give the option case, or the variable firebreak_case (-e firebreak_case=INC-42)")


def make(
    host: str,
    arguments: Mapping[str, object],
    spec: Spec,
    task_vars: Mapping[str, object],
    template: Callable[[object], object],
    unread: Collection[str] = (),
) -> Request:
    """The request of a task; options that are `unread` have no meaning here, and their variables are not looked at.

    Raises PolicyError that names the option or variable, its value, and what would be right.
    """
    given = native(arguments)
    given = given if isinstance(given, dict) else {}
    policy = policy_of.read(task_vars, lambda raw: native(template(raw)), set(spec) - set(unread))
    case = case_of(given, policy)
    full = _checked(policy_of.apply(given, policy, spec), spec)
    for name in policy_of.RANGES:
        policy_of.check_range(name, policy_of.source(name, given), full.get(name))
    for name in ("management", "management_networks"):
        if name in full:
            resolve.check_networks(policy_of.source(name, given), strings(full[name]))
    if "allow" in full:
        full["allow"] = resolve.resolve(policy_of.source("allow", given), strings(full["allow"]))
    sent = {name: full[name] for name in policy_of.apply(given, policy, spec)}
    return Request(host, case, {**sent, "case": case}, full, policy)


def strings(value: object) -> Sequence[str]:
    """A list of strings that a spec has already checked."""
    return [str(item) for item in value] if isinstance(value, list) else []
