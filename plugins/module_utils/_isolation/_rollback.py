# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back: a timer that outlives the run, its SSH session and both their processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from .._errors import HostError
from .._host._processes import start_of
from ._commands import find

if TYPE_CHECKING:
    import subprocess

    from .._host._workdir import Workdir


# How the file is called that stands for the token while a confirmation is taken: until the way back fires, and while it has made
# access wider or holds the isolation (_undo.py).
MARKS = ("armed-", "open-")


class Rollback:
    """One armed way back. `kind`: "systemd timer" or "process"; `handle`: unit name, or [pid, start time]."""

    def __init__(self, work: Workdir, root: str = "/") -> None:
        self.work = work
        self.root = root
        self.token = os.urandom(4).hex()
        self.kind = ""
        self.handle: object = None
        self._starting: subprocess.Popen[bytes] | None = None

    def start(self, seconds: int) -> None:
        """Begin to arm; `ready()` tells when it is for sure. state.json must hold the commands already."""
        import pkgutil

        source = pkgutil.get_data(__name__.rpartition(".")[0], "_undo.py")  # works from AnsiballZ's archive too
        if source is None:
            raise HostError("rollback: the script that undoes the isolation is missing; nothing was changed")
        # A reboot takes the timer with it, and the rules that it would undo.
        script = self.work.write("undo.py", source, lasting=False)
        self.work.write("armed-" + self.token, b"", lasting=False)
        argv = [sys.executable or "/usr/bin/python3", "-I", "-S", script, self.token]
        runner = find("systemd-run", self.root)
        if runner is not None and os.path.isdir(os.path.join(self.root, "run/systemd/system")):
            import subprocess

            unit = "firebreak-rollback-{0}-{1}".format(self.work.case, self.token)
            self.kind, self.handle = "systemd timer", unit
            try:
                self._starting = subprocess.Popen(
                    [runner, "--quiet", "--collect", "--unit=" + unit, "--on-active={0}".format(seconds),
                     "--timer-property=AccuracySec=100ms", "--", *argv],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False,
                    env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})
            except OSError:
                self._starting = None
                self.detach(argv, seconds)
            self._fallback = argv, seconds
        else:
            self.detach(argv, seconds)

    def detach(self, argv: list[str], seconds: int) -> None:
        """The same without systemd: a process in a session and, where that can be, a control group of its own.

        It waits as a copy of this one and starts the script only where it comes to that: on most hosts it never does.
        """
        self.kind = "process"
        reader, writer = os.pipe()
        try:
            child = os.fork()
        except OSError as error:
            raise HostError("rollback: no process can be started ({0}); nothing was changed".format(error.strerror)) from error
        if child == 0:
            try:
                os.setsid()
                if os.fork() == 0:
                    _leave_group(self.root)
                    os.chdir("/")
                    null = os.open(os.devnull, os.O_RDWR)
                    os.write(writer, str(os.getpid()).encode("ascii"))
                    for number in range(3):
                        os.dup2(null, number)
                    for name in os.listdir("/proc/self/fd"):  # os.closerange() would try every number there can be
                        if int(name) > 2:
                            with contextlib.suppress(OSError):  # the folder's own
                                os.close(int(name))
                    time.sleep(seconds)
                    os.execve(argv[0], argv, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        said = os.read(reader, 32)
        os.close(reader)
        pid = int(said) if said.isdigit() else 0
        start = start_of(pid) if pid else None
        if start is None:
            raise HostError("rollback: the process that would undo the isolation did not start; nothing was changed")
        self.handle = [pid, start]

    @property
    def armed(self) -> bool:
        """Whether nobody has decided yet: neither a confirmation nor the undoing."""
        return os.path.exists(self.work.file("armed-" + self.token))

    def ready(self) -> None:
        """Wait until the way back is armed for sure. Raises HostError where it cannot be."""
        if self._starting is None:
            return
        import subprocess

        try:
            status = self._starting.wait(10)
        except subprocess.TimeoutExpired:
            self._starting.kill()
            status = 1
        self._starting = None
        if status != 0:
            self.detach(*self._fallback)


def _leave_group(root: str) -> None:
    """Out of the session's control group, for logind may kill all that is in it."""
    for path in ("sys/fs/cgroup/cgroup.procs", "sys/fs/cgroup/systemd/cgroup.procs"):
        try:
            # Without O_CREAT: where both hierarchies are mounted, the first path is none, on a file system that takes any file.
            handle = os.open(os.path.join(root, path), os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            os.write(handle, str(os.getpid()).encode("ascii"))
        except OSError:
            pass
        finally:
            os.close(handle)


def disarm(work: Workdir, token: str, kind: str, handle: object, root: str = "/") -> bool:
    """Decide against the rollback. False where it has given the network back already. What waits is then ended."""
    fired = False
    for mark in MARKS:
        try:
            os.rename(work.file(mark + token), work.file("confirmed-" + token))
            os.unlink(work.file("confirmed-" + token))
            break
        except FileNotFoundError:
            continue
    else:
        fired = os.path.exists(work.file("undone-" + token))
    if fired:
        return False
    if kind == "systemd timer":
        systemctl = find("systemctl", root)
        if systemctl is not None:
            from ._commands import run

            run([systemctl, "stop", "{0}.timer".format(handle), "{0}.service".format(handle)])
    elif isinstance(handle, list) and len(handle) == 2:
        try:
            if start_of(int(handle[0])) == handle[1]:
                os.kill(int(handle[0]), signal.SIGTERM)
        except ProcessLookupError:
            pass
    return True


def sweep(work: Workdir) -> None:
    """Take our script and the marks of the rollback out of the work folder."""
    try:
        names = os.listdir(work.path)
    except FileNotFoundError:
        return
    for name in names:
        if name in ("undo.py", "end.py") or name.startswith((*MARKS, "undone-", "confirmed-")):
            os.unlink(work.file(name))
