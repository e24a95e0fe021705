# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules for frames put into the kernel by nft, whatever the other rules are put there by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import HostError
from .._host._netstate import dump
from .._text import printable
from . import _layer2, _policy
from ._commands import NETDEV, listing, run, table_exists

if TYPE_CHECKING:
    from ._policy import Plan


_REFUSED = "nft or the kernel refuses the rules: the egress hook needs Linux 5.16 and nft 1.0.1"
_GONE = "the rules for frames are gone"
LATE = "it came after the isolation"


class Layer2:
    """Our table of the family netdev. `nft` None: the host has no nft, and nothing can be done about frames."""

    def __init__(self, nft: str | None) -> None:
        self.nft = nft
        self.devices = _layer2.Devices([], [], {})
        self.refused = False
        self._programs: list[tuple[str, str]] = []
        self.why = "" if nft is not None else "the host has no nft"

    def text(self, plan: Plan) -> str:
        """The rules for the devices that there are now; "" where nothing can be covered."""
        if self.nft is None:
            return ""
        if plan.mode == _policy.OBSERVE:
            self.why = "with mode: observe they pass, and are not counted"
            return ""
        try:
            links = dump("links")
            self.devices, self._programs = _layer2.sort(links), _layer2.programs(links, dump("qdiscs"))
        except OSError as error:
            self.why = "the interfaces cannot be listed: {0}".format(error.strerror)
            return ""
        text = _layer2.render(plan, self.devices)
        self.why = "" if text else "there is no interface that rules could be bound to"
        return text

    @property
    def there(self) -> bool:
        """Whether the kernel holds our table."""
        return self.nft is not None and table_exists(NETDEV) is True

    def live(self) -> str:
        """Its listing; "" where there is none."""
        return _layer2.normal(listing(self.nft, _layer2.FAMILY)) if self.nft is not None and self.there else ""

    def on_trial(self, plan: Plan) -> str:
        """The rules for a private network; "" where there are none, or they were refused here."""
        return "" if self.nft is None or self.refused else _layer2.render(plan, _layer2.on_trial(self.devices))

    def as_here(self, text: str) -> str:
        """A listing of a private network with the devices of this one."""
        return _layer2.normal(text, {"ethernet": self.devices.ethernet, "bare": self.devices.bare})

    def check(self, text: str) -> None:
        """Ask nft and the kernel whether they would take the rules, for these very devices. Raises HostError where not."""
        if self.nft is None or not text:
            raise HostError("layer2: required was asked for, but {0}; nothing was changed".format(self.why))
        if self.devices.left:
            raise HostError("layer2: required was asked for, but not every interface can be covered ({0}); nothing was changed".format(
                len(self.devices.left)))
        if run([self.nft, "-c", "-f", "-"], text)[0] != 0:
            raise HostError("layer2: required was asked for, but {0}; nothing was changed".format(_REFUSED))

    def load(self, text: str) -> bool:
        """Put the rules in force, or with "" take earlier ones away; whether they are."""
        if self.nft is None:
            return False
        if not text:
            if self.there:
                run([self.nft, "-f", "-"], _layer2.REMOVE)
            return False
        if run([self.nft, "-f", "-"], text)[0] != 0:
            self.why = _REFUSED
            self.refused = True
            return False
        return True

    def report(self, listed: str, meant: str) -> dict[str, object]:
        """What a listing of this moment covers, of what was meant: {"cover", "why", "devices", "open": [{"device", "why"}],
        "programs": [{"device", "what"}]}."""
        bound = _layer2.bound(listed)
        programs = [{"device": printable(name, 64), "what": what} for name, what in self._programs]
        missing = {} if not bound else {name: LATE for name in self.devices.covered if name not in bound}
        return {
            "cover": "egress-hook" if bound else "none", "why": "" if bound else self.why or (_GONE if _layer2.bound(meant) else _REFUSED),
            "devices": bound, "programs": programs,
            "open": [{"device": printable(name, 64), "why": why} for name, why in sorted({**self.devices.left, **missing}.items())],
        }

    def back(self, text: str) -> list[dict[str, object]]:
        """Commands that bring back earlier rules, or none."""
        if self.nft is None:
            return []
        return [{"argv": [self.nft, "-f", "-"], "stdin": text or _layer2.REMOVE, "may_fail": True}]
