# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab asks of the machine that it runs on: programs, namespaces, processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

NAME = os.environ.get("FIREBREAK_LAB_NAME", "fb")
STATE = Path("/run/firebreak-lab") / NAME
CACHE = Path(os.environ.get("FIREBREAK_LAB_CACHE", "/var/cache/firebreak-lab"))

# Program -> Debian package that has it.
NEEDED = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sysctl": "procps",
    "ssh-keygen": "openssh-client",
}


class LabError(Exception):
    """The lab cannot do what it was asked; the message says what to do."""


def require() -> None:
    """Raise LabError naming what is missing and the command that brings it."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces: run it as root, for instance `sudo ./dev lab up`")
    missing = sorted({package for program, package in NEEDED.items() if not shutil.which(program)})
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        missing.append("debian-archive-keyring")
    if missing:
        raise LabError("missing packages; run: apt-get install " + " ".join(missing))


def run(argv: list[str], *, check: bool = True, timeout: float = 60, text: str | None = None,
        **more: object) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; LabError with its last lines where it fails and `check` is set."""
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=timeout, input=text,
                          stdin=None if text is not None else subprocess.DEVNULL, check=False, **more)
    if check and done.returncode:
        raise LabError(f"{' '.join(argv[:6])}: status {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}")
    return done


def space(role: str) -> str:
    """The name of the network namespace of a host or a role."""
    return f"{NAME}-{role}"


def inside(role: str, argv: list[str]) -> list[str]:
    """The command line that runs `argv` in the network namespace of a role."""
    return ["ip", "netns", "exec", space(role), *argv]


def spaces() -> list[str]:
    """Every network namespace of this lab that exists, by role."""
    found = run(["ip", "netns", "list"], check=False).stdout.split("\n")
    return [line.split()[0][len(NAME) + 1:] for line in found if line.startswith(NAME + "-")]


def control_groups(role: str = "*") -> list[Path]:
    """The control groups of a host in the hierarchies that systemd uses; `*`: those of all hosts that exist."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    bases = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2" or (mount[2] == "cgroup" and "name=systemd" in mount[3])]
    name = f"firebreak-lab-{NAME}-{role}"
    return [found for base in bases for found in (base.glob(name) if role == "*" else [base / name])]


@contextlib.contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """One at a time on this machine, whoever asks: a lock on a file of the folder that stays there, empty."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f".{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unmount_below(folder: Path) -> None:
    """Take away every mount below a folder, the innermost first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    for point in sorted((point for point in points if point.startswith(f"{folder}/")), reverse=True):
        run(["umount", "--lazy", point])


def start(argv: list[str], log: str, env: dict[str, str] | None = None, role: str = "") -> None:
    """Start a program that lives as long as the lab; what it prints goes to a file of the state folder.

    With a role it gets control groups of its own: two hosts that shared them would end each other's units.
    """
    groups = control_groups(role) if role else []
    for group in groups:
        group.mkdir(exist_ok=True)
    enter = "".join(f'echo $$ >"{group}/cgroup.procs" && ' for group in groups)
    with open(STATE / log, "ab") as out:
        # It is nobody's child: it outlives us, and whoever takes the lab down need not be who brought it up.
        subprocess.run(["setsid", "--fork", "sh", "-c", enter + 'exec "$@"', "sh", *argv], stdin=subprocess.DEVNULL, stdout=out,
                       stderr=out, env={**os.environ, **(env or {})}, check=True, timeout=10)


def remove_control_groups(role: str = "*", patience: float = 5) -> None:
    """Take a host's control groups away, or those of all; they are empty once the hosts are dead."""
    deadline = time.monotonic() + patience
    while any(top.exists() for top in control_groups(role)) and time.monotonic() < deadline:
        for top in control_groups(role):
            for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                top.rmdir()
        time.sleep(0.05)


def end_all(roles: list[str], patience: float = 10) -> None:
    """End every process in the namespaces of the roles, and nothing else."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        pids = [int(pid) for role in roles for pid in run(["ip", "netns", "pids", space(role)], check=False).stdout.split()]
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    raise LabError(f"processes of the lab are still alive: {pids}")
