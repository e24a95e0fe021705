# Copyright: (c) 2026, Firebreak contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab as a whole: up, down, a command inside a host, and the inventory that Ansible reaches it by."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import images, network
from .machine import STATE, LabError, alone, end_all, inside, remove_control_groups, require, run, space, spaces, start

HOSTS = tuple(images.RELEASES)


def _root(host: str) -> Path:
    """The host's own root file system: its image with a layer on top that lives as long as the lab, over reboots."""
    top = STATE / "roots" / host
    root = top / "root"
    if not root.exists():
        for folder in ("upper", "work", "root"):
            (top / folder).mkdir(parents=True)
        image = images.image(images.RELEASES[host])
        run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={image},upperdir={top}/upper,workdir={top}/work", str(root)])
    return root


def _boot(host: str) -> None:
    start(
        ["systemd-nspawn", "--quiet", f"--directory={_root(host)}", f"--machine={space(host)}",
         f"--hostname={host}", f"--network-namespace-path=/run/netns/{space(host)}", "--register=no", "--keep-unit",
         "--capability=CAP_NET_ADMIN,CAP_NET_RAW", "--system-call-filter=bpf", "--console=pipe", "--link-journal=no", "--resolv-conf=off",
         f"--bind-ro={STATE}/key.pub:/etc/ssh/lab_keys", "--boot"],
        f"{host}.log", {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}, host)


def leader(host: str) -> int:
    """The process that is PID 1 inside the host. Raises LabError where it does not run."""
    for pid in run(["ip", "netns", "pids", space(host)], check=False).stdout.split():
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        except OSError:
            continue
        inner = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
        if len(inner) > 1 and inner[-1] == "1":
            return int(pid)
    raise LabError(f"host {host} does not run; see {STATE}/{host}.log")


def execute(host: str, argv: list[str], *, check: bool = True, timeout: float = 60,
            text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command inside a host past its network and its sshd: how tests read the true state."""
    if host not in HOSTS:
        return run(inside(host, argv), check=check, timeout=timeout, text=text)
    return run(["nsenter", "-t", str(leader(host)), "-a", "--", *argv], check=check, timeout=timeout, text=text)


def reboot(host: str, *, crash: bool = False, before_boot: Callable[[], None] = lambda: None, seconds: float = 60) -> None:
    """Reboot a host, or with `crash` cut its power. Its network is a new one: the old one would keep the rules that a reboot loses.

    `before_boot` is called when the new network is there and the host is not. Returns when its SSH answers the controller, or raises LabError.
    """
    if not crash:
        execute(host, ["systemctl", "reboot"], check=False)
    deadline = time.monotonic() + seconds
    while not crash and time.monotonic() < deadline:
        try:
            leader(host)
        except LabError:
            break
        time.sleep(0.05)
    end_all([host])
    remove_control_groups(host)
    network.replug(host)
    before_boot()
    _boot(host)
    while not answers("controller", network.address(host), 22, 0.5):
        if time.monotonic() > deadline:
            raise LabError(f"host {host} does not come back; see {STATE}/{host}.log")
        time.sleep(0.1)


def answers(role: str, target: str, port: int, seconds: float = 2) -> bool:
    """Whether a TCP connection from a role to an address is answered."""
    code = ("import socket,sys\ntry: socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))\n"
            "except OSError: sys.exit(1)")
    return run(inside(role, [sys.executable, "-c", code, target, str(port), str(seconds)]), check=False).returncode == 0


def up() -> None:
    """Bring the lab up; what a killed run left is taken away first."""
    require()
    with alone(STATE.parent, STATE.name):
        _up()


def _up() -> None:
    if (STATE / "ready").exists():
        try:
            for host in HOSTS:
                leader(host)
            return
        except LabError:
            print("lab: a host is down, starting anew", file=sys.stderr)
    network.remove()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(images.make, images.RELEASES.values()))
    STATE.mkdir(parents=True, mode=0o700)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(STATE / "key")])
    network.make()
    for host in HOSTS:
        _boot(host)
    for role in ("c2", "monitoring"):
        start(inside("internet" if role == "c2" else role,
                     [sys.executable, str(Path(__file__).with_name("servers.py")), role, str(STATE / f"{role}.jsonl")]),
              f"{role}.log")
    _inventory()
    deadline = time.monotonic() + 60
    for host in HOSTS:
        while not answers("controller", network.address(host), 22, 0.5):
            if time.monotonic() > deadline:
                raise LabError(f"host {host} does not answer on port 22; see {STATE}/{host}.log")
            time.sleep(0.1)
    (STATE / "ready").touch()


def down() -> None:
    """Leave nothing behind."""
    require()
    with alone(STATE.parent, STATE.name):
        network.remove()


def status() -> dict[str, bool]:
    """Role -> whether it is there."""
    return {role: role in spaces() for role in ("wire", "internet", *network.LAN)}


def _inventory() -> None:
    """Write the inventory of this lab: JSON, which is YAML too."""
    known = []
    hosts = {}
    for host, suite in images.RELEASES.items():
        key = (images.image(suite) / "etc/ssh/ssh_host_ed25519_key.pub").read_text(encoding="utf-8").split()[:2]
        known.append(f"{network.address(host)} {' '.join(key)}")
        # Both ways in are used: an unprivileged account with sudo, and root.
        hosts[host] = {"ansible_host": network.address(host), "ansible_user": "root" if host == "deb12" else "responder",
                       "ansible_become": host != "deb12"}
    (STATE / "known_hosts").write_text("\n".join(known) + "\n", encoding="utf-8")
    policy = {
        "ansible_ssh_private_key_file": str(STATE / "key"),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={STATE}/known_hosts -o ConnectTimeout=5",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_pipelining": True,
        "firebreak_cases_dir": str(STATE / "cases"),
        "firebreak_monitoring_systems": [f"{network.MONITORING} 6514/tcp", f"{network.MONITORING} 514/udp",
                                         f"{network.MONITORING} 9100/tcp in"],
        "firebreak_critical_services": ["rsyslog", "exporter"],
    }
    tree = {"lab": {"hosts": hosts, "vars": policy}}
    (STATE / "ansible.cfg").write_text("[defaults]\nforks = 10\n", encoding="utf-8")
    (STATE / "inventory.yml").write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
