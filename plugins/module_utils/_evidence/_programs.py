# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SHA-256 of the files that run, once for each device and inode, beside the other work (hashlib lets go of the GIL)."""

from __future__ import annotations

import hashlib
import os
import threading
import time

from .._host._files import link
from .._host._processes import living_thread

_CHUNK = 1048576


class Programs:
    """The distinct running files and their hashes.

    `files`: (device, inode) -> {"path", "size", "links", "pids", "sha256" | None, "why"}; `of`: pid -> (device, inode).
    """

    def __init__(self) -> None:
        self.files: dict[tuple[int, int], dict[str, object]] = {}
        self.of: dict[int, tuple[int, int]] = {}
        self._thread: threading.Thread | None = None

    def start(self, images: dict[int, str], proc: str, deadline: float) -> None:
        """Begin to hash what these processes (pid -> text of the exe link) run; returns at once.

        The thread is a daemon: a file on a dead network mount holds up nobody.
        """
        self._thread = threading.Thread(target=self._work, args=(images, proc, deadline), daemon=True)
        self._thread.start()

    def wait(self, deadline: float) -> bool:
        """Whether all hashes are there; waits until then or until `deadline` (monotonic)."""
        if self._thread is None:
            return False
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

    def _work(self, images: dict[int, str], proc: str, deadline: float) -> None:
        buffer = bytearray(_CHUNK)
        for pid, path in images.items():
            try:
                # The kernel's link leads to the very file that runs, deleted or not, whatever lies under its name now.
                handle = self._open("{0}/{1}".format(proc, pid))
            except OSError:
                continue
            try:
                self._one(handle, pid, path, buffer, deadline)
            except OSError:
                continue  # the file system went away under the file
            finally:
                os.close(handle)

    @staticmethod
    def _open(folder: str) -> int:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        # Where its first thread has ended, another one still knows the file.
        path = (folder if link(folder + "/exe") is not None else living_thread(folder)) + "/exe"
        try:
            return os.open(path, flags | os.O_NOATIME)
        except PermissionError:
            return os.open(path, flags)

    def _one(self, handle: int, pid: int, path: str, buffer: bytearray, deadline: float) -> None:
        stat = os.fstat(handle)
        key = (stat.st_dev, stat.st_ino)
        self.of[pid] = key
        known = self.files.get(key)
        if known is not None:
            pids = known["pids"]
            if isinstance(pids, list):
                pids.append(pid)
            return
        record: dict[str, object] = {
            "path": path, "size": stat.st_size, "links": stat.st_nlink, "pids": [pid], "sha256": None, "why": "",
        }
        self.files[key] = record
        digest = hashlib.sha256()
        view = memoryview(buffer)
        try:
            while True:
                if time.monotonic() > deadline:
                    record["why"] = "out of time"
                    return
                count = os.readv(handle, [buffer])
                if not count:
                    break
                digest.update(view[:count])
        except OSError as error:
            record["why"] = error.strerror or "unreadable"
            return
        record["sha256"] = digest.hexdigest()
