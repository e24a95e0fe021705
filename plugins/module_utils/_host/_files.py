# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading files that somebody else may own: bounded, never following a link, never hanging on a FIFO."""

from __future__ import annotations

import os
import stat

CHUNK = 65536


def read_proc(path: str, limit: int = 1048576) -> bytes:
    """The bytes of a file below /proc or /sys, at most `limit`; empty where it is gone or refused.

    Such files are the kernel's, so a plain read is quick; O_NONBLOCK is for the folder with a FIFO `stat` that somebody
    mounted over /proc/<pid> in order to hang whoever looks.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        # To the very end: the kernel hands out tables a page at a time, cut between records, so that a short read says nothing.
        parts = []
        while limit > 0:
            data = os.read(handle, min(CHUNK, limit))
            if not data:
                break
            parts.append(data)
            limit -= len(data)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(handle)


def open_regular(path: str) -> int:
    """A descriptor on a regular file, not following a final link and not touching the access time where allowed.

    Raises OSError: also for what is no regular file (a FIFO or device would hang or never end).
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    # Looked at before it is opened: opening alone starts a watchdog, mounts an automatic mount, lets a FIFO's writer go on.
    place = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(22, "not a regular file")
        shown = "/proc/self/fd/{0}".format(place)
        try:
            return os.open(shown, flags | os.O_NOATIME)
        except PermissionError:  # O_NOATIME is for the owner and root alone
            return os.open(shown, flags)
    finally:
        os.close(place)


def read_regular(path: str, limit: int) -> bytes:
    """The bytes of a regular file, at most `limit`. Raises OSError as `open_regular`."""
    handle = open_regular(path)
    try:
        parts = []
        while limit > 0:
            data = os.read(handle, min(CHUNK, limit))
            if not data:
                break
            parts.append(data)
            limit -= len(data)
        return b"".join(parts)
    finally:
        os.close(handle)


def link(path: str) -> str | None:
    """What a symbolic link says, or None where there is none to read."""
    try:
        return os.readlink(path)
    except OSError:
        return None
