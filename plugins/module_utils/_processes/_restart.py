# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What would start an ended program again: cron entries that name it, commented out so that they can be given back."""

from __future__ import annotations

import base64
import hashlib
import os

from .._errors import HostError
from .._host._files import open_regular, read_regular
from .._text import printable
from ._decide import mentions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._host._workdir import Workdir

_FOLDERS = ("etc/cron.d", "var/spool/cron/crontabs", "var/spool/cron")
_LIMIT = 1048576
MARK = "#firebreak# "


def without(text: str, paths: Iterable[str]) -> str:
    """A crontab in which every line that names one of the paths, as a whole word, is a comment."""
    wanted = list(paths)
    lines = []
    for line in text.splitlines(keepends=True):
        active = line.strip() and not line.lstrip().startswith("#")
        lines.append(MARK + line if active and any(mentions(line, path) for path in wanted) else line)
    return "".join(lines)


def tables(root: str = "/") -> list[str]:
    """Every crontab of the host."""
    found = [os.path.join(root, "etc/crontab")]
    for folder in _FOLDERS:
        base = os.path.join(root, folder)
        try:
            found.extend(os.path.join(base, name) for name in sorted(os.listdir(base)))
        except OSError:
            continue
    return found


def restarters(paths: Iterable[str], root: str = "/") -> list[tuple[str, bytes, bytes]]:
    """(crontab, content, content without the lines that name one of the paths), for those where they differ."""
    wanted = list(paths)
    found = []
    for table in tables(root) if wanted else []:
        try:
            data = read_regular(table, _LIMIT)
        except OSError:  # a folder, a link, gone: cron does not run it either
            continue
        changed = without(data.decode("utf-8", "surrogateescape"), wanted).encode("utf-8", "surrogateescape")
        if changed != data and len(data) < _LIMIT:
            found.append((table, data, changed))
    return found


def disable(work: Workdir, paths: Iterable[str], root: str = "/") -> list[dict[str, object]]:
    """Comment the entries out; what was there is written down before. The crontabs, escaped. Raises HostError."""
    done: list[dict[str, object]] = []
    for table, before, after in restarters(paths, root):
        entry = os.lstat(table)
        state = work.read().get("disabled")
        records = list(state) if isinstance(state, list) else []
        records.append({
            "kind": "cron", "path": base64.b64encode(os.fsencode(table)).decode("ascii"), "before": base64.b64encode(before).decode("ascii"),
            "after": hashlib.sha256(after).hexdigest(), "times": [entry.st_atime_ns, entry.st_mtime_ns]})
        work.update(disabled=records)
        _rewrite(table, after)
        done.append({"kind": "cron", "path": printable(table)})
    return done


def restore(work: Workdir) -> tuple[list[dict[str, object]], list[str]]:
    """Give every entry back, byte for byte with its times, where the file still is what we wrote. (given back, reasons)."""
    state = work.read().get("disabled")
    given: list[dict[str, object]] = []
    reasons = []
    # The last first: a table that was changed twice goes back over both steps.
    for record in reversed(state if isinstance(state, list) else []):
        table = os.fsdecode(base64.b64decode(record["path"]))
        before = base64.b64decode(record["before"])
        try:
            present = read_regular(table, _LIMIT)
        except OSError:
            reasons.append("a crontab that was disabled is gone and was not given back")
            continue
        if hashlib.sha256(present).hexdigest() != record["after"]:
            if present != before:
                reasons.append("a crontab was changed since it was disabled and was left as it is")
            continue
        _rewrite(table, before)
        os.utime(table, ns=(record["times"][0], record["times"][1]))
        given.append({"kind": "cron", "path": printable(table)})
    work.update(disabled=None)
    return given, reasons


def _rewrite(table: str, data: bytes) -> None:
    """Write in place: owner, mode, labels and hard links stay as they are."""
    try:
        os.close(open_regular(table))
        handle = os.open(table, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, data, 0)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise HostError("a crontab cannot be written: {0}".format(error.strerror)) from error
