# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site's policy: inventory variables named firebreak_* -> options of the modules, and the brakes.

Only action plugins see these variables, also in ad-hoc calls. An option given on the task wins over its variable.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.firebreak.response.plugins.plugin_utils._errors import BrakeError, PolicyError


class Variable(NamedTuple):
    """One firebreak_* variable. `kind`: str, path, int, bool or strings; `option`: the module option it gives, if any."""

    name: str
    kind: str
    option: str | None = None
    least: int = 0
    choices: tuple[str, ...] = ()
    words: bool = False  # each string is one word: what holds a blank or a quotation mark was not split as it was meant


VARIABLES = (
    Variable("firebreak_case", "str", "case"),
    Variable("firebreak_cases_dir", "path"),
    Variable("firebreak_monitoring_systems", "strings", "allow"),
    Variable("firebreak_management", "strings", "management", words=True),
    Variable("firebreak_management_networks", "strings", "management_networks", words=True),
    Variable("firebreak_mode", "str", "mode", choices=("full", "egress", "observe")),
    Variable("firebreak_backend", "str", "backend", choices=("auto", "iptables", "nftables")),
    Variable("firebreak_layer2", "str", "layer2", choices=("auto", "required")),
    Variable("firebreak_accept_risks", "strings", "accept_risks", words=True, choices=(
        "network-root", "cluster-fencing", "virtual-machines", "tunnelled-management", "management-link", "directory-logins")),
    Variable("firebreak_interfaces_down", "bool", "interfaces_down"),
    Variable("firebreak_confirm_within", "int", "confirm_within", least=1),
    Variable("firebreak_on_management_lost", "str", "on_management_lost", choices=("widen", "release")),
    Variable("firebreak_then", "str", "then", choices=("release", "hold")),
    Variable("firebreak_persist", "bool", "persist"),
    Variable("firebreak_watch", "bool", "watch"),
    Variable("firebreak_ttl", "int", "ttl"),
    Variable("firebreak_spare", "strings", "spare"),
    Variable("firebreak_critical_services", "strings", "critical_services", words=True),
    Variable("firebreak_second_look", "int", "second_look"),
    Variable("firebreak_autonomy", "str", "autonomy", choices=("report", "freeze", "terminate")),
    Variable("firebreak_protected_hosts", "strings", words=True),
    Variable("firebreak_max_hosts", "int", least=1),
)
# Read by playbooks.
_OTHERS = ("firebreak_hosts",)
MAX_HOSTS = 10
_boolean: Callable[[object], bool] = boolean  # which has no types of its own


# Option -> (least, most, what 0 stands for where it is accepted beside them): what the modules accept, said before the connection.
RANGES = {
    "confirm_within": (5, 3600, ""), "ttl": (60, 2592000, "no end"), "second_look": (0, 600, ""), "max_bytes": (1, 2**36, ""),
    "max_seconds": (1, 3600, ""),
}


def right(option: str | None) -> str:
    """What would be right for an option that is a number in a range, or a yes or no; an empty text for all others."""
    if option in RANGES:
        least, most, zero = RANGES[option]
        return f"a whole number from {least} to {most}" + (f", or 0 for {zero}" if zero else "")
    return "true or false" if any(variable.option == option and variable.kind == "bool" for variable in VARIABLES) else ""


def check_range(option: str, name: str, value: object) -> None:
    """Raises PolicyError for a number out of the option's range; `name`: of the option or variable that it comes from."""
    least, most, zero = RANGES[option]
    if isinstance(value, int) and not least <= value <= most and not (zero and value == 0):
        raise PolicyError(name, value, right(option))


def _strings(variable: Variable, value: object) -> list[str]:
    given = value
    if isinstance(value, str) and value.lstrip().startswith("["):  # -e 'firebreak_protected_hosts=["db*"]' is one string
        try:
            given = json.loads(value)
        except ValueError as error:
            raise PolicyError(variable.name, value, "a list of strings in JSON, or names with commas between them") from error
    elif isinstance(value, str):  # -e firebreak_critical_services=nginx,postgresql, or the lines of a survey
        given = [part.strip() for part in re.split(r"[,\n]", value) if part.strip()]
    if not isinstance(given, (list, tuple)) or not all(isinstance(item, str) and item.strip() for item in given):
        raise PolicyError(variable.name, value, "a list of strings")
    if variable.words and any(re.search(r"[\s'\"]", item.strip()) for item in given):
        raise PolicyError(variable.name, value, "one name an entry, without blanks and quotation marks; commas between them")
    if variable.choices and any(item.strip() not in variable.choices for item in given):
        raise PolicyError(variable.name, value, "a list of: " + ", ".join(variable.choices))
    return [str(item).strip() for item in given]


def convert(variable: Variable, value: object) -> object:
    """The value as the variable's kind. Raises PolicyError naming the variable and what would be right."""
    if variable.kind == "strings":
        return _strings(variable, value)
    if variable.kind == "int":
        text = str(value)
        if isinstance(value, (bool, float)) or not text.isascii() or not text.isdigit() or int(text) < variable.least:
            raise PolicyError(variable.name, value, right(variable.option) or f"a whole number, {variable.least} or more")
        return int(text)
    if variable.kind == "bool":
        try:
            return _boolean(value)  # -e firebreak_watch=false is a string
        except TypeError:
            raise PolicyError(variable.name, value, right(variable.option)) from None
    if variable.choices and value not in variable.choices:
        raise PolicyError(variable.name, value, "one of " + ", ".join(variable.choices))
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        expected = "the path of a folder" if variable.kind == "path" else "a string that is not empty"
        raise PolicyError(variable.name, value, expected)
    return str(value)


def read(
    task_vars: Mapping[str, object], template: Callable[[object], object], options: Collection[str]
) -> dict[str, object]:
    """Variable name -> value, for the variables that are set and matter for `options`.

    `template` renders one raw value. Raises PolicyError, also where a value cannot be rendered.
    """
    policy: dict[str, object] = {}
    for variable in VARIABLES:
        if task_vars.get(variable.name) is None or (variable.option and variable.option not in options):
            continue
        raw = task_vars[variable.name]
        try:
            value = template(raw)
        except AnsibleError as error:
            raise PolicyError(variable.name, raw, f"its template cannot be rendered: {error.message}") from error
        if value is not None:
            policy[variable.name] = convert(variable, value)
    return policy


def misspelt(names: Collection[str]) -> dict[str, str]:
    """firebreak_* names that nobody reads -> the name that was probably meant, or an empty text."""
    known = [variable.name for variable in VARIABLES] + list(_OTHERS)
    strange = sorted(name for name in names if name.startswith("firebreak_") and name not in known)
    if not strange:
        return {}
    import difflib

    return {name: "".join(difflib.get_close_matches(name, known, 1)) for name in strange}


def apply(arguments: Mapping[str, object], policy: Mapping[str, object], options: Collection[str]) -> dict[str, object]:
    """The task's own arguments, with the policy where they are silent."""
    merged: dict[str, object] = {}
    for variable in VARIABLES:
        if variable.option in options and variable.option is not None and variable.name in policy:
            merged[variable.option] = policy[variable.name]
    merged.update({name: value for name, value in arguments.items() if value is not None})
    return merged


def source(option: str, arguments: Mapping[str, object]) -> str:
    """How to name an option in a message: with its variable where the value came from there or could."""
    for variable in VARIABLES:
        if variable.option == option:
            return option if arguments.get(option) is not None else f"{option} (from the variable {variable.name})"
    return option


def unmatched(policy: Mapping[str, object], groups: Mapping[str, Collection[str]]) -> list[str]:
    """Entries of firebreak_protected_hosts that protect nobody: they name no host and no group of the inventory.

    `groups`: Ansible's variable, name of a group -> its hosts.
    """
    protected = policy.get("firebreak_protected_hosts", [])
    names = {"all", *groups, *(str(host) for hosts in groups.values() for host in hosts)}
    return [entry for entry in protected if not fnmatch.filter(names, entry)] if isinstance(protected, list) and protected else []


def check_brakes(
    policy: Mapping[str, object],
    host: str,
    groups: Sequence[str],
    hosts: Sequence[str],
    *,
    protect: bool,
    count: bool,
) -> None:
    """Refuse a protected host (`protect`) and a play with too many hosts (`count`). Raises BrakeError.

    Entries of firebreak_protected_hosts are names or patterns (`db*`) of hosts or groups.
    """
    protected = policy.get("firebreak_protected_hosts", [])
    if protect and isinstance(protected, list):
        for entry in protected:
            if any(fnmatch.fnmatchcase(name, entry) for name in (host, "all", *groups)):
                raise BrakeError(
                    f"{host} is protected: firebreak_protected_hosts has {entry!r}. Nothing was done. To act on it all the same, "
                    "override the list for this run: -e '{\"firebreak_protected_hosts\": []}'"
                )
    most = policy.get("firebreak_max_hosts", MAX_HOSTS)
    if count and isinstance(most, int) and len(hosts) > most:
        raise BrakeError(
            f"this play has {len(hosts)} hosts, and firebreak_max_hosts allows {most}. Nothing was done. Name fewer hosts (-l), or "
            f"raise the limit for this run: -e firebreak_max_hosts={len(hosts)}"
        )
