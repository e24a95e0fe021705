# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collectors, most volatile first, and the one loop that runs them within their limits."""

from __future__ import annotations

import time

from . import _take_network as network
from . import _take_processes as processes
from . import _take_system as system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._bundle import Bundle
    from ._context import Context

_MIB = 1048576


class Collector:
    """What is taken, how soon it is gone, and how much it may cost.

    `volatility`: lower goes first; `max_bytes`, `max_seconds`: its own limits, within those of the whole; `command`: whether
    it runs a program of the host; `take(bundle, context)` adds members and says `bundle.fail` of what it cannot take.
    """

    __slots__ = ("command", "max_bytes", "max_seconds", "name", "take", "volatility")

    def __init__(
        self, name: str, volatility: int, max_bytes: int, max_seconds: float, command: bool,
        take: Callable[[Bundle, Context], None],
    ) -> None:
        self.name = name
        self.volatility = volatility
        self.max_bytes = max_bytes
        self.max_seconds = max_seconds
        self.command = command
        self.take = take


VOLATILE = [
    Collector("sockets", 1, 64 * _MIB, 5, False, network.take_sockets),
    Collector("first_look", 2, 64 * _MIB, 5, False, processes.take_first_look),
    Collector("namespace_sockets", 3, 64 * _MIB, 5, False, network.take_namespace_sockets),
    Collector("processes", 4, 128 * _MIB, 10, False, processes.take_processes),
    Collector("network", 5, 64 * _MIB, 5, False, network.take_network),
    Collector("firewall", 6, 32 * _MIB, 5, True, network.take_firewall),
    Collector("deleted_files", 7, 16 * _MIB, 5, False, processes.take_deleted_files),
    Collector("logins", 8, 16 * _MIB, 2, False, system.take_logins),
    Collector("modules", 9, 8 * _MIB, 2, False, system.take_modules),
    Collector("mounts", 10, 16 * _MIB, 2, False, system.take_mounts),
    Collector("system", 11, 16 * _MIB, 2, False, system.take_system),
    Collector("executables", 12, 16 * _MIB, 15, False, processes.take_programs),
    Collector("deleted_programs", 13, 192 * _MIB, 15, False, processes.take_deleted_programs),
]


def names() -> list[str]:
    """The names of the volatile tier's collectors, in their order."""
    return [collector.name for collector in VOLATILE]


def run(bundle: Bundle, context: Context, which: Iterable[str] | None = None) -> dict[str, dict[str, object]]:
    """Run the collectors (default: all), most volatile first; what each brought.

    {name: {"outcome": "complete" | "partial" | "missing", "bytes", "members", "seconds", "command"}}. A collector that fails
    makes the bundle partial and stops no other. Raises HostError where the bundle itself cannot be written.
    The caller says when it is safe: `bundle.sync()`.
    """
    wanted = None if which is None else set(which)
    coverage: dict[str, dict[str, object]] = {}
    for collector in VOLATILE:
        if wanted is not None and collector.name not in wanted:
            continue
        coverage[collector.name] = _run_one(collector, bundle, context)
    return coverage


def _run_one(collector: Collector, bundle: Bundle, context: Context) -> dict[str, object]:
    start = time.monotonic()
    members, missing, total = len(bundle.members), len(bundle.missing), bundle.left
    bundle.collector = collector.name
    if start > context.end:
        bundle.fail(collector.name, "the time for all collectors was used up")
    else:
        context.deadline = min(context.end, start + collector.max_seconds)
        bundle.left = allowed = min(total, collector.max_bytes)
        try:
            collector.take(bundle, context)
        except (OSError, ValueError, KeyError, IndexError, RuntimeError) as error:
            # What a hostile or broken host can bring a parser to; the other collectors go on.
            bundle.fail(collector.name, "failed: {0}".format(type(error).__name__))
        bundle.left = total - (allowed - bundle.left)
    bundle.collector = ""
    taken = len(bundle.members) - members
    outcome = "complete" if len(bundle.missing) == missing else "partial" if taken else "missing"
    return {
        "outcome": outcome,
        "bytes": total - bundle.left,
        "members": taken,
        "seconds": round(time.monotonic() - start, 4),
        "command": collector.command,
    }
