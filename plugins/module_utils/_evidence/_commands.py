# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of the host that we had to run, because the kernel tells it no other way: each bounded and on record.

The host's programs may lie. So the manifest has the path and SHA-256 of what was run, and its word is marked as a command's.
"""

from __future__ import annotations

import hashlib
import os
import time

FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")


def find(name: str) -> str | None:
    """The path of a program in the system's own folders; PATH is not asked, it may be the attacker's."""
    for folder in FOLDERS:
        path = folder + "/" + name
        if os.access(path, os.X_OK):
            return path
    return None


class Command:
    """A program that runs while other work goes on. Its output goes to memory that no disk sees.

    Raises OSError where it cannot be started.
    """

    def __init__(self, argv: list[str]) -> None:
        import subprocess

        if not hasattr(os, "memfd_create"):  # Pythons built for a C library before 2.27
            raise OSError(38, "no memory file for the output")
        self.argv = argv
        self._output = os.memfd_create("firebreak-output")
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.DEVNULL, close_fds=False,
                env={"PATH": ":".join(FOLDERS), "LC_ALL": "C"},
            )
        except OSError:
            os.close(self._output)
            raise

    def finish(self, deadline: float, limit: int) -> tuple[bytes, str]:
        """Its output, at most `limit` bytes, and why it is not whole ("" where it is). Ended by us at `deadline`."""
        import subprocess

        why = ""
        try:
            code = self._process.wait(max(0.05, deadline - time.monotonic()))
            if code:
                why = "ended with status {0}".format(code)
        except subprocess.TimeoutExpired:
            why = "took too long"
            self._process.kill()
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:
                why = "took too long and does not die"
        try:
            size = os.fstat(self._output).st_size
            data = os.pread(self._output, min(size, limit), 0)
            if size > limit:
                why = why or "cut at {0} of {1} bytes".format(limit, size)
            return data, why
        finally:
            os.close(self._output)

    def record(self) -> dict[str, object]:
        """What the manifest says of it: {"argv", "path", "sha256"}."""
        digest = hashlib.sha256()
        path = os.path.realpath(self.argv[0])
        try:
            with open(path, "rb", buffering=0) as program:
                for data in iter(lambda: program.read(1048576), b""):
                    digest.update(data)
        except OSError:
            return {"argv": self.argv, "path": path, "sha256": None}
        return {"argv": self.argv, "path": path, "sha256": digest.hexdigest()}
