# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Frames held back by tc where nft or the kernel knows no egress hook: what is in force, what should be, and the way there and back.

Packet sockets that go past the queue (QDISC_BYPASS) are not seen by it, which the result says.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Dict, List, Mapping, Tuple

from .._host._netstate import dump
from .._text import printable
from . import _layer2, _layer2_tc, _tc
from ._commands import TABLE
from ._policy import OBSERVE

if TYPE_CHECKING:
    from ._layer2_backend import Layer2
    from ._policy import Plan

    # By device and direction, in the order in which they are asked.
    Found = Dict[Tuple[str, str], List[_tc.Filter]]

_QDISCS = ("clsact", "ingress")
_LISTING = "table netdev {0} by tc {{\n{1}}}\n"
_LINE = "\t{0} {1} by tc: {2} instructions, SHA-256 {3}{4}\n"


def holding(links: list[dict[str, object]], qdiscs: list[dict[str, object]]) -> dict[str, tuple[int, str]]:
    """The devices on which filters can hang: name -> (index, kind of qdisc)."""
    names = {link.get("index"): str(link.get("name")) for link in links}
    return {names[one["index"]]: (int(str(one["index"])), str(one["kind"])) for one in qdiscs
            if one.get("kind") in _QDISCS and one.get("index") in names}


def read(places: Mapping[str, tuple[int, str]]) -> Found:
    """The filters of devices, as `holding` gives them. Raises OSError."""
    return {(name, direction): _tc.filters(index, direction) for name, (index, _kind) in places.items() for direction in _tc.PARENTS}


def strangers(found: Found) -> set[str]:
    """Devices with filters of others."""
    return {name for (name, _direction), filters in found.items() if any(not one.ours for one in filters)}


def asked(filters: list[_tc.Filter]) -> list[_tc.Filter]:
    """Those that every frame comes to, unless an earlier one decides."""
    return [one for one in filters if not one.aside]


def ours(found: Found) -> set[str]:
    """Devices with filters of ours."""
    return {name for (name, _direction), filters in found.items() if any(one.ours for one in filters)}


def unfit(places: Mapping[str, tuple[int, str]], found: Found) -> dict[str, str]:
    """Devices that tc cannot cover, as others have taken the place: name -> why."""
    why = {name: "others' qdisc 'ingress' is in the place of clsact" for name, (_index, kind) in places.items() if kind == "ingress"}
    for (name, _direction), filters in found.items():
        if any(not one.aside and one.preference == _layer2.PREFERENCE and (one.kind, one.protocol) != ("bpf", socket.htons(3)) for one in filters):
            why.setdefault(name, "others' filters of tc are in the first place")
    return why


def _line(name: str, direction: str, program: bytes, behind: bool = False) -> str:
    import hashlib  # costs 3 ms, and is not needed before the kills

    return _LINE.format(printable(name, 64), direction, len(program) // 8, hashlib.sha256(program).hexdigest(),
                        ", behind filters of others" if behind else "")


def _listing(lines: list[str]) -> str:
    return _LISTING.format(TABLE, "".join(sorted(lines))) if lines else ""


def listing(found: Found) -> str:
    """What is in force of ours; "" where nothing is."""
    return _listing([_line(name, direction, one.program, place > 0) for (name, direction), filters in found.items()
                     for place, one in enumerate(asked(filters)) if one.ours])


def live(qdiscs: list[dict[str, object]]) -> str:
    """The same, of the kernel; `qdiscs`: of just now."""
    try:
        return listing(read(holding(dump("links"), qdiscs)))
    except OSError:
        return ""


class ByTc:
    """What is meant: programs for devices. had: those whose clsact is somebody else's, and stays."""

    def __init__(self, plan: Plan, devices: _layer2.Devices, unfit_ones: Mapping[str, str], had: list[str]) -> None:
        self.had = had
        self.kinds = {name: kind for kind, names in (("ethernet", devices.ethernet), ("bare", devices.bare)) for name in names
                      if name not in unfit_ones}
        self.programs = _layer2_tc.programs(plan)

    def meant(self) -> str:
        """What `listing` is to show."""
        return _listing([_line(name, direction, self.programs["{0}_{1}".format(direction, kind)]) for name, kind in self.kinds.items()
                         for direction in _tc.PARENTS if "{0}_{1}".format(direction, kind) in self.programs])

    def taken(self) -> bool:
        """In a private network: whether the kernel takes the programs."""
        index = socket.if_nametoindex(_layer2.TRIAL)
        channel = _tc.Channel()
        try:
            return channel.add_qdisc(index) == 0 and all(
                channel.put(index, name.partition("_")[0], program) == 0 for name, program in self.programs.items())
        finally:
            channel.close()

    def load(self) -> int:
        """Put the programs in force, the first of all filters, and take ours away where there is none; the last error number, or 0."""
        failed = 0
        channel = _tc.Channel()
        try:
            places = holding(dump("links"), dump("qdiscs"))
            for name, kind in self.kinds.items():
                try:
                    index = socket.if_nametoindex(name)
                except OSError:  # it is gone
                    continue
                made = channel.add_qdisc(index) if name not in places else 0
                failed = made if made not in (0, errno.EEXIST) else failed
                for direction in _tc.PARENTS:
                    failed = self._place(channel, index, direction, self.programs.get("{0}_{1}".format(direction, kind))) or failed
            for name, (index, _kind) in places.items():
                if name not in self.kinds:
                    clear(channel, index)
        except OSError as error:
            failed = error.errno or errno.EIO
        finally:
            channel.close()
        return failed

    @staticmethod
    def _place(channel: _tc.Channel, index: int, direction: str, program: bytes | None) -> int:
        before = asked(_tc.filters(index, direction))
        there = [place for place, one in enumerate(before) if one.ours]
        if there and (program is None or there[0] > 0):  # behind others it would stay there
            channel.take(index, direction)
        return 0 if program is None else channel.put(index, direction, program)


def clear(channel: _tc.Channel, index: int) -> None:
    """Our filters of a device away."""
    for direction in _tc.PARENTS:
        if any(one.ours for one in _tc.filters(index, direction)):
            channel.take(index, direction)


def clear_all() -> None:
    """Our filters away; what could not be taken is seen by the proof. Every clsact stays until the release."""
    channel = _tc.Channel()
    try:
        for index, _kind in holding(dump("links"), dump("qdiscs")).values():
            clear(channel, index)
    except OSError:
        return
    finally:
        channel.close()


def look(layer2: Layer2, links: list[dict[str, object]], qdiscs: list[dict[str, object]]) -> set[str]:
    """What there is of others': notes it, and gives the devices with filters of theirs."""
    places = holding(links, qdiscs)
    try:
        found = read(places)
    except OSError:
        return set(places)
    layer2.unfit = unfit(places, found)
    layer2.not_ours = sorted(set(places) - ours(found))
    return strangers(found)


def _made(layer2: Layer2, plan: Plan) -> ByTc | None:
    """What tc is to do; None where there is nothing to hold back or it cannot be by tc, which `why` says then."""
    if not layer2.devices.covered or plan.mode == OBSERVE:
        return None
    if layer2.tc is None:
        layer2.why = "{0}, and it has no tc".format(layer2.not_by_nft)
        return None
    try:
        return ByTc(plan, layer2.devices, layer2.unfit, layer2.not_ours if layer2.had is None else layer2.had)
    except ValueError as error:
        layer2.why = "{0}, and {1}".format(layer2.not_by_nft, error)
        return None


def on_trial(layer2: Layer2, plan: Plan) -> str:
    """In a private network: what will be listed; "" where the kernel does not take it."""
    made = _made(layer2, plan)
    return made.meant() if made is not None and made.taken() else ""


def load(layer2: Layer2, plan: Plan) -> bool:
    """Put in force what a plan asks for, in the place of what was; whether tc is at work then."""
    layer2.by_tc = made = _made(layer2, plan)
    if made is None:
        if layer2.in_force:
            clear_all()
            layer2.in_force = False
        return False
    layer2.had = made.had
    failed = made.load()
    layer2.in_force = True
    if failed:
        layer2.why = "{0}, and tc's programs are refused: {1}".format(layer2.not_by_nft, os.strerror(failed))
    return True


def stored(layer2: Layer2, plan: Plan) -> dict[str, str]:
    """The programs as files for tc(8), by "egress-ethernet" and so on."""
    made = _made(layer2, plan)
    return {} if made is None else {name.replace("_", "-"): _layer2_tc.written(program) + "\n" for name, program in made.programs.items()}


def back(layer2: Layer2, tc: str, plan: Plan | None) -> list[dict[str, object]]:
    """Commands that bring back what an earlier plan asks for, or nothing."""
    made = _made(layer2, plan) if plan is not None else None
    return back_to_none(tc, layer2.devices.covered if layer2.by_tc is not None else [], layer2.had) if made is None else back_to(tc, made)


def back_to(tc: str, earlier: ByTc) -> list[dict[str, object]]:
    """Commands that bring back an earlier isolation."""
    lines = []
    for name, kind in sorted(earlier.kinds.items()):
        lines.append("qdisc add dev {0} clsact\n".format(name))
        for direction in _tc.PARENTS:
            program = earlier.programs.get("{0}_{1}".format(direction, kind))
            lines.append(_layer2.line("delete", name, direction) if program is None else
                         _layer2.line("replace", name, direction, _layer2_tc.written(program)))
    return [_layer2.commands(tc, lines)]


def back_to_none(tc: str, devices: list[str], had: list[str] | None) -> list[dict[str, object]]:
    """Commands that take our filters away, of these devices and those that have some now; and the clsact that we made.

    `had`: as for `ByTc`; None where it is not known, so that only a clsact which holds filters of ours is taken for ours.
    """
    places: Mapping[str, tuple[int, str]] = {}
    found: Found = {}
    try:
        places = holding(dump("links"), dump("qdiscs"))
        found = read(places)
    except OSError:
        pass
    names = sorted({*devices, *ours(found)})
    made = names if had is None else sorted({*names, *places} - set(had))
    return _layer2.taken_away(tc, names, made)
