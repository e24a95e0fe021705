# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to put a plan into the kernel by iptables-restore and ip6tables-restore."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._errors import HostError
from .._text import printable
from . import _iptables
from ._commands import SAID, legacy_tables, run

if TYPE_CHECKING:
    from typing import Iterable

    from ._layer2_backend import Layer2
    from ._policy import Plan

_LOCK_WAIT = "5"  # seconds for the xtables lock


class Iptables:
    """Chains of our own in the tables filter and mangle of both families, jumped to first."""

    name = "iptables"

    def __init__(self, programs: list[str], nft: str | None, layer2: Layer2) -> None:
        self.programs = programs  # "/usr/sbin/iptables" and, where the kernel has IPv6, "/usr/sbin/ip6tables"
        self.nft = nft
        self.layer2 = layer2
        self._named: dict[str, set[str]] = {}  # our chains that were seen or are to be, by program
        self._known: dict[str, str] | None = None  # what was there when it was asked for first, before anything of ours was loaded
        self.legacy = "nft" not in os.path.basename(os.path.realpath(programs[0]))

    def _saves(self) -> dict[str, str]:
        saves = {}
        for program in self.programs:
            status, text, _error = run([program + "-save"])
            if status != 0:
                raise HostError("{0}-save fails, so the rules cannot be read; nothing was changed".format(program))
            saves[program] = text
            self._name(program, text)
        return saves

    def _name(self, program: str, text: str) -> None:
        self.know(program, _iptables.names_of(text))

    def know(self, program: str, names: Iterable[str]) -> None:
        """There are these chains of ours too."""
        self._named.setdefault(program, set()).update(names)

    def live(self) -> str:
        """Our chains as the kernel holds them, both families, and our table for frames; "" where there are none."""
        return self._ours(self._saves()) + self.layer2.live()

    @staticmethod
    def holds(listed: str) -> bool:
        """Whether a listing shows an isolation by this backend."""
        return "-A FIREBREAK-" in listed  # an empty chain holds nothing, and whoever leads to it keeps it from being removed

    @staticmethod
    def _ours(saves: dict[str, str]) -> str:
        parts = [(program, _iptables.ours(save)) for program, save in saves.items()]
        return "".join("# {0}\n{1}".format(os.path.basename(program), part) for program, part in parts if part)

    def holder(self, listing: str) -> str | None:
        """The case that a listing belongs to."""
        return _iptables.holder(listing)

    def rules(self, plan: Plan, case: str, fresh: bool = False) -> dict[str, str]:
        """What is loaded, by program; jumps already in place are kept, unless the rules are for a `fresh` host."""
        if self._known is None and not fresh:
            self._known = self._saves()
        saves = dict.fromkeys(self.programs, "") if fresh or self._known is None else self._known
        rules = {program: _iptables.render(plan, case, self._family(program), saves[program]) for program in self.programs}
        for program, text in rules.items():
            self._name(program, text)
        return rules

    @staticmethod
    def _family(program: str) -> int:
        return 6 if "ip6" in os.path.basename(program) else 4

    def _nft_family(self, program: str) -> str:
        return "ip6" if self._family(program) == 6 else "ip"

    def try_out(self, rules: dict[str, str], plan: Plan) -> str | None:
        """In a private network: what these rules look like once loaded; None where they are refused."""
        fresh = {program: _unjumped(text) for program, text in rules.items()}
        for program, text in fresh.items():
            for table, builtin, chain in _iptables.HOOKS:
                line = "-I {0} 1 -j {1}".format(builtin, chain)
                head, mark, tail = text.partition("*{0}\n".format(table))
                body, commit, rest = tail.partition("COMMIT")
                text = head + mark + body + line + "\n" + commit + rest
            fresh[program] = text

        for program, text in fresh.items():
            if run([program + "-restore", "--noflush", "-w", _LOCK_WAIT], text)[0] != 0:
                return None
        frames = self.layer2.on_trial(plan)
        if frames and self.nft is not None and run([self.nft, "-f", "-"], frames)[0] == 0:
            return self._ours(self._saves()) + self.layer2.as_here(self.layer2.live())
        return self._ours(self._saves()) + self.layer2.instead(plan)

    def prepare(self) -> None:
        """Nothing: iptables-restore holds the lock from its start, which would keep others from it."""

    def load(self, rules: dict[str, str]) -> None:
        """Put the rules in force, family by family. Raises HostError; the caller undoes what is half in force."""
        for program, text in rules.items():
            status, _output, error = run([program + "-restore", "--noflush", "-w", _LOCK_WAIT], text)
            if status != 0:
                raise HostError("{0}-restore refuses the rules ({1})".format(program, printable(error.strip(), SAID)))

    def tables(self) -> dict[str, list[str]]:
        """Tables and chains ("filter", "filter/INPUT") that exist before us, by program: what our calls make goes again."""
        if self.legacy:
            return {program: legacy_tables(self._family(program)) for program in self.programs}
        if self.nft is None:  # iptables-save shows built-in chains that do not exist yet
            return {}
        status, text, _error = run([self.nft, "list", "chains"])
        if status != 0:
            return {}
        found: dict[str, list[str]] = {program: [] for program in self.programs}
        names: list[str] = []
        table = ""
        for line in text.splitlines():
            words = line.split()
            if words[:1] == ["table"] and len(words) > 2:
                table = words[2]
                names = next((found[program] for program in self.programs if self._nft_family(program) == words[1]), [])
                names.append(table)
            elif words[:1] == ["chain"] and len(words) > 1:
                names.append("{0}/{1}".format(table, words[1]))
        return found

    def knocks(self, plan: Plan) -> dict[str, object]:
        """How to read the number of connections that the responder has begun: a command, and a pattern in what it prints."""
        family = 6 if ":" in plan.session.peer_address else 4
        program = next((program for program in self.programs if self._family(program) == family), self.programs[0])
        return {"argv": [program + "-save", "-c", "-t", "filter"], "pattern": _iptables.COUNTED}

    def counted(self) -> dict[str, int]:
        """Packets that would have been cut, with mode observe."""
        return _iptables.counted([run([program + "-save", "-c", "-t", "filter"])[1] for program in self.programs])

    def residual(self, tables: dict[str, list[str]]) -> list[str]:
        """Tables that our calls made and that nothing takes away before a reboot: empty, and letting everything pass."""
        if not self.legacy:
            return []
        return ["iptables-legacy table {0} of IPv{1}".format(name, self._family(program)) for program in self.programs
                for name in legacy_tables(self._family(program)) if name not in tables.get(program, [name])]

    def back(self, rules: dict[str, str] | None, tables: dict[str, list[str]]) -> list[dict[str, object]]:
        """Commands that bring back `rules`, or no isolation; each may fail where there is nothing to remove."""
        if rules:  # the jumps are in place by then
            return [step for program, text in rules.items() for step in self._back_to(program, _unjumped(text))]
        steps: list[dict[str, object]] = []
        for program in self.programs:
            # All at once where everything is as we made it: each change by itself waits for the kernel, 10 to 20 ms.
            names = sorted(self._named.get(program, ()))
            calls = _iptables.unhook(names)
            steps.append({"argv": [program + "-restore", "--noflush", "-w", _LOCK_WAIT], "stdin": _iptables.unhook_at_once(names),
                          "may_fail": True, "spares": len(calls)})
            steps += [{"argv": [program, "-w", _LOCK_WAIT, *call], "may_fail": True} for call in calls]
        if self.legacy or self.nft is None:
            return steps
        for program in self.programs:
            family = self._nft_family(program)
            known = tables.get(program)
            if known is None:
                continue
            for table, builtins in _iptables.BUILTINS:
                if table not in known:
                    gone = [("table", [table], "")]
                else:
                    gone = [("chain", [table, chain], chain) for chain in builtins if table + "/" + chain not in known]
                for kind, names, chain in gone:
                    steps.append({
                        "argv": [self.nft, "delete", kind, family, *names], "may_fail": True, "chain": chain,
                        "if_empty": [program + "-save", "-t", table]})
        return steps

    def _back_to(self, program: str, text: str) -> list[dict[str, object]]:
        """Earlier rules again. Chains that they do not have are emptied with that, and removed apart: somebody may lead to one of them."""
        argv, names = [program + "-restore", "--noflush", "-w", _LOCK_WAIT], sorted(self._named.get(program, ()))
        steps: list[dict[str, object]] = [{"argv": argv, "stdin": _iptables.without(text, names, names)}]
        gone = _iptables.removed(text, names)
        return [*steps, {"argv": argv, "stdin": gone, "may_fail": True}] if gone else steps


def _unjumped(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith(("-D ", "-I "))) + "\n"
