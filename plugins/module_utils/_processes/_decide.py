# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be done on which signs: the rule of two families, and kinship.

Freezing wants one strong sign. Ending wants a strong sign and another strong or medium one of another family; or one strong or medium
sign and kinship with a process that is being ended; or the operator's word.
"""

from __future__ import annotations

import functools
import os
import re
import stat as _stat

from .._host._files import read_regular
from ._facts import WRITABLE, image_of, script_of, system, writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._host._processes import Process
    from ._facts import Facts

REPORT, FREEZE, TERMINATE = "report", "freeze", "terminate"
AUTONOMY = (REPORT, FREEZE, TERMINATE)
_SCRIPT_LIMIT = 65536
_PROGRAM_LIMIT = 33554432
# Bytes of all programs that are compared by content in one run of the module. A sparse file of any size costs its owner nothing.
_HASHED_LIMIT = 268435456
# PATH_MAX of Linux, with the zero at its end: nothing longer can be opened by its path.
_PATH_MAX = 4096
_PROGRAMS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
# What may stand around a path in a command line or a script for it to be the whole path.
_AROUND = r"\s'\"`;|&()<>=:,"


class Finding:
    """One process about which there is something to say, and what became of it.

    rules: those that match; level: what the signs allow; action: what is done (level, bounded by the autonomy);
    kin_of: pid of the process whose kin it is, and kinship: how; named: by the operator; spared: why it is left alone;
    captured: "" (not yet), "complete", "partial" or "failed", with why; outcome: "", "terminated", "pending", "changed".
    """

    __slots__ = (
        "_paths", "_script", "action", "captured", "facts", "frozen", "identity", "kin_of", "kinship", "level", "named", "outcome", "process",
        "rules", "spared", "was_stopped", "why",
    )

    def __init__(self, process: Process, facts: Facts, rules: list[dict[str, object]], named: bool = False) -> None:
        self.process = process
        self.facts = facts
        self.rules = rules
        self.named = named
        self.level = TERMINATE if named else level_of(rules)
        self.action = REPORT
        self.kin_of: int | None = None
        self.kinship = ""
        self.spared: str | None = None
        self.captured = ""
        self.why = ""
        self.outcome = ""
        self.frozen = False
        self.was_stopped = False
        self.identity: tuple[int, int] | None = None
        self._paths: list[str] | None = None
        self._script: str | None = None

    @property
    def paths(self) -> list[str]:
        """The program and the script that would have to be started for it to come back, two at most, each shorter than PATH_MAX.

        Never what packages own, and no script that is not the process's own: see `_its_own`.
        """
        if self._paths is None:
            script = script_of(self.process)
            found = [image_of(self.process), script if _sound(script) and _its_own(self.process, script) else ""]
            self._paths = [path for path in found if _sound(path) and not system(path) and not path.startswith("/memfd:")]
        return self._paths

    @property
    def script(self) -> str:
        """The beginning of the text of its script, at most 64 KiB; "" where it has none that can be read."""
        if self._script is None:
            self._script = _text(self.process)
        return self._script

    @property
    def cron_paths(self) -> list[str]:
        """Of `paths`, those for which a line of cron may be disabled: it is kept from starting for everybody.

        Root's processes run what they like; anybody else must be able to write there, or he could have us stop root's backup by
        running it, or by saying that he does.
        """
        uid = self.process.uid
        return [path for path in self.paths if uid == 0 or writable(path) or _may_write(uid, path)]


def _sound(path: str) -> bool:
    return path.startswith("/") and "\0" not in path and len(path.encode("utf-8", "surrogateescape")) < _PATH_MAX


def _its_own(process: Process, path: str) -> bool:
    """Whether a process that names a file as its script may be believed: what it says in its arguments is free.

    Root is. Of anybody else the file lies where anyone may write, or is a regular file of his, to himself and, where we see one
    under the same path, to us: in a user namespace of his own he can show himself what he likes.
    """
    if process.uid == 0 or writable(path):
        return True
    found = False
    for root in (process.folder + "/root", ""):
        try:
            entry = os.lstat(root + path)
        except OSError:
            continue
        if not _stat.S_ISREG(entry.st_mode) or entry.st_uid != process.uid:
            return False
        found = found or bool(root)
    return found


def _may_write(uid: int, path: str) -> bool:
    """Whether a user can decide what lies under a path: he owns the file or a folder above it, or anyone may write there.

    What his groups allow him does not count; what he has made himself is his own there too.
    """
    below = False
    while path != "/":
        try:
            entry = os.stat(path)
        except OSError:
            below = False
        else:
            # In a folder like /tmp he may make what is not there, and leaves what is there to its owner.
            if entry.st_uid == uid or (entry.st_mode & _stat.S_IWOTH and not (entry.st_mode & _stat.S_ISVTX and below)):
                return True
            below = True
        path = os.path.dirname(path)
    return False


def _text(process: Process) -> str:
    path = script_of(process)
    if not _sound(path):
        return ""
    try:
        return read_regular("{0}/root{1}".format(process.folder, path), _SCRIPT_LIMIT).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def level_of(rules: Iterable[dict[str, object]]) -> str:
    """What the signs of one process allow by themselves."""
    strong = {rule["family"] for rule in rules if rule["grade"] == "strong"}
    if not strong:
        return REPORT
    families = strong | {rule["family"] for rule in rules if rule["grade"] == "medium"}
    return TERMINATE if len(families) > 1 else FREEZE


def bounded(level: str, autonomy: str) -> str:
    """A level as far as the autonomy goes."""
    return AUTONOMY[min(AUTONOMY.index(level), AUTONOMY.index(autonomy))]


def has_sign(rules: Iterable[dict[str, object]]) -> bool:
    """Whether there is a strong or medium sign, which kinship needs."""
    return any(rule["grade"] in ("strong", "medium") for rule in rules)


def mentions(text: str, path: str) -> bool:
    """Whether a text names a path, as a whole word: /tmp/x is not in /tmp/xy, nor in /a/tmp/x."""
    if path not in text:
        return False
    return re.search("(?:^|[{0}]){1}(?:$|[{0}])".format(_AROUND, re.escape(path)), text) is not None


def spread(findings: list[Finding]) -> None:
    """Kinship: whoever has a sign and is kin of a process that is being ended is ended too, until nothing changes."""
    sources = [one for one in findings if one.level == TERMINATE and one.spared is None]
    rest = [one for one in findings if one.level != TERMINATE and one.spared is None and has_sign(one.rules)]
    while sources and rest:
        source = sources.pop()
        for one in list(rest):
            how = kinship(one, source)
            if how:
                one.level, one.kin_of, one.kinship = TERMINATE, source.process.pid, how
                rest.remove(one)
                sources.append(one)


def kinship(one: Finding, source: Finding) -> str:
    """How `one` is kin of `source`; "" where it is not."""
    a, b = one.process, source.process
    if a.ppid == b.pid:
        return "its child"
    if b.ppid == a.pid:
        return "its parent"
    if not system(image_of(a)) and _identity(one) is not None and _identity(one) == _identity(source):
        return "same file"
    if a.sid == b.sid and a.sid > 1 and source.process.pid == a.sid:
        return "same session"
    folders = {_private_folder(path) for path in one.paths} & {_private_folder(path) for path in source.paths} - {""}
    # Arguments are free to write: nobody makes another user's process his kin by naming its program, or a file beside it.
    believed = b.uid in (0, a.uid)
    if any(believed or _owner(folder) == b.uid for folder in folders):
        return "same folder"
    for path in source.paths:
        if mentions(str(one.facts["CommandLine"]), path) or mentions(one.script, path):
            return "starts it"
    for path in one.paths if believed else ():
        if mentions(str(source.facts["CommandLine"]), path) and path not in source.paths:
            return "started by it"
    return "same content" if _same_content(one, source) else ""


def _private_folder(path: str) -> str:
    """The folder of a path below a folder where anyone may write, if it is not that folder itself."""
    folder = path.rpartition("/")[0] + "/"
    return folder if writable(path) and folder not in WRITABLE and not folder.startswith("/run/user/") else ""


def _identity(one: Finding) -> tuple[int, int] | None:
    if one.identity is None:
        try:
            stat = os.stat(one.process.folder + "/exe")
        except OSError:
            return None
        one.identity = (stat.st_dev, stat.st_ino)
    return one.identity


def _owner(folder: str) -> int | None:
    try:
        return os.lstat(folder.rstrip("/")).st_uid
    except OSError:
        return None


class Contents:
    """SHA-256 of programs: each file once, and no more than `limit` bytes of all of them together, then nothing more."""

    def __init__(self, limit: int = _HASHED_LIMIT) -> None:
        self.left = limit
        self._known: dict[tuple[int, int, int, int], str | None] = {}

    def digest(self, path: str) -> tuple[int, str] | None:
        """Size and SHA-256; None where it cannot be read, is larger than 32 MiB or than what is left."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            entry = os.fstat(handle)
            key = (entry.st_dev, entry.st_ino, entry.st_mtime_ns, entry.st_size)
            if key not in self._known:
                self._known[key] = self._read(handle, entry.st_size)
            found = self._known[key]
        except OSError:
            return None
        finally:
            os.close(handle)
        return None if found is None else (entry.st_size, found)

    def _read(self, handle: int, size: int) -> str | None:
        if size > min(_PROGRAM_LIMIT, self.left):
            return None
        self.left -= size
        import hashlib

        digest = hashlib.sha256()
        while size > 0:
            data = os.read(handle, min(1048576, size))
            if not data:
                return None  # it has become shorter meanwhile
            digest.update(data)
            size -= len(data)
        return digest.hexdigest()


CONTENTS = Contents()


def _same_content(one: Finding, source: Finding) -> bool:
    """Two files with the same content. Not for interpreters: every copy of one equals every other."""
    for finding in (one, source):
        if finding.facts["interpreter"] or finding.facts["system_path"]:
            return False
    try:
        sizes = {os.stat(each.process.folder + "/exe").st_size for each in (one, source)}
    except OSError:
        return False
    if len(sizes) != 1:
        return False
    mine = CONTENTS.digest(one.process.folder + "/exe")
    return mine is not None and mine == CONTENTS.digest(source.process.folder + "/exe") and not _copy_of_system(*mine)


@functools.lru_cache(1024)
def _copy_of_system(size: int, digest: str) -> bool:
    """Whether a packaged program has this content, or may have: two copies of one need have nothing to do with each other."""
    for folder in _PROGRAMS:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                same = entry.is_file(follow_symlinks=False) and entry.stat().st_size == size
            except OSError:
                continue
            # A packaged one that cannot be compared any more may be the same: then there is no kinship by content.
            if same and CONTENTS.digest(entry.path) in ((size, digest), None):
                return True
    return False
