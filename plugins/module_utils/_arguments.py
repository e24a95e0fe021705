# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the modules, each written once; modules merge what they need."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Every default stands here and in the option's documentation, nowhere else.
CASE: dict[str, dict[str, object]] = {"case": {"type": "str", "required": True}}

ISOLATION_STATE: dict[str, dict[str, object]] = {
    "state": {"type": "str", "choices": ["isolated", "released"], "default": "isolated"}
}

PROCESS_STATE: dict[str, dict[str, object]] = {
    "state": {"type": "str", "choices": ["reported", "frozen", "terminated", "released"], "default": "reported"}
}

NETWORK: dict[str, dict[str, object]] = {
    "allow": {"type": "list", "elements": "str", "default": []},
    "management": {"type": "list", "elements": "str", "default": []},
    "management_networks": {"type": "list", "elements": "str", "default": []},
    "mode": {"type": "str", "choices": ["full", "egress", "observe"], "default": "full"},
    "backend": {"type": "str", "choices": ["auto", "iptables", "nftables"], "default": "auto"},
    "layer2": {"type": "str", "choices": ["auto", "required"], "default": "auto"},
    "accept_risks": {
        "type": "list",
        "elements": "str",
        "choices": [
            "network-root", "cluster-fencing", "virtual-machines", "tunnelled-management", "management-link", "directory-logins",
        ],
        "default": [],
    },
    "interfaces_down": {"type": "bool", "default": False},
    "confirm_within": {"type": "int", "default": 60},
    "on_management_lost": {"type": "str", "choices": ["widen", "release"], "default": "widen"},
    "then": {"type": "str", "choices": ["release", "hold"], "default": "release"},
    "persist": {"type": "bool", "default": True},
    "watch": {"type": "bool", "default": True},
    "ttl": {"type": "int"},
}

PROCESSES: dict[str, dict[str, object]] = {
    "pids": {"type": "list", "elements": "int", "default": []},
    "spare": {"type": "list", "elements": "str", "default": []},
    "critical_services": {"type": "list", "elements": "str", "default": []},
    "second_look": {"type": "int", "default": 3},
}

EVIDENCE: dict[str, dict[str, object]] = {
    "tier": {"type": "str", "choices": ["volatile"], "default": "volatile"},
    "max_bytes": {"type": "int", "default": 268435456},
    "max_seconds": {"type": "int", "default": 30},
}

AUTONOMY: dict[str, dict[str, object]] = {"autonomy": {"type": "str", "choices": ["report", "freeze", "terminate"], "default": "freeze"}}

STEPS: dict[str, dict[str, object]] = {
    "steps": {
        "type": "list",
        "elements": "str",
        "choices": ["snapshot", "isolation", "termination"],
        "default": ["snapshot", "isolation", "termination"],
    }
}

# Set by the action plugins alone; the documentation says so.
PRIVATE: dict[str, dict[str, object]] = {
    "_phase": {"type": "str", "choices": ["apply", "finish", "fetch"], "default": "apply"},
    "_transport": {"type": "str", "default": "ssh"},
    "_received": {"type": "dict", "default": {}},
    "_piece": {"type": "dict", "default": {}},
    "_checkpoint": {"type": "str", "default": ""},
}


def merge(*parts: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """One argument spec of several; a name may stand in one part only."""
    spec: dict[str, dict[str, object]] = {}
    for part in parts:
        for name, option in part.items():
            if name in spec:
                raise ValueError("option {0} stands twice".format(name))
            spec[name] = dict(option)
    return spec


def strings(value: object) -> list[str]:
    """A list option as texts; empty where it is no list."""
    return [str(entry) for entry in value] if isinstance(value, list) else []
