# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is left alone, whatever the rules say, and why."""

from __future__ import annotations

import os

from .._host._files import link, read_proc
from .._host._processes import ancestors
from ._facts import DELETED, basename_of, image_of, system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._host._processes import Process

# Programs without which the host, its log or the way in is lost. They count only from where packages put them, and only as root:
# any user can start a system program with a library of his own in it.
_OF_ROOT = frozenset(
    ("init", "sshd", "sshd-session", "dropbear", "auditd", "cron", "crond", "syslog-ng", "agetty", "login", "sudo", "su", "udevd", "containerd",
     "containerd-shim", "containerd-shim-runc-v", "dockerd", "docker-proxy", "conmon", "crio", "kubelet", "podman", "runc", "crun",
     "NetworkManager", "dhclient")
)
# Those that packages also run under an account of their own, as they do most of what is called systemd-something.
_OF_ACCOUNTS = frozenset(("sshd-auth", "dbus-daemon", "dbus-broker", "dbus-broker-launch", "rsyslogd", "chronyd", "polkitd", "sssd", "dhcpcd"))
# The first number that is a person's (login.defs(5), UID_MIN).
_PEOPLE = 1000
_UNIT_KINDS = (".service", ".scope", ".slice", ".socket", ".mount")
_SERVERS = ("sshd", "dropbear")


def genuine(process: Process) -> bool:
    """Whether the running file is the one that our own root shows under its path.

    A process in a mount namespace of its own may show any path. A file that an upgrade has replaced is believed if the
    process sees the same mounts as we do.
    """
    base = process.folder
    exe = process.exe or ""
    if exe.endswith(DELETED):
        mine = link(process.root + "/self/ns/mnt")
        return mine is not None and link(base + "/ns/mnt") == mine
    try:
        running, shown = os.stat(base + "/exe"), os.stat(exe)
    except OSError:
        return False
    return (running.st_dev, running.st_ino) == (shown.st_dev, shown.st_ino)


def unit_names(wanted: Iterable[str]) -> frozenset[str]:
    """Names of units with their kind: `nginx` is `nginx.service`."""
    return frozenset(name if name.endswith(_UNIT_KINDS) else name + ".service" for name in wanted if name)


def units_of(process: Process) -> list[str]:
    """The systemd units whose control group holds the process, outermost first."""
    text = read_proc(process.folder + "/cgroup", 16384).decode("utf-8", "surrogateescape")
    found: list[str] = []
    for line in text.splitlines():
        for part in line.split(":", 2)[-1].split("/"):
            if part.endswith(_UNIT_KINDS) and part not in found:
                found.append(part)
    return found


def managed_units(process: Process) -> list[str]:
    """The units of the system's manager that hold the process: its slices and the unit directly below them, outermost first.

    What lies further below is named by whom the unit was handed to, and all of user.slice by its user: neither can make himself
    a critical service by a name.
    """
    text = read_proc(process.folder + "/cgroup", 16384).decode("utf-8", "surrogateescape")
    found: list[str] = []
    for line in text.splitlines():
        parts = line.split(":", 2)[-1].split("/")[1:]
        if not parts or not parts[0].endswith(".slice") or parts[0] == "user.slice":
            continue
        for part in parts:
            if part.endswith(_UNIT_KINDS) and part not in found:
                found.append(part)
            if not part.endswith(".slice"):
                break
    return found


class Never:
    """Decides who is spared. `own`: our process and its ancestors; nothing spares them from being spared."""

    def __init__(
        self, processes: dict[int, Process], own_pid: int, spare: Iterable[str] = (), critical: Iterable[str] = (),
    ) -> None:
        self.processes = processes
        self.own_pid = own_pid
        self.own = frozenset(ancestors(processes, own_pid))
        self.spare = frozenset(spare)
        self.critical = unit_names(critical)

    def reason(self, process: Process, named: bool = False) -> str | None:
        """Why a process is left alone, None where nothing speaks for it. `named`: by the operator, by its number."""
        if process.pid == 1:
            return "process 1"
        if process.kernel_thread:
            return "kernel thread"
        if process.pid in self.own:
            return "our own session"
        if self.own_pid in ancestors(self.processes, process.pid):
            return "started by this run"
        if self.critical:
            unit = next((unit for unit in managed_units(process) if unit in self.critical), None)
            if unit is not None:
                return "critical service"
        image = image_of(process)
        base = basename_of(image)
        if base in _SERVERS and process.uid == 0 and process.ppid in (0, 1) and system(image) and genuine(process):
            return "the SSH server"
        if named:
            return None
        if image in self.spare and genuine(process):
            return "on the list of spared programs"
        limit = 1 if base in _OF_ROOT else _PEOPLE if base in _OF_ACCOUNTS or base.startswith("systemd") else 0
        if process.uid < limit and system(image) and genuine(process):
            return "part of the system"
        return None
