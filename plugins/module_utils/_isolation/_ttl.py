# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end that a confirmed isolation comes to by itself: a lasting systemd timer, and the script of the rollback with steps of its own.

What decides is pure; `Deadline` writes the units. The steps do what a release does, as far as the host's programs can do it.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from .._errors import HostError, OptionError
from .._host._files import read_regular
from .._host._sockets import own_addresses
from . import _stand_in
from ._commands import HELD, UNIT_PLACES, end_units, find, run
from ._policy import OBSERVE

if TYPE_CHECKING:
    from typing import Any

    from .._host._workdir import Workdir
    from ._backends import Engine
    from ._control import Isolation
    from ._policy import Network, Plan

LEAST, MOST = 60, 2592000  # seconds
SCRIPT = "end.py"
_TERMS = 200  # of ss's filter: the kernel's form of it is limited
_LIMIT = 65536
_STAMPS = "/var/lib/systemd/timers/stamp-"  # what systemd remembers of a timer with Persistent=


def utc(at: float) -> str:
    """A moment as results say it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def when(end: object) -> str | None:
    """The moment that the work folder speaks of; None where it speaks of none, or of one that cannot be."""
    at = end.get("at") if isinstance(end, dict) else None
    return utc(at) if isinstance(at, (int, float)) and 0 <= at < 2 ** 33 else None


def units(case: str, folder: str, token: str, at: float, python: str) -> dict[str, str]:
    """Name -> text of the timer and of what it starts. In UTC: the host's own time may have hours twice."""
    service, timer = end_units(case)
    what = "Description=Firebreak ends the network isolation of case {0}, whose time is over".format(case)
    return {
        service: "\n".join((
            "# Gives this host back when the time is over that the isolation for the incident {0} was meant for.".format(case),
            "[Unit]", what, "RequiresMountsFor=" + folder,
            "[Service]", "Type=oneshot", "Environment=LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin", "UMask=0077",
            "ExecStart={0} -I -S {1}/{2} end {3}".format(python, folder, SCRIPT, token), "")),
        timer: "\n".join((
            "[Unit]", what, "[Timer]", time.strftime("OnCalendar=%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)),
            # A host that is off at that time ends its isolation when it is on again.
            "Persistent=true", "AccuracySec=1s", "[Install]", "WantedBy=timers.target", "")),
    }


def forbidden(plan: Plan, own: list[str]) -> str | None:
    """ss(8)'s filter for the TCP sockets that a plan forbids; None where it would be too long. `own`: the host's addresses."""
    terms = ["dst 127.0.0.0/8", "dst [::1]", *("dst {0}".format(_shown(address)) for address in own)]
    terms += ["( dst {0} and sport = :{1} )".format(_net(network), port) for network in plan.management for port in plan.ports]
    for (protocol, port, direction), networks in plan.groups().items():
        if protocol == "tcp":
            side = "dport" if direction == "out" else "sport"
            terms += ["( dst {0} and {1} = :{2} )".format(_net(network), side, port) for network in networks]
    return "not ( {0} )".format(" or ".join(terms)) if len(terms) <= _TERMS else None


def _shown(address: str) -> str:
    return "[{0}]".format(address) if ":" in address else address


def _net(network: Network) -> str:
    return "{0}/{1}".format(_shown(str(network.network_address)), network.prefixlen)


def steps(
    engine: Engine, tables: dict[str, list[str]], plan: Plan, own: list[str], paths: list[str], unit: str, root: str = "/",
) -> list[dict[str, object]]:
    """What ends the isolation, for `_undo.perform`: first the sockets that would come back to life, then what holds the rules, then
    the rules. `tables`: the shared ones that were there before us; `paths`: of the unit that holds them, with its links, its files last."""
    systemctl, ss, nft = find("systemctl", root) or "systemctl", find("ss", root), find("nft", root)
    meant = forbidden(plan, own) if plan.mode != OBSERVE else None  # what was never cut goes on
    found: list[dict[str, object]] = []
    if ss is not None and meant is not None:
        found.append({"argv": [ss, "-H", "-K", "-t", "-n", meant], "may_fail": True})
    calls = _stand_in.steps(None, _stand_in.names(plan), root)
    again: list[dict[str, object]] = [
        {"argv": [systemctl, "stop", unit], "may_fail": True}, {"argv": [find("rm", root) or "rm", "-rf", "--", *paths]},
        {"argv": [systemctl, "daemon-reload"], "may_fail": True},
        # Somebody may have kept it from being stopped, by a file that is gone now.
        {"argv": [systemctl, "kill", "--signal=KILL", unit], "may_fail": True}, {"argv": [systemctl, "stop", unit], "may_fail": True}]
    # What stood in for nft is taken away only where it was needed: even to ask iptables makes tables.
    found.append({"argv": [find("test", root) or "test", "!", "-e", paths[-1] + "/fallback"], "may_fail": True, "spares": len(calls) + len(again)})
    found += [*again, *calls, *again]
    if nft is not None:
        found += [{"argv": [nft, "delete", "table", family, HELD], "may_fail": True} for family in ("inet", "netdev")]
    return [*found, *engine.back(None, tables), *engine.layer2.back(""), *engine.layer2.back_everywhere()]


class Deadline:
    """The timer of one case and what it starts."""

    def __init__(self, work: Workdir, root: str = "/") -> None:
        self.work = work
        self.root = root
        self.systemctl = find("systemctl", root)
        if not os.path.isdir(os.path.join(root, "run/systemd/system")):
            self.systemctl = None

    def check(self) -> None:
        """Raises HostError where there can be no timer."""
        if self.systemctl is None:
            raise HostError("ttl: the host is not run by systemd, so nothing would end the isolation; nothing was changed. Leave ttl out")

    def change(self, end: object, ttl: object, runs: bool) -> tuple[str, str] | None:
        """How another `ttl` (seconds, or none) changes an isolation: a line for a diff before and after, empty where it does not end; None where
        nothing changes. `end`: of the work folder; `runs`: whether there is a timer. Raises OptionError, HostError."""
        at, same = when(end), isinstance(end, dict) and end.get("ttl") == ttl
        line = "ends by itself at {0}\n".format(at)
        before = line if at and runs else ""
        if not ttl:
            return (before, "") if runs else None
        if not (isinstance(ttl, int) and LEAST <= ttl <= MOST):
            raise OptionError("ttl", ttl, "must be from {0} to {1} seconds, or 0 for no end".format(LEAST, MOST))
        self.check()
        if self.stands(end, ttl):
            return None
        return before, line if at and same else "ends by itself after {0} seconds\n".format(ttl)

    def _paths(self) -> list[str]:
        service, timer = end_units(self.work.case)
        places = [os.path.join(self.root, place) for place in UNIT_PLACES]
        return [os.path.join(place, name) for place in places for name in (service, timer, "timers.target.wants/" + timer)]

    def leftovers(self) -> list[str]:
        """All files that belong to it."""
        return [*self._paths(), os.path.join(self.root, _STAMPS[1:] + end_units(self.work.case)[1]), self.work.file(SCRIPT)]

    def last(self) -> list[dict[str, object]]:
        """Steps that take it away when it is at work itself."""
        return [{"argv": [self.systemctl or "systemctl", "stop", end_units(self.work.case)[1]], "may_fail": True},
                {"argv": [find("rm", self.root) or "rm", "-f", "--", *self.leftovers(), self.work.file("undo.py")]},
                {"argv": [self.systemctl or "systemctl", "daemon-reload"], "may_fail": True}]

    def _meant(self, end: dict[str, Any]) -> dict[str, str]:
        return units(self.work.case, self.work.path, str(end["token"]), float(end["at"]), sys.executable or "/usr/bin/python3")

    def _place(self) -> str:
        lasting = not self.work.root.startswith("/run/")
        return os.path.join(self.root, UNIT_PLACES[0 if lasting else 1])

    def stands(self, end: object, ttl: int) -> bool:
        """Whether the deadline that the work folder speaks of is this one, and its timer runs."""
        if not isinstance(end, dict) or end.get("ttl") != ttl or self.systemctl is None:
            return False
        try:
            for name, text in self._meant(end).items():
                if read_regular(os.path.join(self._place(), name), _LIMIT) != text.encode("ascii"):
                    return False
        except (OSError, LookupError, TypeError, ValueError, OverflowError):
            return False
        return os.path.exists(self.work.file(SCRIPT)) and run([self.systemctl, "is-active", end_units(self.work.case)[1]])[0] == 0

    def put(self, end: dict[str, Any]) -> None:
        """Start the timer. Raises HostError where that fails."""
        import pkgutil

        self.check()
        source = pkgutil.get_data(__name__.rpartition(".")[0], "_undo.py")
        if source is None or self.systemctl is None:
            raise HostError("ttl: the script that ends the isolation is missing")
        self.work.write(SCRIPT, source)
        timer = end_units(self.work.case)[1]
        try:
            for path in self._paths():
                _gone(path)
            wants = os.path.join(self._place(), "timers.target.wants")
            os.makedirs(wants, exist_ok=True)
            for name, text in self._meant(end).items():
                with open(os.path.join(self._place(), name), "w", encoding="ascii") as handle:
                    handle.write(text)
                    handle.flush()
                    os.fsync(handle.fileno())
            os.symlink("../" + timer, os.path.join(wants, timer))
        except OSError as error:
            raise HostError("ttl: the timer cannot be written: {0}".format(error.strerror)) from error
        run([self.systemctl, "daemon-reload"])
        if run([self.systemctl, "restart", timer])[0] != 0:
            raise HostError("ttl: systemd does not start {0}".format(timer))

    def remove(self) -> list[str]:
        """Take the timer away, with all that belongs to it; a sentence for each file that cannot be removed."""
        service, timer = end_units(self.work.case)
        if self.systemctl is not None:
            run([self.systemctl, "stop", timer, service])
        left = []
        for path in self.leftovers():
            try:
                _gone(path)
            except OSError as error:
                left.append("{0} cannot be removed: {1}".format(path, error.strerror))
        if self.systemctl is not None:
            run([self.systemctl, "daemon-reload"])
            run([self.systemctl, "reset-failed", timer, service])  # where somebody has made it fail, it would be remembered
        return left


def _gone(path: str) -> None:
    """Remove a file, or what somebody has put in its place. Raises OSError."""
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil

        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def end_after(isolation: Isolation, engine: Engine, plan: Plan, ttl: object) -> str:
    """Have a confirmed isolation end by itself so many seconds from now, or not at all; why it will not, "" where it will."""
    deadline, state = Deadline(isolation.work, isolation.root), isolation.state
    if not ttl:
        deadline.remove()
        state["end"] = None
        isolation.work.update(isolation=state)
        return ""
    old, tables, holder = state.get("end"), state.get("tables"), isolation.holder
    now, limit = time.time(), int(str(ttl))
    at = old.get("at") if isinstance(old, dict) and old.get("ttl") == ttl else None  # somebody has removed the timer
    at = max(at, now + 10) if isinstance(at, (int, float)) and at <= now + limit else now + limit
    own = sorted(own_addresses(os.path.join(isolation.root, "proc")))
    end = {
        "ttl": ttl, "at": at, "token": os.urandom(4).hex(), "last": deadline.last(),
        "steps": steps(engine, tables if isinstance(tables, dict) else {}, plan, own, holder.everything(), holder.unit, isolation.root)}
    state["end"] = end
    isolation.work.update(isolation=state)
    try:
        deadline.put(end)
    except HostError as error:  # it is isolated all the same
        return str(error)
    return ""
