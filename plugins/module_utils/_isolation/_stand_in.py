# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""iptables as it stood in for an nft that was gone: how its chains are taken away again, and what then stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _iptables, _undo
from ._commands import IPV4, IPV6, find, run, table_exists
from ._iptables_backend import Iptables
from ._layer2_backend import Layer2

if TYPE_CHECKING:
    from typing import Iterable, Mapping

    from ._policy import Plan

_FAMILIES = (("iptables", "ip", IPV4), ("ip6tables", "ip6", IPV6))


def _base_tables(others: object) -> list[tuple[str, str, int, str]]:
    """(program, family, its number, table) of each base table that was not there at the confirmation; `others`: what was then."""
    if not isinstance(others, dict):
        return []
    return [(program, family, number, table) for program, family, number in _FAMILIES for table, _chains in _iptables.BUILTINS
            if "nftables {0} {1}".format(family, table) not in others]


def names(plan: Plan) -> dict[str, Iterable[str]]:
    """Our chains, by program, of what stands in for the rules of a plan."""
    return {program: _iptables.chains(plan.least(), "", 6 if family == "ip6" else 4) for program, family, _number in _FAMILIES}


def steps(others: object, chains: Mapping[str, Iterable[str]], root: str = "/") -> list[dict[str, object]]:
    """Commands that take the chains away, and base tables that nobody uses; `others`: what others had at the confirmation; `chains`: ours,
    by program."""
    programs = {name: find(name, root) for name, _family, _number in _FAMILIES}
    if programs["iptables"] is None:
        return []
    engine = Iptables([path for path in programs.values() if path is not None], find("nft", root), Layer2(None))
    for name, path in programs.items():
        engine.know(path or "", chains.get(name, ()))
    made = {(program, table) for program, _family, _number, table in _base_tables(others)}
    known = {path: [part for table, chains in _iptables.BUILTINS for part in (table, *(table + "/" + chain for chain in chains))
                    if (name, table) not in made]
             for name, path in programs.items() if path is not None}
    return engine.back(None, known if isinstance(others, dict) else {})


def take_away(others: object, root: str = "/") -> list[str]:
    """Do so; the base tables that stay, which are empty and let everything pass."""
    chains = {}
    for name, _family, _number in _FAMILIES:
        program = find(name, root)
        chains[name] = _iptables.names_of(run([program + "-save"])[1]) if program is not None else []
    _undo.perform(steps(others, chains, root))
    return ["nftables table {0} {1}".format(family, table) for _program, family, number, table in _base_tables(others)
            if table_exists(number, table) is True]
