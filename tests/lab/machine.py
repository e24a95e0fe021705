# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab asks of the machine that it runs on: programs, namespaces, processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
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


def start(argv: list[str], log: str, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a program that lives as long as the lab; what it prints goes to a file of the state folder."""
    with open(STATE / log, "ab") as out:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                                env={**os.environ, **(env or {})})


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
