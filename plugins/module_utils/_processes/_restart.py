# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cron entries that would start an ended program again: commented out, and given back byte for byte.

The files are written in place, so that owner, mode, attributes and hard links stay what they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import time

from .._errors import HostError
from .._host._files import open_regular, read_regular
from .._text import printable
from ._decide import mentions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._host._workdir import Workdir

# Debian keeps users' tables in crontabs/, others directly in /var/spool/cron.
_FILES = ("etc/crontab", "etc/anacrontab")
_FOLDERS = ("etc/cron.d", "var/spool/cron/crontabs", "var/spool/cron")
_LIMIT = 1048576
_MOST = 1000
# Bytes of lines in state.json, of all tables: it must stay readable whatever users write into theirs. The copies have all of them.
_SHOWN_BYTES = 1048576
_MARK = b"#firebreak "


class Entry:
    """Lines of one table that name a program: file (path), data (its whole content), lines (numbers from 0), texts."""

    __slots__ = ("data", "file", "lines", "refused", "texts")

    def __init__(self, file: str, data: bytes, lines: list[int], texts: list[str], refused: str = "") -> None:
        self.file = file
        self.data = data
        self.lines = lines
        self.texts = texts
        self.refused = refused


def tables(root: str = "/") -> list[str]:
    """The paths of cron's tables."""
    found = [os.path.join(root, name) for name in _FILES]
    for folder in _FOLDERS:
        path = os.path.join(root, folder)
        try:
            found.extend(os.path.join(path, name) for name in sorted(os.listdir(path))[:_MOST])
        except OSError:
            continue
    return found


def matching(data: bytes, paths: Iterable[str]) -> list[int]:
    """Numbers of the lines that name one of the paths as a whole word; comments do not count."""
    found = []
    for number, line in enumerate(data.split(b"\n")):
        text = line.decode("utf-8", "surrogateescape")
        if not text.lstrip().startswith("#") and any(mentions(text, path) for path in paths):
            found.append(number)
    return found


def find_entries(paths: Iterable[str], root: str = "/") -> list[Entry]:
    """Every table's lines that name one of `paths`. A table that is no regular file is followed to be read, but not changed."""
    paths = list(paths)
    found = []
    for file in tables(root):
        refused = ""
        try:
            data = read_regular(file, _LIMIT)
        except OSError:
            if not os.path.islink(file):
                continue
            refused = "it is a symbolic link"
            try:
                data = read_regular(os.path.realpath(file), _LIMIT)
            except OSError:
                continue
        lines = matching(data, paths)
        if lines:
            split = data.split(b"\n")
            if len(data) >= _LIMIT:
                refused = "it is too large"
            found.append(Entry(file, data, lines, [split[number].decode("utf-8", "surrogateescape") for number in lines], refused))
    return found


def commented(data: bytes, lines: list[int], case: str) -> bytes:
    """The table with these lines as comments that say whose they are."""
    split = data.split(b"\n")
    for number in lines:
        split[number] = _MARK + case.encode("ascii") + b": " + split[number]
    return b"\n".join(split)


def shown(entry: Entry) -> dict[str, object]:
    """An entry for the result, escaped."""
    record: dict[str, object] = {"file": printable(entry.file), "lines": [printable(text) for text in entry.texts[:20]]}
    if entry.refused:
        record["why"] = entry.refused
    return record


def _records(state: dict[str, object]) -> list[dict[str, object]]:
    value = state.get("disabled")
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def disable(work: Workdir, entries: list[Entry]) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Comment the entries out; (disabled, not disabled), for the result. The way back is written before each change."""
    if entries:
        if not work.writable:
            raise HostError("check mode writes nothing")
        work.make()
    done: list[dict[str, object]] = []
    not_done: list[dict[str, object]] = []
    for entry in entries:
        if not entry.refused:
            entry.refused = _disable(work, entry)
        (not_done if entry.refused else done).append(shown(entry))
    if done:
        _nudge({os.path.dirname(entry.file) for entry in entries if not entry.refused})
    return done, not_done


def _disable(work: Workdir, entry: Entry) -> str:
    """Change one table; "" or why it was not changed."""
    new = commented(entry.data, entry.lines, work.case)
    records = _records(work.read())
    before = [dict(one) for one in records]
    earlier = next((one for one in records if one.get("file") == entry.file), None)
    if earlier is not None and earlier.get("written") != hashlib.sha256(entry.data).hexdigest():
        return "it has changed since an earlier run disabled part of it"
    try:
        handle = open_regular(entry.file)
    except OSError as error:
        return "it cannot be opened: {0}".format(error.strerror)
    try:
        stat = os.fstat(handle)
    finally:
        os.close(handle)
    if earlier is None:
        backup = "cron-{0}.orig".format(hashlib.sha256(entry.file.encode("utf-8", "surrogateescape")).hexdigest()[:16])
        work.write(backup, entry.data)
        earlier = {"file": entry.file, "backup": backup, "mtime_ns": stat.st_mtime_ns, "atime_ns": stat.st_atime_ns,
                   "mode": stat.st_mode & 0o7777, "uid": stat.st_uid, "gid": stat.st_gid}
        records.append(earlier)
    earlier["written"] = hashlib.sha256(new).hexdigest()
    lines = [printable(text) for text in entry.texts[:20]]
    taken = sum(len(json.dumps(one.get("lines"))) for one in records if one is not earlier)
    earlier["lines"] = lines if taken + len(json.dumps(lines)) <= _SHOWN_BYTES else []
    work.update(disabled=records)
    why = _write(entry.file, entry.data, new)
    if why:
        work.update(disabled=before or None)
    return why


def _write(file: str, expected: bytes, new: bytes) -> str:
    """Replace the content of a file in place, if it still is what we know; "" or why not."""
    try:
        handle = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return "it cannot be written: {0}".format(error.strerror)
    try:
        if os.pread(handle, len(expected) + 1, 0) != expected:
            return "it changed meanwhile"
        view = memoryview(new)
        at = 0
        while at < len(new):
            at += os.pwrite(handle, view[at:], at)
        os.ftruncate(handle, len(new))
        os.fsync(handle)
    except OSError as error:
        return "it cannot be written: {0}".format(error.strerror)
    finally:
        os.close(handle)
    return ""


def _nudge(folders: Iterable[str]) -> None:
    """Make cron read its tables again: it looks at the times of the folders (crontab(1) does the same)."""
    for folder in folders:
        try:
            os.utime(folder)
        except OSError:
            continue


def restore(work: Workdir) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Give back what was disabled; (restored, not restored with why). In check mode nothing is written.

    A table that is no longer what we wrote is left alone: somebody else has worked on it since.
    """
    done: list[dict[str, object]] = []
    not_done: list[dict[str, object]] = []
    folders = set()
    for record in _records(work.read()):
        why = _restore(work, record)
        entry: dict[str, object] = {"file": printable(str(record.get("file", ""))), "lines": record.get("lines", [])}
        if why:
            entry["why"] = why
            not_done.append(entry)
        else:
            done.append(entry)
            folders.add(os.path.dirname(str(record["file"])))
    if folders and work.writable:
        # The times of whole seconds decide: a nudge in the second of the last one would go unseen.
        _nudge(folders)
    return done, not_done


def _restore(work: Workdir, record: dict[str, object]) -> str:
    file, backup = record.get("file"), record.get("backup")
    if not isinstance(file, str) or not isinstance(backup, str) or "/" in backup:
        return "its record is damaged"
    try:
        original = read_regular(work.file(backup), _LIMIT)
    except OSError:
        return "its copy in the work folder is gone"
    try:
        current = read_regular(file, _LIMIT * 2)
    except OSError:
        return "it is gone"
    if current != original and hashlib.sha256(current).hexdigest() != record.get("written"):
        return "it has changed since; the copy lies in the work folder"
    if not work.writable:
        return ""
    if current != original:
        why = _write(file, current, original)
        if why:
            return why
    try:
        os.utime(file, ns=(int(str(record["atime_ns"])), int(str(record["mtime_ns"]))))
    except (OSError, KeyError, ValueError):
        return "its time could not be set back"
    return ""


def forget(work: Workdir, not_restored: list[dict[str, object]]) -> None:
    """Remove the records and copies of what was restored; what could not be restored keeps both."""
    left = {str(one["file"]) for one in not_restored}
    keep = []
    for record in _records(work.read()):
        if printable(str(record.get("file", ""))) in left:
            keep.append(record)
            continue
        try:
            os.unlink(work.file(str(record["backup"])))
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                raise HostError("a copy in {0} cannot be removed: {1}".format(work.path, error.strerror)) from error
    work.update(disabled=keep or None, restored_at=time.time())
