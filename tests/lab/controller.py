# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of the lab: the real `ansible` and `ansible-playbook`, and what the servers saw."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .machine import STATE, inside, run, space
from .network import address

BIN = Path(sys.executable).parent
INVENTORY = STATE / "inventory.yml"


class Run(NamedTuple):
    """How one run of Ansible ended: exit status, results a host (the last task's, by task too), text."""

    status: int
    results: dict[str, dict[str, dict]]
    out: str
    err: str

    def of(self, host: str, task: str = "") -> dict:
        """The result of a host's task whose name holds `task`; the first one where none is given."""
        tasks = self.results.get(host, {})
        for name, result in tasks.items():
            if task in name:
                return result
        raise AssertionError(f"no task {task!r} of {host}: {self.out[-3000:]}{self.err[-3000:]}")


def environment() -> dict[str, str]:
    """What Ansible runs with: its collection, nothing of the user's own configuration."""
    return {**os.environ, "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin", "ANSIBLE_CONFIG": str(STATE / "ansible.cfg"),
            "ANSIBLE_HOME": str(STATE / "ansible"),
            # Every lab uses the same addresses: a shared folder of control sockets would lead into another lab.
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(STATE / "cp"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOST_KEY_CHECKING": "True"}


def command(program: str, *arguments: str, inventory: Path = INVENTORY) -> list[str]:
    """The command line of an Ansible program inside the controller's namespace, on this lab's inventory."""
    return inside("controller", [str(BIN / program), "-i", str(inventory), *arguments])


def _run(program: str, arguments: tuple[str, ...], timeout: float, inventory: Path = INVENTORY,
         more: dict[str, str] | None = None) -> Run:
    env = {**environment(), **(more or {}), "ANSIBLE_STDOUT_CALLBACK": "lab_json", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "True",
           "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callback"))}
    done = subprocess.run(command(program, *arguments, inventory=inventory), capture_output=True, text=True, timeout=timeout, check=False,
                          env=env, stdin=subprocess.DEVNULL)
    results: dict[str, dict[str, dict]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("RESULTS "):
            results = json.loads(line.removeprefix("RESULTS "))
    return Run(done.returncode, results, done.stdout, done.stderr)


def adhoc(hosts: str, module: str, arguments: str = "", *more: str, timeout: float = 240, inventory: Path = INVENTORY,
          env: dict[str, str] | None = None) -> Run:
    """`ansible HOSTS -m firebreak.response.MODULE -a ARGUMENTS`."""
    name = module if "." in module else f"firebreak.response.{module}"
    return _run("ansible", (hosts, "-m", name, *(("-a", arguments) if arguments else ()), *more), timeout, inventory, env)


def playbook(name: str, *more: str, timeout: float = 400) -> Run:
    """`ansible-playbook firebreak.response.NAME`, or a file."""
    return _run("ansible-playbook", (name if "/" in name else f"firebreak.response.{name}", *more), timeout)


def login(host: str, seconds: int = 2) -> bool:
    """Whether the responder can log in: the real ssh, as Ansible calls it. (sshd 9.8 punishes who connects and says nothing.)"""
    argv = inside("controller", ["ssh", "-F", "none", "-i", str(STATE / "key"), "-o", f"UserKnownHostsFile={STATE}/known_hosts",
                                 "-o", "BatchMode=yes", "-o", f"ConnectTimeout={seconds}", f"responder@{address(host)}", "true"])
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=seconds + 3, check=False)
    except subprocess.TimeoutExpired:  # cut off in the middle of it
        return False
    return done.returncode == 0


def kill_all() -> None:
    """Kill the controller with all that it has started, as a power cut would; Ansible's workers are in sessions of their own."""
    for pid in run(["ip", "netns", "pids", space("controller")], check=False).stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def seen(server: str, since: float, source: str = "", kind: str = "") -> list[dict]:
    """What a server (c2 or monitoring) saw after a time (seconds since the epoch), by source and kind."""
    found = []
    with open(STATE / f"{server}.jsonl", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["time"] > since and source in ("", entry["source"]) and kind in ("", entry["kind"]):
                found.append(entry)
    return found
