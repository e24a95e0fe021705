# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The root-only folder of a case on the host: the way back, and evidence until the controller has it."""

from __future__ import annotations

import json
import os
import stat

from .._errors import HostError, OptionError
from ._files import read_regular

ROOT = "/var/lib/firebreak"
_STATE_LIMIT = 16777216
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def check_case(case: str) -> str:
    """The case name, if it can be a folder's. Raises OptionError."""
    if not case or len(case) > 64 or case[0] in ".-" or not set(case) <= _ALLOWED:
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


class Workdir:
    """`<root>/<case>/`, mode 0700, with `state.json` written whole or not at all.

    In check mode nothing is made: `read()` answers what is there, `update()` is refused.
    """

    def __init__(self, case: str, root: str = ROOT, writable: bool = True) -> None:
        self.case = check_case(case)
        self.root = root
        self.path = os.path.join(root, case)
        self.writable = writable

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
        """What `state.json` says; empty where there is none. Raises HostError where it cannot be read as such."""
        try:
            state = json.loads(read_regular(self.file("state.json"), _STATE_LIMIT))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise HostError("{0} is damaged; the way back must be taken by hand".format(self.file("state.json"))) from error
        if not isinstance(state, dict):
            raise HostError("{0} is damaged; the way back must be taken by hand".format(self.file("state.json")))
        return state

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
        self.write("state.json", json.dumps(state).encode("ascii"))

    def write(self, name: str, data: bytes) -> str:
        """Write a file of the folder, mode 0600, synced, by replacement. Its path."""
        path = self.file(name)
        draft = path + ".new"
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(handle, view):]
                os.fsync(handle)
            finally:
                os.close(handle)
            os.replace(draft, path)
            folder = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise HostError("{0} cannot be written: {1}".format(path, error.strerror)) from error
        return path


def cases(root: str = ROOT) -> list[str]:
    """The cases that have a work folder on this host, sorted."""
    try:
        return sorted(name for name in os.listdir(root) if set(name) <= _ALLOWED)
    except OSError:
        return []


# What a release takes away, by its key in state.json.
_TO_RELEASE = ("isolation", "frozen", "disabled")


def elsewhere(work: Workdir) -> list[str]:
    """For a case that this host never had: a sentence on each other case that something here would have to be released for."""
    found = []
    for case in cases(work.root) if not os.path.isdir(work.path) else []:
        try:
            state = Workdir(case, work.root, writable=False).read()
        except (HostError, OptionError):
            continue
        if any(state.get(key) for key in _TO_RELEASE):
            found.append("nothing on this host belongs to case {0}, but something does to case {1}: was that meant?".format(work.case, case))
    return found
