# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules for frames put into the kernel by nft, or by tc in its place, whatever the other rules are put there by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import HostError
from .._host._netstate import dump
from .._text import printable
from . import _layer2, _policy
from ._commands import NETDEV, find, listing, run, table_exists

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._policy import Plan
    from ._tc_backend import ByTc


_REFUSED = "nft or the kernel refuses the rules: the egress hook needs Linux 5.16 and nft 1.0.1"
_NO_NFT = "the host has no nft"
_GONE = "the rules for frames are gone"
LATE = "it came after the isolation"


class Layer2:
    """Our table of the family netdev, or programs of tc where nft cannot load it. `nft` None: the host has no nft.

    had: devices whose qdisc clsact is not ours, where tc is at work; None where that is not known.
    """

    def __init__(self, nft: str | None, root: str = "/") -> None:
        self.nft = nft
        self.tc = find("tc", root)
        self.devices = _layer2.Devices([], [], {})
        self.refused = False
        self.had: list[str] | None = None
        self.why = "" if nft is not None else _NO_NFT
        self._programs: list[tuple[str, str]] = []
        # For tc: others' places (why they cannot be ours), qdiscs that are not ours, what is meant, and whether something is there.
        self.unfit: dict[str, str] = {}
        self.not_ours: list[str] = []
        self.by_tc: ByTc | None = None
        self.in_force = False

    def text(self, plan: Plan) -> str:
        """The rules for the devices that there are now; "" where nothing can be covered by nft."""
        if plan.mode == _policy.OBSERVE:
            self.why = "with mode: observe they pass, and are not counted"
            return ""
        try:
            links, qdiscs = dump("links"), dump("qdiscs")
            self.devices, self._programs = _layer2.sort(links), _layer2.programs(links, qdiscs, self._strangers(links, qdiscs))
        except OSError as error:
            self.why = "the interfaces cannot be listed: {0}".format(error.strerror)
            return ""
        text = _layer2.render(plan, self.devices)
        self.why = ("" if self.nft is not None else _NO_NFT) if text else "there is no interface that rules could be bound to"
        return text if self.nft is not None else ""

    def _strangers(self, links: list[dict[str, object]], qdiscs: list[dict[str, object]]) -> set[str]:
        """Devices on which filters of others hang. On most hosts there is no qdisc that could hold one."""
        self.unfit, self.not_ours = {}, []
        if not _may_hold(qdiscs):
            return set()
        from . import _tc_backend

        return _tc_backend.look(self, links, qdiscs)

    @property
    def there(self) -> bool:
        """Whether the kernel holds our table."""
        return self.nft is not None and table_exists(NETDEV) is True

    def live(self) -> str:
        """Its listing, and what tc has of ours; "" where there is none."""
        text = _layer2.normal(listing(self.nft, _layer2.FAMILY)) if self.nft is not None and self.there else ""
        try:
            qdiscs = dump("qdiscs")
        except OSError:
            return text
        self.in_force = False
        if not _may_hold(qdiscs):
            return text
        from . import _tc_backend

        by_tc = _tc_backend.live(qdiscs)
        self.in_force = bool(by_tc)
        return text + by_tc

    def on_trial(self, plan: Plan) -> str:
        """The rules for a private network; "" where there are none, or they were refused here."""
        return "" if self.nft is None or self.refused else _layer2.render(plan, _layer2.on_trial(self.devices))

    def as_here(self, text: str) -> str:
        """A listing of a private network with the devices of this one."""
        return _layer2.normal(text, {"ethernet": self.devices.ethernet, "bare": self.devices.bare})

    def instead(self, plan: Plan) -> str:
        """In a private network, where nft takes no rules for frames: what tc will show here; "" where it cannot either."""
        if not self.devices.covered:
            return ""
        from . import _tc_backend

        return _tc_backend.on_trial(self, plan)

    @property
    def not_by_nft(self) -> str:
        """Why it is not done by the egress hook."""
        return _NO_NFT if self.nft is None else _REFUSED

    def in_case(self) -> list[dict[str, object]]:
        """Commands that take away what tc may have to do, for before it is known whether nft takes the rules."""
        if self.tc is None or self.in_force:
            return []
        return _layer2.taken_away(self.tc, self.devices.covered, [name for name in self.devices.covered if name not in self.not_ours])

    def load_by_tc(self, plan: Plan) -> bool:
        """Where nft did not take the rules, have tc hold frames back; whether it does."""
        if not (self.refused or self.nft is None):
            return False
        from . import _tc_backend

        return _tc_backend.load(self, plan)

    def check(self, text: str) -> None:
        """Ask nft and the kernel whether they would take the rules, for these very devices. Raises HostError where not: what tc does
        leaves a way open."""
        if self.nft is None or not text:
            raise HostError("layer2: required was asked for, but {0}; nothing was changed".format(self.why))
        if self.devices.left:
            raise HostError("layer2: required was asked for, but not every interface can be covered ({0}); nothing was changed".format(
                len(self.devices.left)))
        if run([self.nft, "-c", "-f", "-"], text)[0] != 0:
            raise HostError("layer2: required was asked for, but {0}; nothing was changed".format(_REFUSED))

    def load(self, text: str) -> bool:
        """Put the rules in force, or with "" take earlier ones away; whether they are. What tc held back by an earlier plan goes then."""
        if self.nft is not None and text:
            if run([self.nft, "-f", "-"], text)[0] != 0:
                self.why = _REFUSED
                self.refused = True
                return False
        elif self.nft is not None and self.there:
            run([self.nft, "-f", "-"], _layer2.REMOVE)
        if self.in_force and (text or not self.devices.covered):
            from . import _tc_backend

            _tc_backend.clear_all()
            self.in_force = False
        return bool(text) and self.nft is not None

    def report(self, listed: str, meant: str) -> dict[str, object]:
        """What a listing of this moment covers, of what was meant: {"cover", "why", "devices", "open": [{"device", "why"}],
        "programs": [{"device", "what"}]}."""
        by_nft, by_tc = _layer2.bound(listed), _layer2.bound_by_tc(listed)
        bound = by_nft or by_tc
        programs = [{"device": printable(name, 64), "what": what} for name, what in self._programs]
        missing = {} if not bound else {name: LATE for name in self.devices.covered if name not in bound}
        cannot = dict(self.unfit) if by_tc and not by_nft else {}
        why = "" if by_nft else self.not_by_nft
        if not bound:
            was = _layer2.bound(meant) or _layer2.bound_by_tc(meant)
            why = self.why or (_GONE if was else "{0}, and tc takes no programs".format(why) if self.tc else "{0}, and it has no tc".format(why))
        return {
            "cover": "egress-hook" if by_nft else "tc" if by_tc else "none", "why": why, "devices": bound, "programs": programs,
            "open": [{"device": printable(name, 64), "why": reason}
                     for name, reason in sorted({**self.devices.left, **missing, **cannot}.items())],
        }

    def stored(self, plan: Plan) -> dict[str, str]:
        """Where tc is at work: the programs as a unit is to load them, by "egress-ethernet" and so on."""
        if not self.in_force:
            return {}
        from . import _tc_backend

        return _tc_backend.stored(self, plan)

    @property
    def left(self) -> list[str]:
        """Devices whose frames are not ours to hold back."""
        return sorted({*self.devices.left, *(self.unfit if self.in_force else ())})

    def lost(self, was: str, now: str) -> bool:
        """Whether devices that are there still have lost what tc held back, or have something else instead; of two listings of one plan."""
        return any(line not in now for line in was.splitlines() if " by tc: " in line and line.split()[0] in self.devices.covered)

    def back(self, text: str, plan: Callable[[], Plan | None] = lambda: None) -> list[dict[str, object]]:
        """Commands that bring back the earlier rules of a plan, or none."""
        by_tc = self.by_tc is not None or self.in_force
        steps: list[dict[str, object]] = []
        if self.nft is not None:
            steps.append({"argv": [self.nft, "-f", "-"], "stdin": _layer2.REMOVE if by_tc else text or _layer2.REMOVE, "may_fail": True})
        if not (by_tc or self.had is not None) or self.tc is None:
            return steps
        from . import _tc_backend

        return steps + _tc_backend.back(self, self.tc, plan())

    def back_everywhere(self) -> list[dict[str, object]]:
        """The same for whatever interfaces there are by then, where the unit has tc cover those that come later; nothing for nft."""
        if self.tc is None or not self.in_force:
            return []
        others = self.not_ours if self.had is None else self.had
        return [{**step, "each": others} for step in _layer2.taken_away(self.tc, ["@DEVICE@"], ["@DEVICE@"])]


def _may_hold(qdiscs: list[dict[str, object]]) -> bool:
    return any(one.get("kind") in ("clsact", "ingress") for one in qdiscs)
