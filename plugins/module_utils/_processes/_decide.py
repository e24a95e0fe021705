# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be done on which signs: the rule of two families, and kinship.

Freezing wants one strong sign. Ending wants a strong sign and another strong or medium one of another family; or one strong or medium
sign and kinship with a process that is being ended; or the operator's word.
"""

from __future__ import annotations

import os
import re

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
        "action", "captured", "facts", "frozen", "identity", "kin_of", "kinship", "level", "named", "outcome", "process", "rules", "spared",
        "was_stopped", "why",
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

    @property
    def paths(self) -> list[str]:
        """The program and the script that would have to be started for it to come back; never what packages own."""
        return [path for path in (image_of(self.process), script_of(self.process)) if path.startswith("/") and not system(path)
                and not path.startswith("/memfd:")]


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
    if folders:
        return "same folder"
    for path in source.paths:
        if mentions(str(one.facts["CommandLine"]), path) or mentions(_script(one), path):
            return "starts it"
    for path in one.paths:
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
            stat = os.stat("{0}/{1}/exe".format(one.process.root, one.process.pid))
        except OSError:
            return None
        one.identity = (stat.st_dev, stat.st_ino)
    return one.identity


def _script(one: Finding) -> str:
    path = script_of(one.process)
    if not path:
        return ""
    try:
        return read_regular("{0}/{1}/root{2}".format(one.process.root, one.process.pid, path), _SCRIPT_LIMIT).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _digest(path: str) -> tuple[int, str] | None:
    """Size and SHA-256 of a program; None where it cannot be read or is larger than 32 MiB."""
    import hashlib

    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        size = os.fstat(handle).st_size
        digest = hashlib.sha256()
        if size <= _PROGRAM_LIMIT:
            for data in iter(lambda: os.read(handle, 1048576), b""):
                digest.update(data)
            return size, digest.hexdigest()
    except OSError:
        return None
    finally:
        os.close(handle)
    return None


def _same_content(one: Finding, source: Finding) -> bool:
    """Two files with the same content. Not for interpreters: every copy of one equals every other."""
    for finding in (one, source):
        if finding.facts["interpreter"] or finding.facts["system_path"]:
            return False
    try:
        sizes = {os.stat("{0}/{1}/exe".format(each.process.root, each.process.pid)).st_size for each in (one, source)}
    except OSError:
        return False
    if len(sizes) != 1:
        return False
    path = "{0}/{1}/exe"
    mine = _digest(path.format(one.process.root, one.process.pid))
    return mine is not None and mine == _digest(path.format(source.process.root, source.process.pid)) and not _copy_of_system(*mine)


def _copy_of_system(size: int, digest: str) -> bool:
    """Whether a packaged program has this content: two copies of one need have nothing to do with each other."""
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
            if same and _digest(entry.path) == (size, digest):
                return True
    return False
