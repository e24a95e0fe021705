# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to put a plan into the kernel by nft, and the choice between it and iptables, which has the same face."""

from __future__ import annotations

import os

from .._errors import HostError
from .._text import printable
from . import _nftables
from ._commands import INET, IPV4, IPV6, SAID, TABLE, chain_exists, find, legacy_tables, listing, run, start, table_exists
from ._layer2_backend import Layer2
from ._policy import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Union

    from ._iptables_backend import Iptables

    Engine = Union["Nftables", Iptables]


class Nftables:
    """A table of our own, loaded in one transaction, and beside it the one for frames."""

    name = "nftables"
    programs: list[str] = []

    def __init__(self, nft: str, layer2: Layer2) -> None:
        self.nft = nft
        self.layer2 = layer2
        self._waiting: subprocess.Popen[bytes] | None = None

    def live(self) -> str:
        """The listing of our tables as the kernel holds them; "" where there are none."""
        return ("" if table_exists(INET) is False else listing(self.nft, "inet")) + self.layer2.live()

    @staticmethod
    def holds(listed: str) -> bool:
        """Whether a listing shows an isolation by this backend."""
        return "table inet " in listed

    def holder(self, listing: str) -> str | None:
        """The case that a listing belongs to."""
        return _nftables.holder(listing)

    def rules(self, plan: Plan, case: str, fresh: bool = False) -> dict[str, str]:
        """What is loaded, by program; it does not depend on what is there."""
        return {self.nft: _nftables.render(plan, case)}

    def try_out(self, rules: dict[str, str], plan: Plan) -> str | None:
        """In a private network: the listing that these rules give, as it should read here; None where they are refused."""
        frames = self.layer2.on_trial(plan)
        if frames and run([self.nft, "-f", "-"], rules[self.nft][len(_nftables.REMOVE):] + frames)[0] == 0:
            # Nothing else is there: one call shows both tables, in whatever order.
            _status, text, _error = run([self.nft, "-n", "-s", "list", "ruleset"])
            return self.layer2.as_here("".join(sorted(text.replace("\ntable ", "\n\0table ").split("\0"))))
        return self.live() + self.layer2.instead(plan) if self._load(rules[self.nft], True) is None else None

    def prepare(self) -> None:
        """Start the program that `load` hands the rules to; without them it ends with us and has changed nothing."""
        self._waiting = start([self.nft, "-f", "-"])

    def load(self, rules: dict[str, str]) -> None:
        """Put the rules in force. Raises HostError; nothing is in force then."""
        error = self._load(rules[self.nft], table_exists(INET) is False)
        if error is not None:
            raise HostError("nft refuses the rules ({0}); nothing was changed".format(printable(error.strip(), SAID)))

    def _load(self, text: str, fresh: bool) -> str | None:
        """None where nft took it, else what it said.

        `fresh`: there is no such table, so none is taken away first, which costs 10 ms of waiting for RCU.
        """
        waiting, self._waiting = self._waiting, None
        if fresh and run([self.nft, "-f", "-"], text[len(_nftables.REMOVE):], waiting)[0] == 0:
            return None
        status, _output, error = run([self.nft, "-f", "-"], text, None if fresh else waiting)
        return error if status else None

    def tables(self) -> dict[str, list[str]]:
        """Shared tables that exist before us; none are used."""
        return {}

    def knocks(self, _plan: Plan) -> dict[str, object]:
        """How to read the number of connections that the responder has begun: a command, and a pattern in what it prints."""
        return {"argv": [self.nft, "list", "chain", "inet", TABLE, "inbound"], "pattern": _nftables.COUNTED}

    def counted(self) -> dict[str, int]:
        """Packets that would have been cut, with mode observe."""
        return _nftables.counted(run([self.nft, "list", "table", "inet", TABLE])[1])

    def residual(self, _tables: dict[str, list[str]]) -> list[str]:
        """What our calls made and nothing takes away: nothing."""
        return []

    def back(self, rules: dict[str, str] | None, _tables: dict[str, list[str]]) -> list[dict[str, object]]:
        """Commands that bring back `rules`, or no isolation."""
        return [{"argv": [self.nft, "-f", "-"], "stdin": rules[self.nft] if rules else _nftables.REMOVE}]


def by_iptables(root: str = "/") -> bool:
    """Whether chains of ours may be in iptables, whatever the host remembers; asked without starting a program."""
    if any(chain_exists(family, "filter", "FIREBREAK-INPUT") for family in (IPV4, IPV6)):
        return True
    program = find("iptables", root)
    return program is not None and "nft" not in os.path.basename(os.path.realpath(program)) and "filter" in legacy_tables(4)


def choose(backend: str, root: str = "/") -> tuple[Engine, str]:
    """The backend and why it was taken. Raises HostError where the host has none that works."""
    nft, iptables = find("nft", root), find("iptables", root)
    nft_works = nft is not None and table_exists(INET) is not None
    layer2 = Layer2(nft if nft_works else None, root)
    if backend in ("auto", "nftables") and nft is not None and nft_works:
        return Nftables(nft, layer2), (
            "asked for" if backend == "nftables" else "nft is installed and the kernel has nf_tables")
    if backend == "nftables":
        raise HostError("backend: nftables was asked for, but {0}; nothing was changed".format(
            "nft is not installed" if nft is None else "the kernel has no nf_tables"))
    from ._iptables_backend import Iptables

    if iptables is None or find("iptables-restore", root) is None:
        raise HostError(
            "backend: this host has neither a working nft nor iptables, so it cannot be isolated from inside; "
            "nothing was changed. Install nftables, or isolate it at the switch or hypervisor")
    programs = [iptables]
    if os.path.exists(os.path.join(root, "proc/net/if_inet6")):
        ip6tables = find("ip6tables", root)
        if ip6tables is None:
            raise HostError("backend: the host has IPv6 but no ip6tables; nothing was changed")
        programs.append(ip6tables)
    if backend == "iptables":
        return Iptables(programs, nft, layer2), "asked for"
    return Iptables(programs, nft, layer2), (
        "nft is not installed" if nft is None else "nft is installed but the kernel has no nf_tables")
