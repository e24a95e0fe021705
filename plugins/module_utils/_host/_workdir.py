# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The root-only folder of a case on the host: the way back, and evidence until the controller has it."""

from __future__ import annotations

import json
import os
import re
import stat

from .._errors import HostError, OptionError
from ._files import read_regular

# The second one, in memory, is for a host whose disk is full or read-only: any user may fill a disk, and shall not be safe for it.
ROOTS = ("/var/lib/firebreak", "/run/firebreak")
_ROOM = 134217728
_STATE_LIMIT = 16777216
_ASIDE = re.compile(r"\.damaged-[0-9a-f]{8}\Z")  # of a sentence in state.json no more is believed, for whoever is root can write there
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def possible(case: str) -> bool:
    """Whether this can be the name of a case."""
    return bool(case) and len(case) <= 64 and case[0] not in ".-" and set(case) <= _ALLOWED


def check_case(case: str) -> str:
    """The case name, if it can be a folder's. Raises OptionError."""
    if not possible(case):
        raise OptionError("case", case, "1 to 64 of A-Z a-z 0-9 . _ -, not beginning with . or -")
    return case


def _private_folder(path: str) -> None:
    """Make the folder, or check that it is root's alone; somebody else's folder could be swapped under our feet."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    entry = os.lstat(path)
    if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != os.geteuid():
        raise HostError("work folder {0} is not a folder of root; move it away and run again".format(path))
    if entry.st_mode & 0o077:
        os.chmod(path, 0o700)


def _room(root: str) -> int:
    """Bytes that root may still write there; 0 where it is read-only, or where the folder is somebody else's."""
    path = root
    try:
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        entry, room = os.lstat(path), os.statvfs(path)
    except OSError:
        return 0
    if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != os.geteuid() or room.f_flag & os.ST_RDONLY:
        return 0
    return room.f_bfree * room.f_frsize


def root_of(case: str, roots: tuple[str, ...] = ROOTS) -> str:
    """Where the folder of a case lies, or is to lie."""
    there = [root for root in roots if os.path.isdir(os.path.join(root, case))]
    return (there or [root for root in roots if _room(root) >= _ROOM] or list(roots))[0]


def _damage(path: str, aside: object = None) -> str:
    """The sentence for the result. `aside`: where it is kept, by its path or the sentence that somebody has written down."""
    kept = _ASIDE.search(str(aside))
    return ("{0} was damaged; what it said of processes that were stopped, cron tables that were changed and interfaces that were taken"
            " down is lost").format(path) + ("; it is kept as {0}{1}".format(path, kept.group()) if kept is not None else "")


class Workdir:
    """`<root>/<case>/`, mode 0700, with `state.json` written whole or not at all; `root` is chosen where none is given.

    In check mode nothing is made: `read()` answers what is there, `update()` is refused.
    """

    def __init__(self, case: str, root: str | None = None, writable: bool = True) -> None:
        self.case = check_case(case)
        self.roots = ROOTS if root is None else (root,)
        self.root = root = root_of(case, self.roots)
        self.path = os.path.join(root, case)
        self.writable = writable
        self.damage = ""

    def make(self) -> None:
        """Make the folder with all above it. Raises HostError where it is somebody else's."""
        try:
            os.makedirs(os.path.dirname(self.root), exist_ok=True)
            _private_folder(self.root)
            _private_folder(self.path)
        except OSError as error:
            raise HostError("work folder {0} cannot be made: {1}".format(self.path, error.strerror)) from error

    def file(self, name: str) -> str:
        """The path of a file in the folder; `name` is ours, never the host's."""
        return os.path.join(self.path, name)

    def read(self) -> dict[str, object]:
        """What `state.json` says; empty where there is none. One that cannot be read is put aside, which `damage` and the next one tell."""
        path = self.file("state.json")
        try:
            state = json.loads(read_regular(path, _STATE_LIMIT))
        except FileNotFoundError:
            return {"damaged": self.damage} if self.damage else {}  # put aside by an earlier call
        except (OSError, ValueError, RecursionError):
            state = None
        if isinstance(state, dict):
            self.damage = _damage(path, state["damaged"]) if state.get("damaged") else ""
            return state
        # Who spoils it must not keep the host as it is: neither isolated, nor open.
        self.damage = _damage(path)
        if self.writable:
            aside = "{0}.damaged-{1}".format(path, os.urandom(4).hex())
            try:
                os.rename(path, aside)
            except OSError as error:
                raise HostError("{0} is damaged and cannot be put aside: {1}".format(path, error.strerror)) from error
            self.damage = _damage(path, aside)
        return {"damaged": self.damage}

    def update(self, **values: object) -> None:
        """Set keys of `state.json` (None removes one) and sync it: it is safe when this returns."""
        if not self.writable:
            raise HostError("check mode writes nothing")
        self.make()
        state = self.read()
        for key, value in values.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        data = json.dumps(state).encode("ascii")
        if len(data) > _STATE_LIMIT:  # what cannot be read back must not take the place of what can
            raise HostError("{0} would grow beyond {1} bytes".format(self.file("state.json"), _STATE_LIMIT))
        self.write("state.json", data)

    def write(self, name: str, data: bytes, lasting: bool = True) -> str:
        """Write a file of the folder or of one in it, mode 0600, by replacement; synced unless nobody needs it after a reboot. Its path."""
        path = self.file(name)
        draft = path + ".new"
        try:
            if os.path.islink(draft) or os.path.isdir(draft):  # somebody's, so that nothing could be written any more
                os.rename(draft, "{0}-{1}".format(draft, os.urandom(4).hex()))
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view):]
                if lasting:
                    os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(draft, path)
            if not lasting:
                return path
            folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise HostError("{0} cannot be written: {1}".format(path, error.strerror)) from error
        return path


def told_damage(work: Workdir, result: dict[str, object], last: bool = False) -> dict[str, object]:
    """The result of a run, which is `partial` at best where what the host remembered was damaged; said up to the `last` one of a case."""
    if not work.damage or "verdict" not in result:
        return result
    before, _blank, word = str(result["verdict"]).rpartition(" ")
    reasons = result["reasons"]
    result["reasons"] = [*(reasons if isinstance(reasons, list) else []), work.damage]
    if word in ("contained", "released", "reported"):
        result["verdict"] = (before + " partial").strip()
    if work.writable and last:
        work.update(damaged=None)
    return result


def siblings(work: Workdir) -> list[tuple[str, dict[str, object]]]:
    """The other cases that have a work folder on this host, and their states; what cannot be read is left out."""
    found = []
    for root in work.roots:
        try:
            names = sorted(name for name in os.listdir(root) if set(name) <= _ALLOWED and name != work.case)
        except OSError:
            continue
        for name in names:
            try:
                found.append((name, Workdir(name, root, writable=False).read()))
            except OptionError:
                continue
    return found


# What a release takes away, by its key in state.json.
_TO_RELEASE = ("isolation", "frozen", "disabled")


def elsewhere(work: Workdir) -> list[str]:
    """For a case that this host never had: a sentence on each other case that something here would have to be released for."""
    if os.path.isdir(work.path):
        return []
    return ["nothing on this host belongs to case {0}, but something does to case {1}: was that meant?".format(work.case, case)
            for case, state in siblings(work) if any(state.get(key) for key in _TO_RELEASE)]


def unknown_here(work: Workdir) -> list[str]:
    """For a release: a sentence where this host has never had anything of the case, whose name may be misspelt."""
    if os.path.isdir(work.path):
        return []
    return ["there was nothing to release: this host has had nothing of case {0}, so see that its name is right".format(work.case)]
