# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unit that holds a confirmed isolation, put on the host and taken away again."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from .._errors import HostError
from .._host._files import read_regular
from .._text import printable
from . import _hold, _iptables, _layer2, _nftables
from ._commands import HELD, INET, NETDEV, NO_SYSTEMD, UNIT_PLACES, find, run, table_exists, unit_name

if TYPE_CHECKING:
    from .._host._workdir import Workdir
    from ._backends import Engine
    from ._policy import Plan

_FOLDER = "hold"
_DROP_INS = (*UNIT_PLACES, "etc/systemd/system.control", "run/systemd/system.control", "run/systemd/transient")
_LIMIT = 16777216
_PATIENCE = 0.3  # seconds for nft to take the copy of the rules


class Holder:
    """The unit of one case. Without systemd there is none, and `why` says so.

    change: the unit's text "before" and "after" what there is or was to do; None where that is nothing.
    """

    def __init__(self, work: Workdir, root: str = "/") -> None:
        self.work = work
        self.root = root
        self.unit = unit_name(work.case)
        self.folder = work.file(_FOLDER)
        self.systemctl = find("systemctl", root)
        self.why = ""
        self.change: dict[str, str] | None = None
        self._wanted: tuple[dict[str, str], str, bool] = {}, "", False  # files, the unit's text, whether it outlives a reboot
        self.down: list[str] = []  # interfaces that the unit keeps down
        if self.systemctl is None or not os.path.isdir(os.path.join(root, "run/systemd/system")):
            self.systemctl, self.why = None, NO_SYSTEMD

    def _paths(self) -> list[str]:
        """Where the unit may lie, the lasting place first."""
        return [os.path.join(self.root, folder, self.unit) for folder in UNIT_PLACES]

    @property
    def _link(self) -> str:
        return os.path.join(self.root, UNIT_PLACES[0], _hold.WANTED_BY + ".wants", self.unit)

    def everything(self) -> list[str]:
        """The paths of all that belongs to the unit, the folder of rule files last."""
        return [*self._paths(), self._link, *(os.path.join(self.root, folder, self.unit + ".d") for folder in _DROP_INS), self.folder]

    @property
    def there(self) -> bool:
        """Whether the unit is on the host."""
        return any(os.path.lexists(path) for path in self._paths())

    def foretell(self, engine: Engine, plan: Plan, persist: bool, watch: bool) -> bool:
        """Whether there is anything for `put` to do; sets `change`. Writes nothing, so that check mode asks it too."""
        self.change = None
        if not (persist or watch):
            if self.there or self._active():
                self.change = {"before": self._text(), "after": ""}
        elif self.systemctl is not None:
            lasting = persist and not self.work.root.startswith("/run/")
            if persist and not lasting:
                self.why = "the work folder lies in memory, for there is no room on the disk"
            files, text = self._files(engine, plan, lasting, watch)
            self._wanted = files, text, lasting
            same = self._holds(files, text, self._paths()[0 if lasting else 1])
            running = same and self._active()
            if not (same and running):
                before = self._text()
                note = "" if before != text else "# it does not run\n" if same else "# its rule files are others\n"
                self.change = {"before": before + note, "after": text}
        return self.change is not None

    def put(self, engine: Engine, plan: Plan, persist: bool, watch: bool) -> bool:
        """Hold the isolation from now on, over a reboot with `persist`, against others with `watch`; whether anything had to be done.

        What cannot be is said in `why`.
        """
        due = self.foretell(engine, plan, persist, watch)
        if not (persist or watch):
            return self.remove()
        if self.systemctl is None or not due:
            return False
        files, text, lasting = self._wanted
        place, other = self._paths() if lasting else self._paths()[::-1]
        try:
            self.stop()
            if self.fell_back:  # nft is there again, or another plan: what stood in for it would cut what is allowed now
                self.take_stand_in_away()
                os.unlink(os.path.join(self.folder, "fallback"))
            self._write(files)
            known = os.path.lexists(place) or os.path.lexists(other)
            if os.path.lexists(other):
                self._unlink()
            os.makedirs(os.path.dirname(place), exist_ok=True)
            _replace(place, text.encode("ascii"))
            if lasting and not os.path.lexists(self._link):
                os.makedirs(os.path.dirname(self._link), exist_ok=True)
                os.symlink("../" + self.unit, self._link)
        except OSError as error:
            self.why = "{0} cannot be written: {1}".format(error.filename or self.unit, error.strerror)
            return True
        except HostError as error:
            self.why = str(error)
            return True
        if known:
            run([self.systemctl, "daemon-reload"])
        if run([self.systemctl, "start", self.unit])[0] != 0 or not self._active():
            self.why = "systemd does not start {0}".format(self.unit)
        return True

    def take_stand_in_away(self) -> list[str]:
        """Take away what iptables was loaded with because nft was gone; base tables that stay."""
        from ._stand_in import take_away

        isolation = self.work.read().get("isolation")
        return take_away(isolation.get("others") if isinstance(isolation, dict) else None, self.root)

    def _files(self, engine: Engine, plan: Plan, lasting: bool, watch: bool) -> tuple[dict[str, str], str]:
        """The rule files by name, and the unit's text."""
        case, layer2 = self.work.case, engine.layer2
        frames = ""
        if layer2.there and layer2.devices.covered:
            frames = _layer2.render(plan, _layer2.Devices([_hold.ETHERNET], [_hold.BARE_DEVICES], {}))
        least = plan.least()
        by_nft = engine.name == "nftables"
        rules = {"nft": _nftables.render(plan, case)} if by_nft else {
            os.path.basename(program): text for program, text in engine.rules(plan, case, fresh=True).items()}
        minimal = {"nft": _nftables.render(least, case)}
        minimal.update({name: _iptables.render(least, case, family, "") for name, family in (("iptables", 4), ("ip6tables", 6))})
        files = _hold.stored(rules, frames, layer2.left, minimal)
        by_tc = layer2.stored(plan) if not frames else {}
        files.update(by_tc)
        if layer2.nft is not None:
            files["held.rules"] = _hold.owned(_nftables.render(plan, case), "inet")
        loading, holding = _hold.scripts(case, self.folder, engine.programs, layer2.nft, by_nft, bool(frames or by_tc), watch,
                                         layer2.tc if by_tc else None)
        if self.down:
            files["down"] = "".join(name + "\n" for name in self.down)
            holding = _hold.keeping_down(holding, find("ip", self.root) or "ip")
        return files, _hold.unit(case, self.folder, loading, holding, lasting)

    def _holds(self, files: dict[str, str], text: str, place: str) -> bool:
        """Whether all that is to be written is there already."""
        paths = {self.work.file(_FOLDER + "/" + name): content for name, content in files.items()}
        for path, content in {**paths, place: text}.items():
            try:
                if read_regular(path, _LIMIT) != content.encode("ascii", "replace"):
                    return False
            except OSError:
                return False
        return True

    def _write(self, files: dict[str, str]) -> None:
        if os.path.islink(self.folder) or (os.path.lexists(self.folder) and not os.path.isdir(self.folder)):
            os.unlink(self.folder)
        os.makedirs(self.folder, 0o700, exist_ok=True)
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                self._clear(path)
            elif name not in files and name not in _hold.RECORDS:
                os.unlink(path)
        for name, content in files.items():
            self.work.write(_FOLDER + "/" + name, content.encode("ascii", "replace"))

    def _active(self) -> bool:
        return self.systemctl is not None and run([self.systemctl, "is-active", self.unit])[0] == 0

    def stop(self, unseen: bool = False) -> None:
        """Let go for a while: the rules that the unit put back are others from now on. Raises HostError where it goes on.

        `unseen`: also where its file is gone, without which it runs on.
        """
        if self.systemctl is None or not (self.there or (unseen and self._active())):
            return
        if run([self.systemctl, "stop", self.unit])[0] != 0 or self._active():
            self._free()
            run([self.systemctl, "stop", self.unit])
            if self._active():
                raise HostError("{0} cannot be stopped, and would put the rules before these back: systemctl status {0}".format(self.unit))
        if not self.there:  # what the service manager remembers of it goes too
            run([self.systemctl, "daemon-reload"])

    def _free(self) -> None:
        """Take away what somebody may have put beside the unit to keep it from being stopped."""
        for folder in _DROP_INS:
            self._clear(os.path.join(self.root, folder, self.unit + ".d"))
        if self.systemctl is not None:
            run([self.systemctl, "daemon-reload"])

    def start_again(self) -> list[dict[str, object]]:
        """Commands that hold the isolation again as before `stop`."""
        if self.systemctl is None or not self.there:
            return []
        return [{"argv": [self.systemctl, "start", self.unit], "may_fail": True}]

    def remove(self) -> bool:
        """Take the unit and the rule files away, whatever somebody has made of either; whether there was a unit.

        Raises HostError where something still holds the isolation then.
        """
        there = self.there or self._active()
        if there:
            self._stop_for_good()
        self._clear(self.folder)
        nft = find("nft", self.root)
        for family, name in ((INET, "inet"), (NETDEV, "netdev")):  # gone with the unit, unless somebody made them without it
            if nft is not None and table_exists(family, HELD) is True:
                run([nft, "delete", "table", name, HELD])
        if any(table_exists(family, HELD) is True for family in (INET, NETDEV)) or (there and self._active()):
            raise HostError("release: {0} cannot be stopped and still holds the isolation: systemctl status {0}".format(self.unit))
        return there

    def _stop_for_good(self) -> None:
        if self.systemctl is None:
            self._unlink()
            return
        stopped = run([self.systemctl, "stop", self.unit])[0] == 0
        self._unlink()
        self._free()
        if not stopped or self._active():
            run([self.systemctl, "kill", "--signal=KILL", self.unit])
            run([self.systemctl, "stop", self.unit])
        deadline = time.monotonic() + _PATIENCE * 10
        while self._active() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _clear(self, folder: str) -> None:
        """Remove a folder with what is in it; links are not followed, and what cannot be removed is said in `why`."""
        try:
            if os.path.islink(folder):
                os.unlink(folder)
                return
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                if os.path.isdir(path) and not os.path.islink(path):
                    self._clear(path)
                else:
                    os.unlink(path)
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            self.why = "{0} cannot be removed: {1}".format(printable(folder), error.strerror)

    def _unlink(self) -> None:
        for path in (*self._paths(), self._link):
            try:
                if os.path.isdir(path) and not os.path.islink(path):  # somebody's, in the place of ours
                    self._clear(path)
                elif os.path.lexists(path):
                    os.unlink(path)
            except OSError as error:
                self.why = "{0} cannot be removed: {1}".format(path, error.strerror)

    @property
    def fell_back(self) -> bool:
        """Whether the unit had to take iptables because nft was not there any more."""
        return os.path.exists(os.path.join(self.folder, "fallback"))

    def _text(self) -> str:
        """What the unit says; "" where there is none."""
        for path in self._paths():
            try:
                return read_regular(path, _LIMIT).decode("ascii", "replace")
            except OSError:
                continue
        return ""

    def drift(self) -> list[dict[str, str]]:
        """What the unit has put back."""
        try:
            return _hold.drift(read_regular(os.path.join(self.folder, "drift"), _LIMIT).decode("ascii", "replace"))
        except OSError:
            return []

    def report(self, asked: bool) -> dict[str, object]:
        """{"unit", "persist", "watch", "owner", "why"}; `asked`: it was put there just now, and nft may need a moment."""
        text = self._text()
        running = bool(text) and self._active()
        if text and not running and not self.why:
            self.why = "{0} does not run".format(self.unit)
        watch = running and "\nRestart=always\n" in text
        deadline = time.monotonic() + (_PATIENCE if asked and watch else 0.0)
        owner = watch and table_exists(INET, HELD) is True
        while watch and not owner and time.monotonic() < deadline:
            time.sleep(0.02)
            owner = table_exists(INET, HELD) is True
        return {"unit": self.unit if text else "", "persist": running and os.path.lexists(self._link), "watch": watch, "owner": owner,
                "why": self.why}


def _replace(path: str, data: bytes) -> None:
    """Write a file for everybody to read, synced, by replacement."""
    handle = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.write(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(path + ".new", path)
