# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to put a plan into the kernel by nft, and the choice between it and iptables, which has the same face."""

from __future__ import annotations

import os

from .._errors import HostError
from .._text import printable
from . import _nftables
from ._commands import SAID, Trial, find, run, start, table_exists
from ._policy import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Union

    from ._iptables_backend import Iptables

    Engine = Union["Nftables", Iptables]


class Nftables:
    """One table of our own, loaded in one transaction."""

    name = "nftables"

    def __init__(self, nft: str) -> None:
        self.nft = nft
        self._waiting: subprocess.Popen[bytes] | None = None

    def live(self) -> str:
        """The listing of our table as the kernel holds it; "" where there is none."""
        if table_exists(_nftables.TABLE) is False:
            return ""
        return self._list() or ""

    def _list(self) -> str | None:
        status, text, _error = run([self.nft, "-n", "-s", "list", "table", "inet", _nftables.TABLE])
        return text if status == 0 else None

    def holder(self, listing: str) -> str | None:
        """The case that a listing belongs to."""
        return _nftables.holder(listing)

    def rules(self, plan: Plan, case: str) -> dict[str, str]:
        """What is loaded, by program."""
        return {self.nft: _nftables.render(plan, case)}

    def trial(self, rules: dict[str, str]) -> Trial:
        """The listing that these rules give, from a private network."""
        return Trial(lambda: self._list() if self._load(rules[self.nft], True) is None else None)

    def prepare(self) -> None:
        """Start the program that `load` hands the rules to; without them it ends with us and has changed nothing."""
        self._waiting = start([self.nft, "-f", "-"])

    def load(self, rules: dict[str, str]) -> None:
        """Put the rules in force. Raises HostError; nothing is in force then."""
        error = self._load(rules[self.nft], table_exists(_nftables.TABLE) is False)
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

    def back(self, rules: dict[str, str] | None, _tables: dict[str, list[str]]) -> list[dict[str, object]]:
        """Commands that bring back `rules`, or no isolation."""
        return [{"argv": [self.nft, "-f", "-"], "stdin": rules[self.nft] if rules else _nftables.REMOVE}]


def choose(backend: str, root: str = "/") -> tuple[Engine, str]:
    """The backend and why it was taken. Raises HostError where the host has none that works."""
    nft, iptables = find("nft", root), find("iptables", root)
    nft_works = nft is not None and table_exists(_nftables.TABLE) is not None
    if backend in ("auto", "nftables") and nft is not None and nft_works:
        return Nftables(nft), (
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
        return Iptables(programs, nft), "asked for"
    return Iptables(programs, nft), (
        "nft is not installed" if nft is None else "nft is installed but the kernel has no nf_tables")
